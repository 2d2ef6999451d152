"""`python -m benchmarks.inprocess`: `transformers:` beside a plain loop of left-padded `generate`, on a CPU.

The same rows (response, critique, revision, one verdict by log-probabilities) at temperature 1 through `cai generate`
and through `benchmarks.staged`, which works stage by stage in fixed batches. Both are whole commands, run in turn,
several times; medians count. The plain loop is tried at three batch sizes first, and its best one is measured.

| model | prompts | texts | rows at once |
|---|---|---|---|
| embedded | of its own world, under medical | as they come, cut at 128 tokens | 64 |
| random, 108 M parameters (`benchmarks.wordllama`) | 20 to 60 words | geometric, mean 48 words, cut at 96 | 24 |

Tokens a second are counted over the generation, from the first request until all rows are written down, and over the
whole command, with its imports and the loading of the model; cai's exports are in the latter. The two draw different
numbers, so their texts differ; what is compared is the rate. How unequal the lengths are, which is what batches suffer
from, is told as the share of the plain loop's places in which a token was written.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import click
import orjson

from benchmarks.embedded.train import CHECKPOINT
from benchmarks.figures import Figure, print_figures
from benchmarks.processes import CAI, SHORT_ROW, MeasuringError, timed
from benchmarks.prompts import write_prompts
from benchmarks.where import taken
from benchmarks.wordllama import vocabulary, write_word_llama
from cai.constitution import load_constitution
from cai.core.resources import shipped

RESULTS = Path(__file__).parent / "inprocess.json"
TARGET = 1.5
MEAN_WORDS = 48
_PACKAGES = ("cai", "torch", "transformers", "tokenizers")


@dataclass(frozen=True, slots=True)
class Setting:
    """A model and its rows; `batches` are the sizes that the plain loop is tried at, the first is as many as cai's."""

    name: str
    model: Path
    prompts: Path
    constitution: str
    max_tokens: int
    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Took:
    """One command: tokens it read and wrote, the prompt tokens it need not read, seconds of generation and in all."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    whole_seconds: float
    useful_share: float | None = None
    """Of the places of the plain loop's batches, the share in which a token was written."""

    def rate(self, *, whole: bool = False) -> float:
        """Return generated tokens a second."""
        return self.completion_tokens / (self.whole_seconds if whole else self.seconds)

    def total_rate(self) -> float:
        """Return tokens of prompts and of answers a second."""
        return (self.prompt_tokens + self.completion_tokens) / self.seconds


def embedded(folder: Path, rows: int) -> Setting:
    """Return the embedded model with prompts of its world."""
    prompts = folder / "tiny.jsonl"
    with (shipped("prompts", "sets") / "tiny.jsonl").open("rb") as lines:
        prompts.write_bytes(b"".join(islice(lines, rows)))
    return Setting("embedded", CHECKPOINT, prompts, "medical", 128, (64, 32, 128))


def random_llama(folder: Path, rows: int) -> Setting:
    """Return the random model, which is written into the folder, with prompts of the words that it knows."""
    prompts, constitution = folder / "words.jsonl", "harmless"
    write_prompts(prompts, rows)
    write_word_llama(folder / "model", vocabulary(load_constitution(constitution)), MEAN_WORDS)
    return Setting("random", folder / "model", prompts, constitution, 96, (24, 12, 48))


def run_plain(setting: Setting, batch_size: int) -> Took:
    """Run the plain loop once; raises MeasuringError when it fails."""
    command = [sys.executable, "-m", "benchmarks.staged", str(setting.model), str(setting.prompts)]
    command += [setting.constitution, f"--batch-size={batch_size}", f"--max-tokens={setting.max_tokens}"]
    done = timed(command)
    told = orjson.loads(done.output)
    return Took(
        told["prompt_tokens"],
        0,
        told["completion_tokens"],
        told["seconds"],
        done.seconds,
        told["completion_tokens"] / told["places"],
    )


def run_cai(setting: Setting, out: Path) -> Took:
    """Run `cai generate` once; raises MeasuringError unless every row was made."""
    command = [CAI, "generate", f"--constitution={setting.constitution}", f"--model=transformers:{setting.model}"]
    command += [f"--prompts={setting.prompts}", f"--out={out}", "--json", "--device=cpu", *SHORT_ROW]
    command += [f"--max-tokens={setting.max_tokens}", f"--concurrency={setting.batches[0]}"]
    done = timed(command)
    told = orjson.loads(done.output)
    rows = len(setting.prompts.read_bytes().splitlines())
    if told["done"] != rows:
        raise MeasuringError(f"{rows} rows were to be made, not {told}")
    return Took(told["prompt_tokens"], told["cached_tokens"], told["completion_tokens"], told["seconds"], done.seconds)


def measure(setting: Setting, runs: int, folder: Path) -> tuple[list[Figure], dict[str, Any]]:
    """Return the figures of a setting, and all that was measured for it."""
    tried = {size: run_plain(setting, size) for size in setting.batches}
    best = max(tried, key=lambda size: tried[size].rate())
    plain, ours = [], []
    for number in range(runs):  # in turns, so that a busy moment of the machine hits both
        plain.append(run_plain(setting, best))
        ours.append(run_cai(setting, folder / f"{setting.name}-{number}"))
    raw = {
        "batch_size": best,
        "tried": {str(size): asdict(took) for size, took in tried.items()},
        "plain": list(map(asdict, plain)),
        "cai": list(map(asdict, ours)),
    }
    return figures(setting.name, best, plain, ours), raw


def figures(name: str, size: int, plain: Sequence[Took], ours: Sequence[Took]) -> list[Figure]:
    """Return what several runs come to."""
    rates = [median(took.rate() for took in side) for side in (ours, plain)]
    wholes = [median(took.rate(whole=True) for took in side) for side in (ours, plain)]
    totals = [median(took.total_rate() for took in side) for side in (ours, plain)]
    known = median(took.cached_tokens / took.prompt_tokens for took in ours)
    useful = median(took.useful_share or 0.0 for took in plain)
    return [
        Figure(f"{name}: generated tokens/s", rates[0], "tokens/s"),
        Figure(f"{name}: the same, plain loop in batches of {size}", rates[1], "tokens/s"),
        Figure(f"{name}: ratio", rates[0] / rates[1], "x", TARGET, "at least"),
        Figure(f"{name}: ratio, whole command", wholes[0] / wholes[1], "x"),
        Figure(f"{name}: prompt and generated tokens/s", totals[0], "tokens/s"),
        Figure(f"{name}: the same, plain loop", totals[1], "tokens/s"),
        Figure(f"{name}: prompt tokens that were not read again", 100 * known, "%"),
        Figure(f"{name}: plain loop's places in which a token was written", 100 * useful, "%"),
    ]


@click.command()
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each command.")
@click.option("--embedded-rows", type=click.IntRange(1, 600), default=384, show_default=True)
@click.option("--random-rows", type=click.IntRange(1), default=48, show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(runs: int, embedded_rows: int, random_rows: int, results: Path) -> None:
    """Measure generation in process beside a plain loop; ends with 1 when a target is missed.

    Takes some twenty minutes; for figures worth keeping, leave the machine to it.
    """
    measured: list[Figure] = []
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for setting in (embedded(folder, embedded_rows), random_llama(folder, random_rows)):
            found, raw[setting.name] = measure(setting, runs, folder)
            print_figures(setting.name, found)
            measured += found
    report = taken(_PACKAGES) | {"figures": [figure.as_json() for figure in measured], "runs": raw}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    missed = [figure.name for figure in measured if figure.met is False]
    if missed:
        raise click.ClickException(f"{len(missed)} targets missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
