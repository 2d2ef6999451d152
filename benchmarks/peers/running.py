"""Running a side's command in a session of its own: its time, its memory, and its end, natural or not (Linux).

Every process that the command starts belongs to its session, so all of them are counted, and all of them are killed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import MeasuringError

ROOT = Path(__file__).parents[2]


class StillRunningError(Exception):
    """A command was not done within the time it was given."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ran to its end: seconds from start to end, and processor seconds of it and what it waited for."""

    seconds: float
    processor_seconds: float


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in a session of its own while the block runs; nothing of it is left alive afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=ROOT
        )
    try:
        yield process
    finally:
        kill(process)


def run(command: Sequence[str], log: Path, limit: float) -> Ran:
    """Run a command to its end; raises MeasuringError when it fails, StillRunningError after `limit` seconds."""
    before, began = os.times(), time.perf_counter()
    with started(command, log) as process:
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired as error:
            raise StillRunningError(f"not done after {limit:.0f} s") from error
        seconds, after = time.perf_counter() - began, os.times()
    if code != 0:
        raise MeasuringError(f"ended with {code}: {_last_line(log)}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Ran(seconds, used)


def peak_memory(command: Sequence[str], log: Path, limit: float) -> float:
    """Run a command to its end and return the most memory its processes held together, in MiB.

    Memory is the proportional set size, looked at as often as time allows: what forked processes share counts once.
    Looking costs time, so this run is not timed. Raises as `run` does.
    """
    most, end = 0.0, time.monotonic() + limit
    with started(command, log) as process:
        while process.poll() is None:
            if time.monotonic() > end:
                raise StillRunningError(f"not done after {limit:.0f} s")
            most = max(most, sum(_proportional(number) for number in members(process.pid)))
            time.sleep(0.05)
        code = process.returncode
    if code != 0:
        raise MeasuringError(f"ended with {code}: {_last_line(log)}")
    return most


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill everything of a command at once, without a warning, and wait until it is gone."""
    while members(process.pid):
        for number in members(process.pid):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()


def members(session: int) -> list[int]:
    """Return the processes of a session that are not dead yet."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                # A program's name may hold anything, so the fields are counted from the bracket that ends it.
                state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(its_session) == session and state not in "ZX":
                    found.append(int(folder.name))
    return found


def _proportional(process: int) -> float:
    """Return the proportional set size of a process in MiB; 0 when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
