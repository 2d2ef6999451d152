"""What a kill costs: a command killed half way without a warning, started again, and what it then asked and left.

Counted by the stand-in server and in the rows that were left, so for every side alike. A request that was in flight at
the kill is lost for everybody and has to be asked again: it is among the repeated ones, and their number stands beside.
"""

import subprocess
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from benchmarks.peers.running import StillRunningError, kill, run, started
from benchmarks.peers.servers import Server, look
from benchmarks.peers.sides import Side
from benchmarks.peers.task import STEPS, Task
from benchmarks.processes import MeasuringError


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a kill has cost; `outcome` is "finished", or what went wrong with the second run."""

    outcome: str
    in_flight: int
    """Requests that the server had and had not answered when the command was killed."""
    repeated: int
    """Requests that the server saw more than once, those in flight included."""
    lost: int
    """Rows that are not there in the end, or not whole."""
    doubled: int
    """Rows that are there more than once: how many too many."""


def kill_and_resume(side: Side, task: Task, server: Server, limit: float) -> Aftermath:
    """Kill a side's command when the server has seen half of its requests, run it again, and count.

    The second run may take `limit` seconds; one that takes longer hangs. Raises MeasuringError when the command is done
    before it is killed.
    """
    log, half = task.folder / "output.txt", len(STEPS) * len(task.prompts()) // 2
    with started(side.command(task), log) as process:
        _wait_for(process, server, half)
        kill(process)
        then = look(server)
    assert then.answered is not None
    in_flight, outcome = then.requests - then.answered, "finished"
    try:
        run(side.command(task), log, limit)
    except (MeasuringError, StillRunningError) as error:
        outcome = str(error)
    repeated = look(server).repeated
    assert repeated is not None
    lost, doubled = compare([row["id"] for row in task.prompts()], side.rows(task.folder))
    return Aftermath(outcome, in_flight, repeated, lost, doubled)


def compare(asked: Collection[str], made: Counter[str]) -> tuple[int, int]:
    """Return how many of the rows that were asked for are missing, and how many rows are there too many."""
    return sum(made[name] == 0 for name in asked), sum(made.values()) - len(made)


def _wait_for(process: "subprocess.Popen[bytes]", server: Server, requests: int) -> None:
    while look(server).requests < requests:
        if process.poll() is not None:
            raise MeasuringError("the command ended before it could be killed")
        time.sleep(0.01)
