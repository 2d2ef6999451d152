"""A running job, seen from outside: what it has done so far, and how it is asked to end early."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cai.models.meter import UsageCounter


@dataclass(slots=True)
class Progress:
    """What happened so far in this process; read by whoever draws it."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Rows that were finished before this process started."""
    newest_failure: str = ""
    """What failed last in a row, whether or not that row is made again; a person sees early what servers answer."""


class Stop:
    """A request to end early: `drain` lets the rows in flight finish. Used on the job's event loop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._is_at_once = False

    def drain(self) -> None:
        """Take no more rows."""
        self._asked.set()

    async def asked(self) -> None:
        """Return once the job is to end."""
        await self._asked.wait()

    @property
    def draining(self) -> bool:
        """Whether the job is to end."""
        return self._asked.is_set()

    @property
    def is_at_once(self) -> bool:
        """Whether to cancel the job's task is the way to end it: it drains already, or there is nothing to drain."""
        return self._is_at_once or self.draining

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Say that nothing is in flight inside the block, which may wait for another machine for long."""
        self._is_at_once = True
        try:
            yield
        finally:
            self._is_at_once = False


@dataclass(slots=True)
class Watch:
    """A running job, seen from outside; `total` is the number of rows when it is known.

    `stage` is told to the person; rates are counted from the first stage whose name begins with `working`.
    """

    progress: Progress = field(default_factory=Progress)
    tally: UsageCounter = field(default_factory=UsageCounter)
    stop: Stop = field(default_factory=Stop)
    stage: str = "starting"
    total: int | None = None
    say: Callable[[str], None] = field(default=lambda _line: None)
    """Tells the person something at once, in one line."""
