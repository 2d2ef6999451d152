"""Rows in flight: a bounded number at once, each committed the moment it is done.

A fixed number of workers each take the next prompt and carry it through all its steps before taking another: depth
first, so that a row's next request finds its prefix still cached. The last rows all go in at once, so that the engine
is full until the end. A row that fails is recorded and harms no other. The run stops, with its unfinished rows still
owed, when the engine is gone, when the disk refuses, or when the breaker says that the failures are not the rows' own.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from cai.core.collecting import collecting_rarely
from cai.core.errors import ContextError, EngineGoneError, RequestError, RowError
from cai.core.evidence import Evidence, of_error, of_row
from cai.core.records import Failure, Prompt, Row
from cai.pipeline.breaker import Breaker
from cai.pipeline.read_ahead import ReadAhead
from cai.pipeline.watch import Progress, Stop

ROWS_PER_SLOT = 1.125
"""Rows in flight per request the engine holds: a few spare, so that a slot never waits while a row is committed."""

REQUEST = "request"
"""The stage of what failed outside any other; a row that was made came through it."""

PASSED_OVER_AT_ONCE = 1000
"""Rows that need no work between two turns of the event loop."""


class Sink(Protocol):
    """Where rows go (a run directory)."""

    def is_finished(self, prompt_id: str) -> bool:
        """Tell whether nothing is owed for this prompt any more."""

    def commit(self, row: Row) -> None:
        """Keep a finished row; raises RowError when it cannot be written down."""

    def fail(self, failure: Failure) -> None:
        """Keep a failure."""


Item = TypeVar("Item", Prompt, Row)


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
    patience: float = 1.0
    """Seconds between two probes of an engine that did answer before and seems not to any more."""
    _breaker: Breaker[Item] = field(default_factory=Breaker)
    _probing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _finished: asyncio.Event = field(default_factory=asyncio.Event)
    _passed_over: int = 0

    async def run(self, items: Iterable[Item | Failure]) -> None:
        """Work until the items end or `stop` drains; returns when no row is in flight any more.

        Raises EngineGoneError, UsageError or StoreError as soon as one makes further rows pointless; rows in flight are
        dropped then, and owed. What made reading the items fail is raised too, once all rows before it are done.
        """
        rows = math.ceil(self.concurrency * ROWS_PER_SLOT)
        source = ReadAhead(items, rows)
        stopping = asyncio.create_task(self._close_when_draining(source))
        workers: list[asyncio.Task[None]] = [asyncio.create_task(self._worker(source)) for _ in range(rows)]
        workers += [asyncio.create_task(self._late_worker(source)) for _ in range(rows)]
        try:
            with collecting_rarely():
                await asyncio.gather(*workers)
        finally:
            source.close()
            for task in (stopping, *workers):
                task.cancel()
            await asyncio.gather(stopping, *workers, return_exceptions=True)
        await self._settle_the_last()
        if source.error is not None and not self.stop.draining:
            raise source.error

    async def _close_when_draining(self, source: ReadAhead[Item]) -> None:
        """Let those who wait for an item hear of the end, however long the item takes to be read."""
        await self.stop.asked()
        source.close()

    async def _late_worker(self, source: ReadAhead[Item]) -> None:
        await source.ending.wait()
        await self._worker(source)

    async def _worker(self, source: ReadAhead[Item]) -> None:
        while (item := await source.take()) is not None:
            if self._probing.locked():
                async with self._probing:
                    pass
            if self.stop.draining:
                return
            if self.sink.is_finished(item.prompt.id if isinstance(item, Row) else item.id):
                self.progress.skipped += 1
                if not isinstance(item, Failure):
                    self._breaker.skip(item)
                await self._pass_over()
            elif isinstance(item, Failure):
                self._record(item)
                await self._pass_over()
            else:
                await self._do(item)

    async def _pass_over(self) -> None:
        """Let signals and the screen have their turn in a long stretch of rows that need no work."""
        self._passed_over += 1
        if self._passed_over % PASSED_OVER_AT_ONCE == 0:
            await asyncio.sleep(0)

    async def _do(self, item: Item) -> None:
        number, outcome, evidence = await self._make(item)
        self._breaker.finish(number, item, outcome, evidence)
        self._finished.set()
        self._keep(self._breaker.settled())
        if self._breaker.suspect() is not None:
            async with self._probing:
                stage = self._breaker.suspect()  # perhaps tested meanwhile
                if stage is not None:
                    await self._find_out(stage, is_last=False)

    async def _make(self, item: Item) -> tuple[int, Row | Failure, Evidence]:
        """Return when a row was started, what came of it, and what that says of the engine."""
        prompt: Prompt = item.prompt if isinstance(item, Row) else item
        number = self._breaker.start()
        try:
            row = await self.work(item)
        except RowError as error:
            self.progress.newest_failure = f"{error.stage}: {error}"
            failure = Failure(prompt.id, prompt.ordinal, error.stage, str(error), error.raw, error.retryable)
            return number, failure, of_error(error)
        except RequestError as error:
            self.progress.newest_failure = str(error)
            failure = Failure(prompt.id, prompt.ordinal, REQUEST, str(error), error.raw, error.retryable)
            own = isinstance(error, ContextError)
            return number, failure, Evidence() if own else Evidence(failed={REQUEST: error.kind})
        except BaseException:
            self._breaker.abandon(number)
            raise
        for part in row.failed:
            self.progress.newest_failure = f"{part.stage}: {part.cause}"
        evidence = of_row(row)
        return number, row, Evidence(evidence.answered | {REQUEST}, evidence.failed)

    async def _find_out(self, stage: str, *, is_last: bool) -> None:
        """Make rows again until it is known whose the failures at a stage are; raises EngineGoneError: the run's."""
        while self._breaker.is_waiting(stage):
            self._finished.clear()
            await self._finished.wait()
        known = None
        for place, probe in enumerate(self._breaker.probes(stage)):
            if place and self._breaker.is_proven(stage):
                await asyncio.sleep(self.patience)
            if self.stop.draining:
                return
            number, outcome, evidence = await self._make(probe.item)
            known = self._breaker.probed(probe, number, outcome, stage, evidence)
            if known is not None:
                break
        if known == "broken" and (not is_last or self._breaker.is_the_runs(stage)):
            raise EngineGoneError(self._breaker.describe(stage))
        if known != "trusted":
            self._keep(self._breaker.give_up_on(stage))
        self._keep(self._breaker.settled())

    async def _settle_the_last(self) -> None:
        """Find out whose failures the held ones are, when no row is in flight any more."""
        while not self.stop.draining and (stage := self._breaker.unsettled()) is not None:
            await self._find_out(stage, is_last=True)

    def _keep(self, outcomes: Iterable[Row | Failure]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                self._record(outcome)
                continue
            try:
                self.sink.commit(outcome)
            except RowError as error:
                prompt = outcome.prompt
                self._record(Failure(prompt.id, prompt.ordinal, error.stage, str(error), error.raw, error.retryable))
            else:
                self.progress.done += 1

    def _record(self, failure: Failure) -> None:
        self.sink.fail(failure)
        self.progress.failed += 1
