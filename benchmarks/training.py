"""`python -m benchmarks.training`: how fast `cai train` learns beside plain TRL, on the embedded model and a CPU.

Both sides are whole commands that train one epoch of the same examples, in turn, several times; medians count.

| setting | TRL | cai |
|---|---|---|
| defaults | `trl METHOD --use_cpu`, without which it does not start here | `cai train METHOD --device cpu` |
| equal | float32, no checkpointing, batch 8 | the same; no test split, one checkpoint |

At equal settings both have as many threads as there are cores; left alone, TRL's launcher takes one. A side's speed is
the tokens that it trained on, over the seconds of its loop and over those of the whole command. TRL's loop holds DPO's
reference pass, so ours is counted with it; ours also holds the evaluations and checkpoints that TRL does not make.
"""

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from benchmarks.embedded.train import CHECKPOINT
from benchmarks.examples import Method, useful_tokens, write_examples
from benchmarks.processes import MeasuringError
from benchmarks.trainers import PACKAGES, Took, Work, train_with_cai, train_with_trl
from benchmarks.where import taken

RESULTS = Path(__file__).parent / "training.json"
METHODS: tuple[Method, ...] = ("sft", "dpo")
TARGET = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What is added to both command lines, and to the environment of both."""

    name: str
    trl: tuple[str, ...]
    cai: tuple[str, ...]
    environment: Mapping[str, str]
    same_tokens: bool


SETTINGS = (
    Setting("defaults", ("--use_cpu",), ("--device", "cpu"), {}, same_tokens=False),
    Setting(
        "equal",
        ("--use_cpu", "--bf16", "False", "--gradient_checkpointing", "False", "--per_device_train_batch_size", "8"),
        ("--device", "cpu", "--batch-size", "8", "--test-share", "0", "--evaluations", "1"),
        {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))},
        same_tokens=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both sides took for one method at one setting, run by run."""

    method: Method
    setting: str
    trl: tuple[Took, ...]
    cai: tuple[Took, ...]

    def speeds(self, clock: str) -> tuple[float, float]:
        """Return TRL's and cai's tokens a second by a clock of `Took` (loop, wall, processor); medians."""
        trl, cai = (
            statistics.median(took.tokens / getattr(took, clock) for took in side) for side in (self.trl, self.cai)
        )
        return trl, cai

    def ratio(self, clock: str) -> float:
        """Return cai's speed over TRL's."""
        trl, cai = self.speeds(clock)
        return cai / trl

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as what JSON can say."""
        return asdict(self) | {"ratios": {clock: self.ratio(clock) for clock in ("loop", "wall", "processor")}}


def compare(work: Work, setting: Setting, runs: int) -> Comparison:
    """Train `runs` times with each side, in turn; raises MeasuringError when one fails."""
    trl: list[Took] = []
    cai: list[Took] = []
    for _ in range(runs):
        trl.append(train_with_trl(work, setting.trl, setting.environment))
        cai.append(train_with_cai(work, setting.cai, setting.environment))
        if setting.same_tokens and cai[-1].tokens != work.tokens:
            raise MeasuringError(f"cai trained on {cai[-1].tokens:,} tokens, and the examples have {work.tokens:,}")
    return Comparison(work.method, setting.name, tuple(trl), tuple(cai))


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print a table of speeds and ratios."""
    table = Table(title="tokens a second", title_justify="left", box=None, pad_edge=False)
    table.add_column("method")
    table.add_column("settings")
    for clock in ("training", "whole command"):
        for name in (f"{clock}: trl", "cai", "ratio"):
            table.add_column(name, justify="right")
    for comparison in comparisons:
        cells = []
        for clock in ("loop", "wall"):
            ratio = comparison.ratio(clock)
            colour = "green" if ratio >= TARGET else "red"
            cells += [*(f"{speed:,.0f}" for speed in comparison.speeds(clock)), f"[{colour}]{ratio:.2f}[/{colour}]"]
        table.add_row(comparison.method, comparison.setting, *cells)
    console.print(table)


@click.command()
@click.option("--examples", type=click.IntRange(16), default=300, show_default=True, help="Examples a method.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Runs of each command.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(examples: int, runs: int, results: Path) -> None:
    """Measure training beside plain TRL; ends with 1 when cai is the slower anywhere.

    Takes a quarter of an hour; for figures worth keeping, leave the machine to it.
    """
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory() as name:
        for method in METHODS:
            data = write_examples(Path(name, method), method, examples)
            tokens = useful_tokens(data, method, AutoTokenizer.from_pretrained(CHECKPOINT))
            work = Work(method, CHECKPOINT, data, tokens)
            comparisons += [compare(work, setting, runs) for setting in SETTINGS]
    print_comparisons(Console(), comparisons)
    report = taken(PACKAGES) | {
        "examples": examples,
        "runs": runs,
        "settings": [asdict(setting) for setting in SETTINGS],
        "comparisons": [comparison.as_json() for comparison in comparisons],
    }
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    slower = [
        f"{comparison.method} at {comparison.setting}, {clock}: {comparison.ratio(clock):.2f}"
        for comparison in comparisons
        for clock in ("loop", "wall")
        if comparison.ratio(clock) < TARGET
    ]
    if slower:
        raise click.ClickException(f"cai is slower than plain TRL: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
