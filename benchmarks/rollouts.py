"""`python -m benchmarks.rollouts`: answers that GRPO learns from, drawn by cai's engine and by TRL, from one model.

Both sides draw the same number of answers to the same prompts, 8 a prompt, at temperature 1 and with the same limit, in
turn, from one trainer's weights in this process: TRL by `generate` over a batch padded on the left, cai by its
scheduler. Tokens of answers a second, medians. On a CPU the model is the embedded one, on a GPU a Llama of 1 billion
random weights: each of its tokens is as likely as any, so a share of the vocabulary is made to end an answer, for
answers of 60 tokens on average, some of a few and some cut at the limit.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import datasets
import orjson
import torch
import transformers
from rich.console import Console
from trl import GRPOConfig, GRPOTrainer

from benchmarks.examples import write_examples
from benchmarks.trainers import PACKAGES
from benchmarks.training import ANSWER, GROUP, prepare
from benchmarks.where import taken
from cai.train.trainers.policies import open_rollouts

RESULTS = Path(__file__).parent / "rollouts.json"
TARGET = 1.5
_ANSWER_TOKENS = 60  # on average


def build(model: Path, data: Path, answers: int, device: str, out: Path) -> Any:
    """Return TRL's trainer, the model on its device."""
    configuration = GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=answers,
        num_generations=GROUP,
        max_completion_length=ANSWER,
        use_cpu=device == "cpu",
        bf16=device == "cuda",
        gradient_checkpointing=False,
        report_to="none",
    )
    return GRPOTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        args=configuration,
        train_dataset=datasets.Dataset.from_list([orjson.loads(line) for line in data.read_bytes().splitlines()]),
        processing_class=transformers.AutoTokenizer.from_pretrained(model),
    )


def speeds(draw: Callable[[int], list[list[int]]], other: Callable[[int], list[list[int]]], runs: int) -> Any:
    """Return both sides' tokens a second, run by run, after one run of each that does not count."""
    found: list[list[dict[str, float]]] = [[], []]
    for run in range(runs + 1):
        for side, function in enumerate((draw, other)):
            began = time.perf_counter()
            answers = function(run)
            seconds = time.perf_counter() - began
            if run:
                lengths = [len(answer) for answer in answers]
                found[side].append({"seconds": seconds, "tokens": sum(lengths), "longest": max(lengths)})
    return found


@click.command()
@click.option("--answers", type=click.IntRange(GROUP), default=64, show_default=True, help="A multiple of 8.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(answers: int, runs: int, device: str, results: Path) -> None:
    """Measure drawing beside TRL's; ends with 1 below 1.5 times its speed."""
    with tempfile.TemporaryDirectory() as name:
        model, _ = prepare(Path(name), device, rewarded=False)
        data = write_examples(Path(name, "data"), "grpo", answers // GROUP)
        trainer = build(model, data, answers, device, Path(name, "out"))
        if device == "cuda":
            trainer.eos_token_ids = list(range(1, trainer.model.config.vocab_size, _ANSWER_TOKENS))
            trainer.generation_config.eos_token_id = trainer.eos_token_ids
        rollouts = open_rollouts(trainer, ANSWER)
        assert rollouts is not None
        rows = [row["prompt"] for row in trainer.train_dataset for _ in range(GROUP)]
        encoded = trainer.processing_class.apply_chat_template(rows, add_generation_prompt=True, return_dict=True)
        prompts: list[list[int]] = encoded["input_ids"]

        def trl(run: int) -> list[list[int]]:
            torch.manual_seed(run)
            with trainer.accelerator.autocast():  # as in training, where the model is prepared so
                drawn: list[list[int]] = trainer._generate_single_turn(prompts, None, {}, GROUP)[0]
            return drawn

        def cai(run: int) -> list[list[int]]:
            return rollouts.draw(prompts, [1000 * run + number for number in range(len(prompts))])

        both = dict(zip(("trl", "cai"), speeds(trl, cai, runs), strict=True))
    medians = {side: statistics.median(run["tokens"] / run["seconds"] for run in took) for side, took in both.items()}
    ratio = medians["cai"] / medians["trl"]
    Console().print(f"trl {medians['trl']:,.0f}, cai {medians['cai']:,.0f} tokens/s: {ratio:.2f} x")
    report = taken(PACKAGES) | {"device": device, "answers": answers, "runs": both, "medians": medians, "ratio": ratio}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if ratio < TARGET:
        raise click.ClickException(f"{ratio:.2f} times TRL's speed, wanted: {TARGET}")


if __name__ == "__main__":
    main()
