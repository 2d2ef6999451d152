"""How busy `cai generate` keeps a server, and how long the whole command takes, beside a bare loop that asks the same.

2,000 rows of respond, critique, revise and judge (one order) against a fresh stand-in server of 256 slots, at 8 ms and
at 2 ms a token. The command is measured as a user runs it, from its start to its end: imports, journal, shards and
export too. The ideal time is what the server needs when no slot is ever idle.

`python -m benchmarks.pipeline` measures this alone. With `--url http://127.0.0.1:8099` it runs the command once against
a server that was started by hand, to compare stand-ins; what that server saw is asked of it by hand as well.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import orjson

from benchmarks.costs import Costs
from benchmarks.figures import Figure, print_figures
from benchmarks.processes import CAI, SHORT_ROW, Finished, MeasuringError, read_stats, stand_in, timed
from benchmarks.prompts import write_prompts

ROWS = 2_000
REQUESTS_PER_ROW = 4
FOUND_OUT = 2
"""Requests with which cai asks a server, once a run, how its model is told not to think before a choice."""

REPETITIONS = 5
BUSY_TARGETS = {8: 0.95, 2: 0.88}
"""Milliseconds a token, and the share of the slots that should be busy then."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One command against one fresh server: its own time, and what the server saw."""

    seconds: float
    processor_seconds: float
    busy_share: float
    ideal_seconds: float


def measure(repetitions: int = REPETITIONS, rows: int = ROWS) -> list[Figure]:
    """Return the medians of several runs at each speed; raises MeasuringError when a run does not do all its rows."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prompts(folder / "prompts.jsonl", rows)
        for speed in BUSY_TARGETS:
            costs = Costs(decode_us=1000 * speed)
            ours, bare = [], []
            for repetition in range(repetitions):  # in turns, so that a busy moment of the machine hits both
                bare.append(measure_bare(folder, costs, rows))
                ours.append(measure_cai(folder, f"{speed}-{repetition}", costs, rows))
            figures += _figures(speed, ours, bare)
    return figures


def measure_cai(folder: Path, name: str, costs: Costs, rows: int) -> Measured:
    """Run `cai generate` once over `folder/prompts.jsonl` into `folder/name`, against a fresh server."""
    with stand_in(costs) as address:
        done = run_cai(folder, name, address, rows, costs.slots)
        return _measured(done, address, rows * REQUESTS_PER_ROW + FOUND_OUT)


def measure_bare(folder: Path, costs: Costs, rows: int) -> Measured:
    """Run the bare loop once over `folder/prompts.jsonl`, against a fresh server."""
    with stand_in(costs) as address:
        done = timed([sys.executable, "-m", "benchmarks.bare", address, str(folder / "prompts.jsonl")])
        return _measured(done, address, rows * REQUESTS_PER_ROW)


def run_cai(folder: Path, name: str, address: str, rows: int, slots: int) -> Finished:
    """Run `cai generate` against a server with so many slots; raises MeasuringError unless every row was made."""
    command = [CAI, "generate", "--constitution=harmless", f"--model=openai:mock@{address}/v1"]
    command += [f"--prompts={folder / 'prompts.jsonl'}", f"--out={folder / name}", "--json"]
    command += [*SHORT_ROW, "--max-tokens=64", f"--concurrency={slots}"]
    done = timed(command)
    summary = orjson.loads(done.output)
    if (summary["done"], summary["requests"]) != (rows, rows * REQUESTS_PER_ROW):
        raise MeasuringError(f"{rows} rows of {REQUESTS_PER_ROW} requests were to be made, not {summary}")
    return done


def _measured(done: Finished, address: str, requests: int) -> Measured:
    stats = read_stats(address)
    if stats["requests"] != requests:
        raise MeasuringError(f"the server saw {stats['requests']} requests instead of {requests}")
    return Measured(done.seconds, done.processor_seconds, stats["busy_share"], stats["ideal_seconds"])


def _figures(speed: int, ours: list[Measured], bare: list[Measured]) -> list[Figure]:
    """Return what several runs at one speed come to."""
    ideal = median(run.ideal_seconds for run in ours)
    busy, seconds = median(run.busy_share for run in ours), median(run.seconds for run in ours)
    at = f"{speed} ms a token"
    return [
        Figure(f"{at}: slots busy while serving", 100 * busy, "%", 100 * BUSY_TARGETS[speed], "at least"),
        Figure(f"{at}: the same, bare loop", 100 * median(run.busy_share for run in bare), "%"),
        Figure(f"{at}: whole command", seconds, "s", 1.15 * ideal + 2 if speed == 8 else None),
        Figure(f"{at}: the same, bare loop", median(run.seconds for run in bare), "s"),
        Figure(f"{at}: ideal time", ideal, "s"),
        Figure(f"{at}: whole command / bare loop", seconds / median(run.seconds for run in bare), "x"),
        Figure(f"{at}: processor time", median(run.processor_seconds for run in ours), "s"),
        Figure(f"{at}: the same, bare loop", median(run.processor_seconds for run in bare), "s"),
    ]


@click.command()
@click.option("--repetitions", default=REPETITIONS, show_default=True)
@click.option("--url", help="A server that is already running, such as http://127.0.0.1:8099.")
def main(repetitions: int, url: str | None) -> None:
    """Measure the pipeline alone."""
    if url is None:
        print_figures("pipeline", measure(repetitions))
        return
    with tempfile.TemporaryDirectory() as name:
        write_prompts(Path(name, "prompts.jsonl"), ROWS)
        print(f"{run_cai(Path(name), 'run', url, ROWS, Costs().slots).seconds:.2f} s")


if __name__ == "__main__":
    main()
