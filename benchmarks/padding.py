"""`python -m benchmarks.padding`: what padding costs SFT, and what is done about it is worth, on the embedded model.

The same examples, forwards and backwards, eight at a time: in random order and in batches of like lengths, padded and
without padding, and packed into rows of 1,024 tokens (a row at a time, so about as many tokens). Tokens of examples a
second of processor time, so that other work on the machine counts little; medians of rounds, in turn.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson
import torch
import transformers
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head

from benchmarks.embedded.train import CHECKPOINT
from benchmarks.examples import write_examples
from benchmarks.trainers import PACKAGES
from benchmarks.where import taken
from cai.train.padding_free.batches import compute_without_padding
from cai.train.trainers.lengths import LengthSampler

RESULTS = Path(__file__).parent / "padding.json"
BATCH, ROW = 8, 1024
Batches = Sequence[list[dict[str, Any]]]


def examples(count: int) -> list[dict[str, Any]]:
    """Return examples as TRL prepares them: the loss is on the answer alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    with tempfile.TemporaryDirectory() as name:
        rows = [orjson.loads(line) for line in write_examples(Path(name), "sft", count).read_bytes().splitlines()]
    found = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"])["input_ids"]
        found.append({"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt) :]})
    return found


def arrangements(rows: list[dict[str, Any]]) -> dict[str, Batches]:
    """Return the batches of one epoch, by how they are made."""
    order = LengthSampler([len(row["input_ids"]) for row in rows], BATCH, 0)
    like = [rows[place] for place in order]
    packed = pack_dataset(Dataset.from_list(rows), ROW, "bfd").to_list()
    return {
        "random order": [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)],
        "like lengths": [like[at : at + BATCH] for at in range(0, len(like), BATCH)],
        "packed": [[row] for row in packed],
    }


def measure(rows: list[dict[str, Any]], rounds: int) -> dict[str, list[float]]:
    """Return tokens a second of processor time of every way, round by round."""
    ways = dict(_ways(rows))
    tokens = sum(len(row["input_ids"]) for row in rows)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, epoch in ways.items():
            began = time.process_time()
            epoch()
            found[name].append(tokens / (time.process_time() - began))
    return found


def _ways(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Callable[[], None]]]:
    for free in (False, True):
        model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).train()
        add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))  # as TRL's trainer does
        if free and not compute_without_padding(model, ROW):
            raise click.ClickException("the embedded model is not computed without padding")
        for name, batches in arrangements(rows).items():
            if free or name != "packed":
                yield f"{name}, {'no padding' if free else 'padded'}", _epoch(model, batches, packed=name == "packed")


def _epoch(model: Any, batches: Batches, *, packed: bool) -> Callable[[], None]:
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=packed)

    def run() -> None:
        for batch in batches:
            model(**collator(batch), fused_lm_head=True).loss.backward()
            model.zero_grad()

    return run


@click.command()
@click.option("--examples", "count", type=click.IntRange(BATCH), default=96, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(count: int, rounds: int, results: Path) -> None:
    """Measure; takes two minutes."""
    rows = examples(count)
    found = measure(rows, rounds)
    medians = {name: statistics.median(values) for name, values in found.items()}
    table = Table(box=None, pad_edge=False)
    for name in ("batches", "tokens a second of processor time", "to padded at random"):
        table.add_column(name, justify="left" if name == "batches" else "right")
    first = next(iter(medians.values()))
    for name, speed in medians.items():
        table.add_row(name, f"{speed:,.0f}", f"{speed / first:.2f}")
    Console().print(table)
    report = taken(PACKAGES) | {
        "examples": count,
        "threads": torch.get_num_threads(),
        "runs": found,
        "medians": medians,
    }
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
