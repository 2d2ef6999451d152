"""Starting what is measured as a process of its own, as users start it, and reading its time and memory (Linux)."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.costs import Costs

CAI = str(Path(sys.executable).with_name("cai"))
SHORT_ROW = (
    "--no-gate", "--form=continued", "--schedule=sample", "--rounds=1", "--samples=1", "--judge-orders=one",
    "--no-judge-check",
)  # fmt: skip
"""Options of `cai generate`: four requests a row, for one response, critique, revision and verdict, and none before."""


class MeasuringError(Exception):
    """What was to be measured did not work."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran to its end: seconds from start to end, seconds of processor time, and what it printed."""

    seconds: float
    processor_seconds: float
    output: bytes


def timed(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command, with more in its environment if need be; raises MeasuringError when it fails."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | (environment or {}))
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode != 0:
        raise MeasuringError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-4000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Finished(seconds, used, done.stdout)


@contextmanager
def stand_in(costs: Costs) -> Iterator[str]:
    """Run a fresh stand-in server while the block runs; yields its address."""
    command = [sys.executable, "-m", "benchmarks.server", f"--slots={costs.slots}"]
    command += [f"--prefill-us={costs.prefill_us}", f"--decode-us={costs.decode_us}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            if not address:
                raise MeasuringError("the stand-in server did not start")
            yield address
        finally:
            server.terminate()


def read_stats(address: str) -> dict[str, float]:
    """Return what a stand-in server says it did, as `costs.Counters.report` does."""
    with urllib.request.urlopen(f"{address}/stats", timeout=10) as answer:
        stats: dict[str, float] = orjson.loads(answer.read())
    return stats


def resident_memory(process: int) -> tuple[float, float] | None:
    """Return a process's resident memory in MiB, now and the most so far; None when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in fields:  # ended, and not waited for yet
        return None
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most
