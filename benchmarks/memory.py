"""What many rows cost: the memory of `cai generate` at 50,000 and at 500,000 rows, and the time to go on after a kill.

The model is the scripted one, which answers at once, so a few minutes are enough. The larger run is killed (SIGKILL)
when about half of its rows are sealed, and started again: resuming takes until the first new row is in the journal. Its
peak is the larger one of both processes; the second holds all that an undisturbed run would, and more.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.figures import Figure, print_figures
from benchmarks.processes import CAI, SHORT_ROW, MeasuringError, resident_memory
from benchmarks.prompts import write_prompts
from cai.rundir.layout import journal_numbers, journal_path, shard_numbers
from cai.rundir.run import JOURNAL_ROWS

FEW, MANY = 50_000, 500_000
LONGEST_RESUME = 10.0
MOST_GROWTH = 1.2
_POLL_SECONDS = 0.02


class Running:
    """`cai generate` in a process of its own, with the memory it was seen to use, in MiB."""

    def __init__(self, prompts: Path, out: Path) -> None:
        command = [CAI, "generate", "--constitution=harmless", "--model=scripted"]
        command += [f"--prompts={prompts}", f"--out={out}", "--max-tokens=64"]
        command += [*SHORT_ROW, "--json"]
        self.peak = 0.0
        self.last = 0.0
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def watch(self, until: Callable[[], bool]) -> None:
        """Look on until something happens; raises MeasuringError when the process ends before it."""
        while not until():
            if not self._look():
                raise MeasuringError(f"cai generate ended with {self._process.returncode} before it should have")

    def finish(self) -> None:
        """Look on until the process ends; raises MeasuringError when it fails."""
        while self._look():
            pass
        if self._process.returncode != 0:
            raise MeasuringError(f"cai generate ended with {self._process.returncode}")

    def kill(self) -> None:
        """End the process the hard way."""
        self._process.kill()
        self._process.wait()

    def _look(self) -> bool:
        """Note the memory and wait a moment; return whether the process still runs."""
        if self._process.poll() is not None:
            return False
        memory = resident_memory(self._process.pid)
        if memory is not None:
            self.last, self.peak = memory
        time.sleep(_POLL_SECONDS)
        return True


def measure(few: int = FEW, many: int = MANY) -> list[Figure]:
    """Measure both runs; raises MeasuringError when one of them does not end as it should."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, seconds = _undisturbed(folder, few)
        killed, resumed, resume_seconds = _killed_and_resumed(folder, many)
        peak = max(killed.peak, resumed.peak)
    return [
        Figure(f"{few:,} rows: whole command", few / seconds, "rows/s"),
        Figure(f"{few:,} rows: peak resident memory", small.peak, "MiB"),
        Figure(f"{few:,} rows: resident memory at the end", small.last, "MiB"),
        Figure(f"{many:,} rows: peak resident memory", peak, "MiB"),
        Figure(f"{many:,} rows: resident memory at the end", resumed.last, "MiB"),
        Figure("peak resident memory, many / few rows", peak / small.peak, "x", MOST_GROWTH),
        Figure("resident memory at the end, many / few rows", resumed.last / small.last, "x", MOST_GROWTH),
        Figure(f"{many:,} rows, half done: until the first new row", resume_seconds, "s", LONGEST_RESUME),
    ]


def _undisturbed(folder: Path, rows: int) -> tuple[Running, float]:
    """Make a run of so many rows; return what was seen and the seconds it took."""
    prompts = folder / f"{rows}.jsonl"
    write_prompts(prompts, rows)
    began = time.perf_counter()
    running = Running(prompts, folder / f"run-{rows}")
    try:
        running.finish()
    finally:
        running.kill()
    return running, time.perf_counter() - began


def _killed_and_resumed(folder: Path, rows: int) -> tuple[Running, Running, float]:
    """Make a run in two processes; return what was seen of each and the second one's seconds to its first row."""
    prompts, out = folder / f"{rows}.jsonl", folder / f"run-{rows}"
    write_prompts(prompts, rows)
    killed = Running(prompts, out)
    try:
        killed.watch(lambda: len(shard_numbers(out)) * JOURNAL_ROWS >= rows / 2)
    finally:
        killed.kill()
    last = max(journal_numbers(out), default=0)
    began = time.perf_counter()
    resumed = Running(prompts, out)
    try:
        resumed.watch(lambda: _has_rows_after(out, last))
        seconds = time.perf_counter() - began
        resumed.finish()
    finally:
        resumed.kill()
    return killed, resumed, seconds


def _has_rows_after(out: Path, last: int) -> bool:
    """Return whether a journal begun after the `last` one holds a row, or has become a shard already."""
    try:
        sizes = [journal_path(out, number).stat().st_size for number in journal_numbers(out) if number > last]
    except FileNotFoundError:  # sealed between the two looks
        return True
    return any(sizes) or any(number > last for number in shard_numbers(out))


@click.command()
@click.option("--few", default=FEW, show_default=True)
@click.option("--many", default=MANY, show_default=True)
def main(few: int, many: int) -> None:
    """Measure memory and resuming alone."""
    print_figures("memory", measure(few, many))


if __name__ == "__main__":
    main()
