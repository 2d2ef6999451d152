"""The only file that knows about concurrency: rows go in, finished rows are committed the moment they are done.

A fixed number of workers each take the next prompt and carry it through all its steps before taking another: depth
first, so that a row's next request finds its prefix still cached. The last rows all go in at once, so that the engine
is full until the end. A row that fails is recorded and harms no other. The run stops, with its unfinished rows still
owed, when the engine is gone, when the disk refuses, or when row after row fails alike.
"""

import asyncio
import gc
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from cai.errors import ContextError, EngineGoneError, RequestError, RowError
from cai.records import Failure, Prompt, Row

ROWS_PER_SLOT = 1.125
"""Rows in flight per request the engine holds: a few spare, so that a slot never waits while a row is committed."""

SAME_FAILURES = 25
"""After so many requests in a row failed with one and the same cause, the cause is not the rows'."""

COLLECT_AFTER = 20_000
"""New objects between two searches for reference cycles while rows are in flight: they make many objects, no cycles.
At Python's own 700 the searches take a third of a request's processor time, in pauses of up to 50 ms."""

BREATH = 1000
"""Finished rows passed over between two looks at signals and the screen."""


class Sink(Protocol):
    """Where rows go (a run directory)."""

    def is_finished(self, prompt_id: str) -> bool:
        """Tell whether nothing is owed for this prompt any more."""

    def commit(self, row: Row) -> None:
        """Keep a finished row; raises RowError when it cannot be written down."""

    def fail(self, failure: Failure) -> None:
        """Keep a failure."""


@dataclass(slots=True)
class Progress:
    """What happened so far in this process; read by whoever draws it."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Rows that were finished before this process started."""


class Stop:
    """A request to end early: `drain` lets the rows in flight finish."""

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        """Take no more rows."""
        self.draining = True


Item = TypeVar("Item", Prompt, Row)


class _Ahead(Generic[Item]):
    """Items, read `count` before they are asked for; `ending` is set when there is nothing more to read.

    What made reading fail ends the items too, and is in `error`.
    """

    def __init__(self, items: Iterable[Item | Failure], count: int) -> None:
        self.ending = asyncio.Event()
        self.error: Exception | None = None
        self._items: Iterator[Item | Failure] = iter(items)
        self._count = count
        self._read: deque[Item | Failure] = deque()

    def __iter__(self) -> Iterator[Item | Failure]:
        return self

    def __next__(self) -> Item | Failure:
        while len(self._read) <= self._count and not self.ending.is_set():
            try:
                self._read.append(next(self._items))
            except StopIteration:
                self.ending.set()
            except Exception as error:
                self.error = error
                self.ending.set()
        if self._read:
            return self._read.popleft()
        raise StopIteration


@dataclass(slots=True)
class Pipeline(Generic[Item]):
    """Carries items through `work` into `sink`, about `concurrency` requests at a time.

    Twice as many rows are in flight from when the last of them can be started. A row's requests follow each other; were
    the last rows started one by one, as places become free, the engine would run empty while the last row still has
    all of its requests before it.
    """

    work: Callable[[Item], Awaitable[Row]]
    sink: Sink
    concurrency: int
    progress: Progress = field(default_factory=Progress)
    stop: Stop = field(default_factory=Stop)
    _streak: list[Failure] = field(default_factory=list)
    _passed_over: int = 0

    async def run(self, items: Iterable[Item | Failure]) -> None:
        """Work until the items end or `stop` drains; returns when no row is in flight any more.

        Raises EngineGoneError, UsageError or StoreError as soon as one makes further rows pointless; rows in flight are
        dropped then, and owed. What made reading the items fail is raised too, once all rows before it are done.
        """
        rows = math.ceil(self.concurrency * ROWS_PER_SLOT)
        source = _Ahead(items, rows)
        workers = [asyncio.create_task(self._worker(source)) for _ in range(rows)]
        workers += [asyncio.create_task(self._late_worker(source)) for _ in range(rows)]
        try:
            with _collecting_rarely():
                await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        self._record_streak()
        if source.error is not None and not self.stop.draining:
            raise source.error

    async def _late_worker(self, source: _Ahead[Item]) -> None:
        await source.ending.wait()
        await self._worker(source)

    async def _worker(self, source: _Ahead[Item]) -> None:
        for item in source:
            if self.stop.draining:
                source.ending.set()  # the late workers must end too
                return
            if self.sink.is_finished(item.prompt.id if isinstance(item, Row) else item.id):
                self.progress.skipped += 1
                await self._breathe()
            elif isinstance(item, Failure):
                self._record(item)
                await self._breathe()
            else:
                await self._do(item)

    async def _breathe(self) -> None:
        """Let signals and the screen have their turn in a long stretch of rows that need no work."""
        self._passed_over += 1
        if self._passed_over % BREATH == 0:
            await asyncio.sleep(0)

    async def _do(self, item: Item) -> None:
        prompt: Prompt = item.prompt if isinstance(item, Row) else item
        try:
            self.sink.commit(await self.work(item))
        except (RowError, ContextError) as error:
            stage = error.stage if isinstance(error, RowError) else "request"
            self._record(Failure(prompt.id, prompt.ordinal, stage, str(error), error.raw, error.retryable))
        except RequestError as error:
            self._hold_back(Failure(prompt.id, prompt.ordinal, "request", str(error), error.raw, error.retryable))
        else:
            self._record_streak()
            self.progress.done += 1

    def _record(self, failure: Failure) -> None:
        self.sink.fail(failure)
        self.progress.failed += 1

    def _hold_back(self, failure: Failure) -> None:
        """Keep a failure that may be the engine's fault until another row shows that it was the row's own."""
        if self._streak and self._streak[-1].cause != failure.cause:
            self._record_streak()
        self._streak.append(failure)
        if len(self._streak) >= SAME_FAILURES:
            count = len(self._streak)
            self._streak.clear()
            raise EngineGoneError(f"{count} rows in a row failed the same way, so the run stopped: {failure.cause}")

    def _record_streak(self) -> None:
        for failure in self._streak:
            self._record(failure)
        self._streak.clear()


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Search for reference cycles once in `COLLECT_AFTER` objects while the block runs."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
