"""`python -m benchmarks.backends MODEL DIALOGUES.jsonl`: rows an hour of a real model through each backend, on a CPU.

The same short rows (a response, a critique, a revision, a verdict in one order; temperature 1) through `cai generate`
over `transformers:` in float32 and bfloat16, over `vllm:` where `make test-vllm` has made its environment, over
`openai:` where `--server` names a server of the same model, and through a plain loop of `generate` in fixed batches
(`benchmarks.staged`, at the best of three sizes). All take turns, several times; medians count. Seconds are those of
generation, from an open model to all rows written down, and of the whole command.

DIALOGUES are lines with `id` and `prompt`, a list of messages; those of one turn are taken.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.processes import CAI, SHORT_ROW, MeasuringError, timed
from benchmarks.where import taken

RESULTS = Path(__file__).parent / "backends.json"
VLLM_CAI = Path(__file__).parent.parent / ".venv-vllm/bin/cai"
CONSTITUTION, MAX_TOKENS = "harmless", 96
BATCHES = (32, 16, 8)
VLLM_OPTIONS = ("--engine-option=max-num-seqs=64", "--engine-option=kv-cache-memory-bytes=2147483648")
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True, slots=True)
class Took:
    """One command: its rows, tokens written, seconds of generation and in all."""

    rows: int
    completion_tokens: int
    seconds: float
    whole_seconds: float

    @property
    def rows_an_hour(self) -> float:
        """Rows an hour of generation."""
        return 3600 * self.rows / self.seconds


def take_prompts(dialogues: Path, rows: int, out: Path) -> Path:
    """Write the first dialogues of one turn as prompts, and return where."""
    lines = map(orjson.loads, dialogues.read_bytes().splitlines())
    single = [row for row in lines if len(row["prompt"]) == 1][:rows]
    if len(single) < rows:
        raise MeasuringError(f"{dialogues} has {len(single)} dialogues of one turn, not {rows}")
    kept = [{"id": row["id"], "prompt": row["prompt"][0]["content"]} for row in single]
    out.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in kept))
    return out


def run_plain(model: Path, prompts: Path, batch_size: int) -> Took:
    """Run the plain loop once."""
    command = [sys.executable, "-m", "benchmarks.staged", str(model), str(prompts), CONSTITUTION]
    done = timed([*command, f"--batch-size={batch_size}", f"--max-tokens={MAX_TOKENS}"])
    told = orjson.loads(done.output)
    rows = len(prompts.read_bytes().splitlines())
    return Took(rows, told["completion_tokens"], told["seconds"], done.seconds)


def run_cai(command: str, model: str, options: tuple[str, ...], prompts: Path, out: Path) -> Took:
    """Run `cai generate` once; raises MeasuringError unless every row was made."""
    asked = [command, "generate", f"--constitution={CONSTITUTION}", f"--model={model}", f"--prompts={prompts}"]
    asked += [f"--out={out}", "--json", f"--max-tokens={MAX_TOKENS}", *SHORT_ROW, *options]
    done = timed(asked, QUIET)
    told = orjson.loads(done.output)
    if told["status"] != "done" or told["failed"]:
        raise MeasuringError(f"not every row was made: {told['failures']}")
    return Took(told["done"], told["completion_tokens"], told["seconds"], done.seconds)


def sides(model: Path, server: str | None) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Return the ways through cai: the command, the model as it is named there, and options."""
    local = f"transformers:{model}"
    types = ("float32", "bfloat16")
    found: dict[str, tuple[str, str, tuple[str, ...]]] = {
        f"transformers:, {name}": (CAI, local, ("--device=cpu", f"--dtype={name}")) for name in types
    }
    if VLLM_CAI.exists():
        found["vllm:, bfloat16"] = (str(VLLM_CAI), f"vllm:{model}", ("--dtype=bfloat16", *VLLM_OPTIONS))
    if server is not None:
        found[f"openai: ({server})"] = (CAI, server, ())
    return found


def measure(model: Path, prompts: Path, server: str | None, runs: int, folder: Path) -> dict[str, list[Took]]:
    """Run everything in turns and return what each took."""
    tried = {size: run_plain(model, prompts, size) for size in BATCHES}
    best = max(tried, key=lambda size: tried[size].rows_an_hour)
    took: dict[str, list[Took]] = {f"plain loop in batches of {best}": []}
    ways = sides(model, server)
    for number in range(runs):
        took[f"plain loop in batches of {best}"].append(run_plain(model, prompts, best))
        for place, (name, (command, named, options)) in enumerate(ways.items()):
            out = folder / f"{place}-{number}"
            took.setdefault(name, []).append(run_cai(command, named, options, prompts, out))
    return took


def show(console: Console, took: Mapping[str, list[Took]]) -> None:
    """Print a line for each side; the ratio is to the plain loop."""
    table = Table("", "rows/hour", "tokens/s", "ratio", "whole command, s", box=None)
    yardstick = median(run.rows_an_hour for run in next(iter(took.values())))
    for name, runs in took.items():
        rate = median(run.rows_an_hour for run in runs)
        tokens = median(run.completion_tokens / run.seconds for run in runs)
        whole = median(run.whole_seconds for run in runs)
        table.add_row(name, f"{rate:,.0f}", f"{tokens:,.0f}", f"{rate / yardstick:.2f}", f"{whole:,.1f}")
    console.print(table)


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("dialogues", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(1), default=32, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--server", help="A server of the same model, as after --model: openai:NAME@URL.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(model: Path, dialogues: Path, rows: int, runs: int, server: str | None, results: Path) -> None:
    """Measure, print and keep the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            took = measure(model, take_prompts(dialogues, rows, folder / "prompts.jsonl"), server, runs, folder)
        except MeasuringError as error:
            raise click.ClickException(str(error)) from error
    show(Console(width=120), took)
    raw: dict[str, Any] = {side: [asdict(run) for run in runs] for side, runs in took.items()}
    report = taken(("cai", "torch", "transformers")) | {"rows": rows, "max_tokens": MAX_TOKENS, "sides": raw}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
