"""The yardstick in process: the requests of a row, stage by stage, as one writes them with `transformers` alone.

`python -m benchmarks.staged MODEL PROMPTS CONSTITUTION` has all responses written, then all critiques, all revisions,
all judgements, each stage in batches of a fixed size, in the prompts' order, padded on the left; a batch ends with its
longest text. The words are cai's templates', the principles are drawn as cai draws them, by weight, and as in cai
nobody judges a revision that changed nothing. It keeps the rows in a list, writes them as JSONL beside the prompts when
all is done, and prints counts and seconds as JSON.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import orjson
import torch
import transformers

from cai.constitution import Constitution, Principle, load_constitution
from cai.core.identity import draw
from cai.core.records import Message
from cai.method.critique import pick_principle
from cai.method.templates import Templates

Conversation = list[dict[str, str]]


@dataclass(slots=True)
class Counts:
    """Tokens that were read and written, and the tokens that could have been written in the places of all batches."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    places: int = 0


class Stages:
    """A model with its tokenizer, and the size of its batches."""

    def __init__(self, model: str, batch_size: int, max_tokens: int) -> None:
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model, padding_side="left")
        self._model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self.counts = Counts()

    def write(self, conversations: list[Conversation]) -> list[str]:
        """Return the next turn of each conversation, sampled at temperature 1."""
        texts: list[str] = []
        for inputs in self._batches(conversations):
            width = inputs["input_ids"].shape[1]
            written = self._model.generate(
                **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=self._max_tokens
            )[:, width:]
            # Behind its end token a row is padded.
            self.counts.completion_tokens += int((written != self._tokenizer.pad_token_id).sum())
            self.counts.places += written.numel()
            texts += [text.strip() for text in self._tokenizer.batch_decode(written, skip_special_tokens=True)]
        return texts

    def choose(self, conversations: list[Conversation], options: tuple[str, str]) -> list[float]:
        """Return how likely the first of two one-token options is as the next turn, beside the second."""
        first, second = (
            [self._tokenizer.encode(spelling, add_special_tokens=False)[0] for spelling in (option, f" {option}")]
            for option in options
        )
        shares: list[float] = []
        for inputs in self._batches(conversations):
            likely = self._model(**inputs, logits_to_keep=1).logits[:, -1].softmax(-1)
            one, other = likely[:, sorted(set(first))].sum(-1), likely[:, sorted(set(second))].sum(-1)
            shares += (one / (one + other)).tolist()
        return shares

    def _batches(self, conversations: list[Conversation]) -> Any:
        for start in range(0, len(conversations), self._batch_size):
            texts = [
                self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
                for conversation in conversations[start : start + self._batch_size]
            ]
            inputs = self._tokenizer(
                texts, padding=True, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False
            )
            self.counts.prompt_tokens += int(inputs["attention_mask"].sum())
            yield inputs


def principles(constitution: Constitution, prompts: list[dict[str, Any]], stage: str) -> list[Principle]:
    """Return a principle for each prompt, drawn by weight among those that apply to it."""
    return [
        pick_principle(constitution.applicable(tuple(prompt.get("tags", ()))), draw(0, prompt["id"], stage))
        for prompt in prompts
    ]


def chain(stages: Stages, constitution: Constitution, prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each prompt: response, critique, revision, and how likely the revision is the better one."""
    templates = Templates.load(constitution.language)
    asked: list[Conversation] = [[_turn("user", prompt["prompt"])] for prompt in prompts]
    responses = stages.write(asked)
    drawn = principles(constitution, prompts, "critique")
    for conversation, response, principle in zip(asked, responses, drawn, strict=True):
        conversation += [_turn("assistant", response), _turn("user", templates.critique(principle))]
    critiques = stages.write(asked)
    for conversation, critique, principle in zip(asked, critiques, drawn, strict=True):
        conversation += [_turn("assistant", critique), _turn("user", templates.revision(principle))]
    revisions = stages.write(asked)
    names = ("prompt", "response", "critique", "revision")
    columns = zip(prompts, responses, critiques, revisions, strict=True)
    rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in columns]
    judged, questions = [], []
    for row, principle in zip(rows, principles(constitution, prompts, "judge"), strict=True):
        if row["response"] != row["revision"]:
            messages: list[Message] = [{"role": "user", "content": row["prompt"]["prompt"]}]
            question = templates.judge(principle, messages, row["revision"], row["response"])
            judged.append(row)
            questions.append([_turn("user", question)])
    for row, likely in zip(judged, stages.choose(questions, templates.judge_options), strict=True):
        row["revision_is_better"] = likely
    return rows


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@click.command()
@click.argument("model")
@click.argument("prompts", type=click.Path(exists=True, path_type=Path))
@click.argument("constitution")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--max-tokens", default=512, show_default=True)
def main(model: str, prompts: Path, constitution: str, batch_size: int, max_tokens: int) -> None:
    """Work through all PROMPTS and print what it took."""
    rows = [orjson.loads(line) for line in prompts.read_bytes().splitlines()]
    torch.manual_seed(0)
    stages = Stages(model, batch_size, max_tokens)
    began = time.perf_counter()
    with torch.inference_mode():
        done = chain(stages, load_constitution(constitution), rows)
    seconds = time.perf_counter() - began
    prompts.with_suffix(".rows").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in done))
    print(orjson.dumps(asdict(stages.counts) | {"rows": len(done), "seconds": seconds}).decode())


if __name__ == "__main__":
    main()
