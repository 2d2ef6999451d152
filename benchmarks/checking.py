"""`python -m benchmarks.checking`: what `cai check` costs on many pairs, beside datasketch, datatrove and semhash.

The pairs are made of words drawn as in texts, about 560 bytes a row, a fiftieth of them copies of the row before.
Processor time and peak resident memory are those of whole commands, imports and all; each runs once. The other tools
look at fewer rows, and need an environment of their own (`--peers PYTHON`: datasketch, datatrove, regex, spacy, xxhash
below 4, semhash, wordllama); without it only cai is measured. Writes benchmarks/checking.json.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import orjson

from benchmarks.figures import Figure, print_figures
from benchmarks.processes import CAI, MeasuringError
from benchmarks.where import taken

FEW, MANY, PEERS = 100_000, 1_000_000, 20_000
LEAST_RATE = 20_000.0
MOST_GROWTH = 1.2
MOST_MINUTES = 10.0
TOOLS = ("datasketch", "datatrove", "semhash")
RESULTS = Path(__file__).parent / "checking.json"
_WORDS, _LENGTH = 5000, 100
_COPIES = 50
_TOGETHER = 1000
_COLUMNS = ("prompt", "chosen", "rejected", "chosen_probability")


@dataclass(frozen=True, slots=True)
class Cost:
    """A process's processor time in seconds, its peak resident memory in MiB, and what it printed."""

    seconds: float
    memory: float
    printed: bytes


def write_pairs(path: Path, rows: int) -> None:
    """Write so many pairs, the same each time; words are drawn by Zipf's law."""
    draw = np.random.default_rng(0)
    words = [f"{'bcdfgklmnprst'[number % 13]}{'aeiou'[number % 5]}{number:x}" for number in range(_WORDS)]
    ranks = np.cumsum(1 / np.arange(1, _WORDS + 1))
    with path.open("wb") as file:
        for start in range(0, rows, _TOGETHER):
            drawn = np.searchsorted(ranks, draw.random((_TOGETHER, _LENGTH)) * ranks[-1])
            ends = draw.integers((20, 55), (30, 65), (_TOGETHER, 2))
            row = b""
            for number in range(min(_TOGETHER, rows - start)):
                if number % _COPIES or not row:
                    said = [words[word] for word in drawn[number]]
                    first, second = ends[number]
                    texts = [" ".join(part) for part in (said[:first], said[first:second], said[second:])]
                    sure = round(0.5 + float(draw.random()) / 2, 3)
                    row = orjson.dumps(dict(zip(_COLUMNS, (*texts, sure), strict=True))) + b"\n"
                file.write(row)


def run(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end on one thread; raises MeasuringError when it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise MeasuringError(f"{' '.join(map(str, command))} ended with {process.returncode}")
        out.seek(0)
        return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read())


def check(path: Path, *options: str) -> Cost:
    """Check a file."""
    return run([CAI, "check", path, "--json", "--quiet", *options])


def measure(folder: Path, few: int, many: int, peers: Path | None) -> list[Figure]:
    """Return the figures of both sizes, and of the other tools where there is an environment of theirs."""
    small, large = folder / "few.jsonl", folder / "many.jsonl"
    write_pairs(small, few)
    write_pairs(large, many)
    plain = ("--no-near-duplicates", "--quality", "none")
    bare = [check(path, *plain) for path in (small, large)]
    near = [check(path, "--quality", "none") for path in (small, large)]
    whole = check(small)
    figures = [
        Figure(f"{few:,} rows, no near-duplicates, no filters", few / bare[0].seconds, "rows/s"),
        Figure(f"{many:,} rows, the same", many / bare[1].seconds, "rows/s", LEAST_RATE, "at least"),
        Figure("peak resident memory, the same, of few", bare[0].memory, "MiB"),
        Figure("peak resident memory, the same, many / few", bare[1].memory / bare[0].memory, "x", MOST_GROWTH),
        Figure(f"{few:,} rows with near-duplicates", few / near[0].seconds, "rows/s"),
        Figure(f"{many:,} rows with near-duplicates", near[1].seconds / 60, "minutes", MOST_MINUTES),
        Figure("near-duplicates alone, of many", (near[1].seconds - bare[1].seconds) / 60, "minutes"),
        Figure("peak resident memory, with near-duplicates, of few", near[0].memory, "MiB"),
        Figure("the same, many / few", near[1].memory / near[0].memory, "x", MOST_GROWTH),
        Figure(f"{few:,} rows with near-duplicates and the default filters", few / whole.seconds, "rows/s"),
    ]
    return [*figures, *(beside(folder / "peers.jsonl", peers) if peers is not None else ())]


def beside(path: Path, python: Path) -> list[Figure]:
    """Return how the other tools do on a file of PEERS rows, as multiples of what cai needs."""
    write_pairs(path, PEERS)
    bare, near = (check(path, "--quality", "none", *more) for more in (("--no-near-duplicates",), ()))
    found = orjson.loads(near.printed)["filters"]
    figures = [
        Figure(f"{PEERS:,} rows: cai's near-duplicates alone", near.seconds - bare.seconds, "s"),
        Figure("near-duplicates found by cai", sum(one["reported"] for one in found), "rows"),
    ]
    for tool in TOOLS:
        # -P, or the folder of the script would come before the environment's packages.
        cost = run([python, "-P", Path(__file__).parent / "deduplicating.py", tool, path])
        figures += [
            Figure(f"{tool}: time by that of cai's near-duplicates", cost.seconds / (near.seconds - bare.seconds), "x"),
            Figure(f"{tool}: time by that of all of `cai check`", cost.seconds / near.seconds, "x"),
            Figure(f"{tool}: peak resident memory by that of cai", cost.memory / near.memory, "x"),
            Figure(f"near-duplicates found by {tool}", orjson.loads(cost.printed.splitlines()[-1])["found"], "rows"),
        ]
    return figures


@click.command()
@click.option("--few", default=FEW, show_default=True)
@click.option("--many", default=MANY, show_default=True)
@click.option(
    "--peers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Python of the other tools."
)
def main(few: int, many: int, peers: Path | None) -> None:
    """Measure, print the figures and keep them; takes minutes."""
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), few, many, peers)
    print_figures("cai check", figures)
    told = taken(("cai", "numpy", "orjson")) | {"figures": [figure.as_json() for figure in figures]}
    RESULTS.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.exit(any(figure.met is False for figure in figures))


if __name__ == "__main__":
    main()
