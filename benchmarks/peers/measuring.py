"""Measuring all sides in one setting: in turns, so that a busy moment of the machine hits all of them.

A setting is a way to get a server and the prompts to ask it about. A side that fails is left out of the setting from
then on, and what it said is kept.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.peers.killing import Aftermath, compare, kill_and_resume
from benchmarks.peers.running import Ran, StillRunningError, peak_memory, run
from benchmarks.peers.servers import Seen, Server, forget, look, since
from benchmarks.peers.sides import Side
from benchmarks.peers.task import STEPS, Task
from benchmarks.peers.write import write_task
from benchmarks.processes import MeasuringError

PATIENCE = 300.0
"""Seconds that a command may take that was never seen to finish."""
SLOWER, LEAST_PATIENCE = 5.0, 30.0
"""A resumed command that takes so many times as long as a whole one, and so many seconds, is said to hang."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A server to ask, new each time or one for all, and the prompts to ask it about."""

    name: str
    server: Callable[[], AbstractContextManager[Server]]
    prompts: list[dict[str, str]]
    least: float = 1.0
    """The share of the four requests a row that a side must have made."""


@dataclass(slots=True)
class Result:
    """What is known of a side in a setting; `failure` is what it said when it failed."""

    runs: list[tuple[Ran, Seen]] = field(default_factory=list)
    memory: float | None = None
    """Peak of a run of its own, in MiB."""
    kills: list[Aftermath] = field(default_factory=list)
    failure: str | None = None

    @property
    def seconds(self) -> float:
        """The median time of the whole command."""
        return median(ran.seconds for ran, _ in self.runs)


def measure(setting: Setting, sides: Sequence[Side], runs: int, results: dict[Side, Result]) -> None:
    """Run each side's whole command so many times, in turns, and add to `results`."""
    for _ in range(runs):
        for side in working(sides, results):
            with _kept(results[side]), _asked(setting) as (server, task):
                results[side].runs.append(_timed(side, server, task, setting.least))
            _tell(setting, side, results[side].failure or f"{results[side].runs[-1][0].seconds:.2f} s")


def measure_memory(setting: Setting, sides: Sequence[Side], results: dict[Side, Result]) -> None:
    """Run each side once more, and watch its memory."""
    for side in working(sides, results):
        with _kept(results[side]), _asked(setting) as (_, task):
            results[side].memory = peak_memory(side.command(task), task.folder / "output.txt", PATIENCE)
        _tell(setting, side, results[side].failure or f"{results[side].memory:.0f} MiB")


def measure_kills(setting: Setting, sides: Sequence[Side], kills: int, results: dict[Side, Result]) -> None:
    """Kill each side so many times, each time in a run of its own; needs the times of whole commands."""
    for _ in range(kills):
        for side in working(sides, results):
            with _kept(results[side]), _asked(setting) as (server, task):
                limit = max(SLOWER * results[side].seconds, LEAST_PATIENCE)
                results[side].kills.append(kill_and_resume(side, task, server, limit))
            _tell(setting, side, results[side].failure or str(results[side].kills[-1]))


def working(sides: Sequence[Side], results: dict[Side, Result]) -> list[Side]:
    """Return the sides that have not failed."""
    return [side for side in sides if results[side].failure is None]


@contextmanager
def _asked(setting: Setting) -> Iterator[tuple[Server, Task]]:
    """Give a server that has forgotten everything, and a task in a folder of its own."""
    with tempfile.TemporaryDirectory() as name, setting.server() as server:
        folder = Path(name, "task")
        write_task(folder, server, setting.prompts)
        forget(server)
        yield server, Task.read(folder)


@contextmanager
def _kept(result: Result) -> Iterator[None]:
    """Keep what a side says when it fails."""
    try:
        yield
    except (MeasuringError, StillRunningError) as error:
        result.failure = str(error)


def _tell(setting: Setting, side: Side, what: str) -> None:
    """Show how far the measuring has come."""
    print(f"{setting.name}: {side.name}: {what}", file=sys.stderr)


def _timed(side: Side, server: Server, task: Task, least: float) -> tuple[Ran, Seen]:
    """Run a side's command once; raises MeasuringError unless it made every row, and no more or fewer requests."""
    before = look(server)
    ran = run(side.command(task), task.folder / "output.txt", PATIENCE)
    seen, prompts = since(before, look(server)), task.prompts()
    wanted = len(STEPS) * len(prompts) + side.asks_first
    if not least * wanted <= seen.requests <= wanted:
        raise MeasuringError(f"the server saw {seen.requests} requests instead of {wanted}")
    lost, doubled = compare([row["id"] for row in prompts], side.rows(task.folder))
    if lost or doubled:
        raise MeasuringError(f"of {len(prompts)} rows {lost} were lost and {doubled} doubled")
    return ran, seen
