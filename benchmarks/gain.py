"""One real gain, measured: what training on real pairs does to a model, seen on pairs that were held out.

    python -m benchmarks.gain split PAIRS MODEL DIR     writes train.jsonl, supervised.jsonl and held.jsonl into DIR
    python -m benchmarks.gain measure DIR MODEL         measures DIR/reward, DIR/dpo and DIR/sft beside MODEL

PAIRS has `prompt`, `chosen` and `rejected`, the answers as text. Pairs of which an answer ends behind `--longest`
tokens are left out, and counted; prompts are held out by a seeded draw. Between the two, `cai train` is what is
measured; docs/real-models.md has the commands. Intervals are the 95 % of the bootstrap over the held-out pairs.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from cai.evaluate.statistics import ratios
from cai.models.checkpoint.adapters import apply_adapter
from cai.models.checkpoint.pretrained import open_tokenizer, open_weights
from cai.models.checkpoint.resolve import Checkpoint

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Turns = list[dict[str, str]]


@click.group()
def main() -> None:
    """Split pairs, and measure what training on some of them changed on the others."""


@main.command()
@click.argument("pairs", type=Path)
@click.argument("model")
@click.argument("directory", type=Path)
@click.option("--longest", default=128, show_default=True, help="Tokens of prompt and answer at most.")
@click.option("--held", default=150, show_default=True, help="Prompts that are held out.")
def split(pairs: Path, model: str, directory: Path, longest: int, held: int) -> None:
    """Hold prompts out, and write what is trained on in the forms that the methods take."""
    tokenizer = open_tokenizer(model)
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    short = [row for row in rows if all(len(_ids(tokenizer, *turns)[0]) <= longest for turns in _both(row))]
    prompts = sorted({json.dumps(row["prompt"]) for row in short})
    random.Random(0).shuffle(prompts)
    out = frozenset(prompts[:held])
    trained = [row for row in short if json.dumps(row["prompt"]) not in out]
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "held.jsonl", [row for row in short if json.dumps(row["prompt"]) in out])
    _write(directory / "train.jsonl", trained)
    _write(
        directory / "supervised.jsonl",
        [{"prompt": row["prompt"], "completion": _said(row["chosen"])} for row in trained],
    )
    print(f"{len(rows)} pairs: {len(rows) - len(short)} too long, {len(trained)} to train on, {len(out)} prompts held")


@main.command()
@click.argument("directory", type=Path)
@click.argument("model")
def measure(directory: Path, model: str) -> None:
    """Print accuracies and losses on the held-out pairs, with intervals."""
    rows = [json.loads(line) for line in (directory / "held.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [turns for row in rows for turns in _both(row)]
    base = np.array(list(_answers(model, pairs)))
    chosen_base, rejected_base = base[0::2], base[1::2]
    longer = np.array([len(row["chosen"]) > len(row["rejected"]) for row in rows])
    print(f"{len(rows)} held-out pairs; of 100 that the longer answer is chosen: {_share(longer)}")
    _say("model's own likelihood of the whole answer", chosen_base[:, 0] > rejected_base[:, 0])
    if (directory / "reward").is_dir():
        scores = np.array(list(_scores(str(directory / "reward"), pairs)))
        _say("reward model", scores[0::2] > scores[1::2])
    if (directory / "dpo").is_dir():
        policy = np.array(list(_answers(str(directory / "dpo"), pairs)))
        margin = (policy - base)[0::2, 0] - (policy - base)[1::2, 0]
        _say("DPO's implicit reward", margin > 0)
        print(f"  mean margin of log-probabilities {_mean(margin)}")
    if (directory / "sft").is_dir():
        tuned = np.array(list(_answers(str(directory / "sft"), pairs[0::2])))
        for name, one in (("before", chosen_base), ("after", tuned)):
            print(f"SFT: loss a token of the chosen answer, {name}: {_ratio(-one[:, 0], one[:, 1])}")
        fell = (chosen_base[:, 0] - tuned[:, 0]) / chosen_base[:, 1]
        print(f"  change of the loss, pair by pair: {_mean(fell)}")


def _both(row: dict[str, Any]) -> Iterator[tuple[Turns, Turns]]:
    for side in ("chosen", "rejected"):
        yield row["prompt"], _said(row[side])


def _said(text: str) -> Turns:
    return [{"role": "assistant", "content": text}]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


def _ids(tokenizer: Any, prompt: Turns, answer: Turns) -> tuple[list[int], int]:
    """Return the tokens of the conversation, and where the answer begins."""
    begun = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)
    whole = tokenizer.apply_chat_template([*prompt, *answer], tokenize=True, return_dict=True)
    return whole["input_ids"], len(begun["input_ids"])


def _open(name: str, head: Any) -> tuple[Any, Any]:
    checkpoint = Checkpoint.resolve(name)
    model = open_weights(checkpoint.base, head, dtype=torch.float32)
    if checkpoint.adapter is not None:
        model = apply_adapter(model, checkpoint.adapter)
    return model.to(DEVICE).eval(), open_tokenizer(checkpoint.tokenizer)


def _answers(name: str, pairs: Sequence[tuple[Turns, Turns]]) -> Iterator[tuple[float, int]]:
    """Yield each answer's log-probability and its number of tokens."""
    model, tokenizer = _open(name, "language")
    for prompt, answer in pairs:
        ids, start = _ids(tokenizer, prompt, answer)
        with torch.inference_mode(), _bfloat16():
            said = torch.tensor([ids], device=DEVICE)
            logits: Tensor = model(input_ids=said, logits_to_keep=len(ids) - start + 1).logits[0, :-1]
        logprobs = torch.log_softmax(logits.float(), -1).cpu()
        yield float(logprobs.gather(1, torch.tensor(ids[start:])[:, None]).sum()), len(ids) - start


def _scores(name: str, pairs: Sequence[tuple[Turns, Turns]]) -> Iterator[float]:
    model, tokenizer = _open(name, "score")
    for prompt, answer in pairs:
        ids, _ = _ids(tokenizer, prompt, answer)
        with torch.inference_mode(), _bfloat16():
            yield float(model(input_ids=torch.tensor([ids], device=DEVICE)).logits[0, 0])


def _bfloat16() -> Any:
    """Return what the models were trained in: arithmetic in bfloat16 over weights in float32."""
    return torch.autocast(DEVICE, dtype=torch.bfloat16)


def _say(what: str, right: Any) -> None:
    print(f"{what}: the chosen answer is preferred in {_share(right)} % of {len(right)}")


def _share(right: Any) -> str:
    return _ratio(100.0 * right, np.ones(len(right)), digits=1)


def _mean(values: Any) -> str:
    return _ratio(values, np.ones(len(values)))


def _ratio(above: Any, below: Any, digits: int = 3) -> str:
    found = ratios(np.asarray(above, float)[:, None], np.asarray(below, float)[:, None], seed=0)
    value, low, high = (float(one[0]) for one in found)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    main()
