"""What a row costs cai, counted: the calls of functions, Python's and C's, in the main thread of `cai generate`.

Processor time is what matters, and on a machine that does other work two measurements of it differ by more than a
change does. Calls are the same every time, to a hundredth. A run of few rows and one of many are counted, after one
that loads what is loaded once; the difference, divided by the rows, is what one row more costs: request, answer,
journal and export, the start left out. The rows are those of `benchmarks.pipeline`, four requests each.

`python -m benchmarks.calls` counts rows of the scripted engine, whose own calls are among them, and of the stand-in
server through HTTP, prints them by room and keeps them in `benchmarks/calls.json`. A test counts the former again and
fails where they have grown by a tenth. Versions of Python differ in what they call; those of 3.11 are kept.
"""

import cProfile
import io
import pstats
import tempfile
from collections import Counter
from contextlib import redirect_stdout, suppress
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.costs import Costs
from benchmarks.overhead import room
from benchmarks.processes import SHORT_ROW, stand_in
from benchmarks.prompts import write_prompts
from benchmarks.where import taken

RESULTS = Path(__file__).with_suffix(".json")
SCRIPTED = "scripted?concurrency=8"
FEW, MANY = 200, 600
_PACKAGES = ("cai", "aiohttp", "jinja2", "orjson", "pyarrow")
_FEWEST_SHOWN = 5.0
"""Calls a row from which a room has a line of its own."""


def calls_a_row(folder: Path, model: str = SCRIPTED, few: int = FEW, many: int = MANY) -> Counter[str]:
    """Return how often one row more calls functions, by the room that the function, or a C function's caller, is in."""
    _count(folder / "first", model, few)
    less, more = (_count(folder / str(rows), model, rows) for rows in (few, many))
    more.subtract(less)
    return Counter({name: round(calls / (many - few), 1) for name, calls in more.items()})


def _count(folder: Path, model: str, rows: int) -> Counter[str]:
    """Run the command once, in this process, and return its calls."""
    from cai.cli.main import main as cai  # noqa: PLC0415  (who reads the figures alone waits for none of it)

    folder.mkdir()
    write_prompts(folder / "prompts.jsonl", rows)
    words = ["generate", "--constitution=harmless", *SHORT_ROW, f"--model={model}", "--max-tokens=64", "--json"]
    words += [f"--prompts={folder / 'prompts.jsonl'}", f"--out={folder / 'run'}"]
    profiler = cProfile.Profile()
    with redirect_stdout(io.StringIO()), suppress(SystemExit):
        profiler.runcall(cai, words)
    counts: Counter[str] = Counter()
    for (file, _, _), (_, calls, _, _, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if file.startswith("~"):  # a function in C: it is its callers'
            for (caller, _, _), (times, *_) in callers.items():
                counts[room(caller)] += times
        else:
            counts[room(file)] += calls
    return counts


def print_calls(counted: dict[str, Counter[str]]) -> None:
    """Print a table of the rooms, those with most calls first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("calls a row")
    for name in counted:
        table.add_column(name, justify="right")
    table.add_row("all", *(f"{calls.total():,.0f}" for calls in counted.values()))
    for name in sorted(set().union(*counted.values()), key=lambda one: -max(calls[one] for calls in counted.values())):
        if any(calls[name] >= _FEWEST_SHOWN for calls in counted.values()):
            table.add_row(name, *(f"{calls[name]:,.0f}" for calls in counted.values()))
    Console().print(table)


@click.command()
@click.option("--few", default=FEW, show_default=True)
@click.option("--many", default=MANY, show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(few: int, many: int, results: Path) -> None:
    """Count the calls of a row."""
    with tempfile.TemporaryDirectory() as name, stand_in(Costs()) as address:
        models = {"scripted": SCRIPTED, "http": f"openai:mock@{address}/v1"}
        counted: dict[str, Counter[str]] = {}
        for kind, model in models.items():
            folder = Path(name, kind)
            folder.mkdir()
            counted[kind] = calls_a_row(folder, model, few, many)
    print_calls(counted)
    rooms = {kind: {room: calls for room, calls in one.most_common() if calls} for kind, one in counted.items()}
    totals = {kind: round(one.total()) for kind, one in counted.items()}
    report = taken(_PACKAGES) | {"rows": [few, many], "calls_a_row": totals, "by_room": rooms}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
