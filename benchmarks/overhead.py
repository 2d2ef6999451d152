"""What cai itself costs: processor time a request, with 1,000 requests in flight and no model behind them.

The scripted engine answers after 50 ms, so that a thousand requests really are in flight; its making up of words is
counted as ours. Two sizes of the same run are taken in turns: the whole command's time divided by its requests holds
start, imports and export too; the difference between the two sizes is what one request more costs.

Where it goes is read off the profiler, in a run of its own: the shares of time in each room's own lines and in the C
functions that they call. The profiler slows Python's lines and not C's: the shares are a map and not a measurement.
"""

import cProfile
import pstats
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import orjson

from benchmarks.figures import Figure, print_figures
from benchmarks.processes import CAI, SHORT_ROW, timed
from benchmarks.prompts import write_prompts

FEW, MANY = 2_000, 10_000
IN_FLIGHT = 1_000
REPETITIONS = 5
MOST_MICROSECONDS = 250.0
SHOWN = 8
METHODS = {
    "one round, judged once": ("--constitution=harmless", *SHORT_ROW),
    "medical as shipped": ("--constitution=medical",),
}
"""The paper's way with four requests a row; and with gates, two samples and both orders."""


def arguments(method: str, prompts: Path, out: Path) -> list[str]:
    """Return what `cai` is called with."""
    common = [f"--model=scripted?delay_ms=50&concurrency={IN_FLIGHT}", f"--prompts={prompts}", f"--out={out}"]
    return ["generate", *METHODS[method], *common, "--max-tokens=64", "--json"]


def processor_time(method: str, prompts: Path, out: Path) -> tuple[int, float]:
    """Run the command once; return its requests and its processor seconds."""
    done = timed([CAI, *arguments(method, prompts, out)])
    return orjson.loads(done.output)["requests"], done.processor_seconds


def measure(repetitions: int = REPETITIONS, few: int = FEW, many: int = MANY) -> list[Figure]:
    """Return microseconds a request, medians of several runs, for both methods; raises MeasuringError."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {rows: folder / f"{rows}.jsonl" for rows in (few, many)}
        for rows, path in sizes.items():
            write_prompts(path, rows)
        for number, method in enumerate(METHODS):
            whole, one_more = [], []
            for repetition in range(repetitions):
                small, large = (
                    processor_time(method, path, folder / f"{number}-{rows}-{repetition}")
                    for rows, path in sizes.items()
                )
                whole.append(1e6 * large[1] / large[0])
                one_more.append(1e6 * (large[1] - small[1]) / (large[0] - small[0]))
            figures += [
                Figure(f"{method}: whole command / requests", median(whole), "µs", MOST_MICROSECONDS),
                Figure(f"{method}: one request more", median(one_more), "µs"),
                *shares(method, sizes[many], folder / f"{number}-profile"),
            ]
    return figures


def shares(method: str, prompts: Path, out: Path) -> list[Figure]:
    """Return the rooms whose own lines took most of the time, in percent of all that the profiler saw."""
    profile = out.with_suffix(".profile")
    timed([sys.executable, "-m", "benchmarks.overhead", "--profile", str(profile), *arguments(method, prompts, out)])
    seconds: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, callers) in pstats.Stats(str(profile)).stats.items():  # type: ignore[attr-defined]
        if file.startswith("~"):  # a function in C: its time is its callers'
            for (caller, _, _), (_, _, part, _) in callers.items():
                seconds[room(caller)] += part
        else:
            seconds[room(file)] += own
    total = seconds.total()
    return [Figure(f"{method}: share of {name}", 100 * own / total, "%") for name, own in seconds.most_common(SHOWN)]


def room(file: str) -> str:
    """Return what a profiled file belongs to: a room of cai, a package, or Python itself."""
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    if "cai" in parts and file.endswith(".py"):
        inside = parts[len(parts) - 1 - parts[::-1].index("cai") :]
        return "/".join(inside[:3]).removesuffix(".py")
    if file.startswith("<frozen"):
        return "imports"
    return "the asyncio package" if parts[-2:-1] == ("asyncio",) else "the rest of Python"


def profile_command(words: Sequence[str], profile: Path) -> None:
    """Run `cai` with these words in this process and write its profile."""
    from cai.cli.main import main as cai  # noqa: PLC0415  (its import is part of what is profiled)

    profiler = cProfile.Profile()
    try:
        profiler.runcall(cai, list(words))
    finally:
        profiler.dump_stats(profile)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--profile", type=click.Path(dir_okay=False, path_type=Path), hidden=True)
@click.option("--repetitions", default=REPETITIONS, show_default=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def main(profile: Path | None, repetitions: int, words: tuple[str, ...]) -> None:
    """Measure the overhead alone."""
    if profile is None:
        print_figures("overhead", measure(repetitions))
    else:
        profile_command(words, profile)


if __name__ == "__main__":
    main()
