"""How a function of the API works: on an event loop in a thread of its own, whatever the calling thread is doing.

So the same function serves a script, a thread, and a notebook, where an event loop runs already. Meanwhile the calling
thread draws the progress and hears Ctrl-C (and SIGTERM): the first lets the rows in flight finish, the second stops at
once; after either KeyboardInterrupt is raised, every finished row is kept, and the same call goes on. Signals are heard
in the main thread only, as Python has it.

`run_async` has no thread: the work is on the caller's own loop, and its task is cancelled as any other.
"""

import asyncio
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Generic, TypeVar

import uvloop

from cai.api.showing import Showing
from cai.generate.estimate import Estimate
from cai.pipeline.watch import Watch

Result = TypeVar("Result")
Work = Callable[[Watch], Awaitable[Result]]

REFRESH_SECONDS = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedWork(Exception):  # noqa: N818  (no error: it never leaves the API)
    """The work was asked to end early and did, with everything kept that was finished."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call would do, with every default filled in; no model is loaded for it.

    `settings` are the options as what JSON can say; of a loop they are those of each stage, by its name. `remarks` are
    what a person must know of how the data is read, a sentence each. Of `generate`, `estimate` has the requests and
    tokens: at least, expected and at most. Of `train`, `facts` has what was found out of model, template, data and
    hardware, and the number of steps.
    """

    settings: dict[str, Any]
    remarks: tuple[str, ...] = ()
    estimate: Estimate | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Call(ABC, Generic[Result]):
    """One call of a function of the API, its options checked."""

    @abstractmethod
    def plan(self) -> Plan:
        """Return what would be done; raises UsageError."""

    @abstractmethod
    def run(self) -> Result:
        """Do it and wait for its end."""

    async def run_async(self) -> Result:
        """Do it without blocking the event loop: in a thread, unless it has a better way."""
        return await asyncio.to_thread(self.run)


class AsynchronousCall(Call[Result]):
    """A call whose work is a coroutine."""

    def __init__(self, *, progress: bool) -> None:
        self._progress = progress

    @abstractmethod
    async def work(self, watch: Watch) -> Result:
        """Do the work; raises InterruptedWork when it ended early because somebody asked."""

    def run(self) -> Result:
        """Do it in a thread, and wait."""
        return run_watched(self.work, progress=self._progress)

    async def run_async(self) -> Result:
        """Do it on the running loop, where its task can be cancelled; raises what it raises."""
        with Showing(progress=self._progress) as showing:
            drawing = asyncio.create_task(_draw(showing))
            try:
                return await self.work(showing.watch)
            finally:
                drawing.cancel()


async def _draw(showing: Showing) -> None:
    while True:
        showing.draw()
        await asyncio.sleep(REFRESH_SECONDS)


def run_watched(work: Work[Result], *, progress: bool) -> Result:
    """Do the work in a thread and return what it returns; raises what it raises, or KeyboardInterrupt."""
    with Showing(progress=progress) as showing:
        worker = _Worker(work, showing)
        with _hearing(worker.interrupt):
            worker.start()
            try:
                while not worker.ended.wait(REFRESH_SECONDS):
                    showing.draw()
            finally:
                worker.end()
    try:
        return worker.done.result()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except InterruptedWork:
        raise KeyboardInterrupt("interrupted; the same call goes on from here") from None


class _Worker(Generic[Result]):
    """Work on a loop in a thread of its own; `ended` says when `done` holds what came of it."""

    def __init__(self, work: Work[Result], showing: Showing) -> None:
        self.done: Future[Result] = Future()
        self.ended = threading.Event()
        self._work = work
        self._showing = showing
        self._thread = threading.Thread(target=self._run, name="cai", daemon=True)
        # uvloop halves what a request to a server costs.
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._loop = self._runner.get_loop()
        self._task: asyncio.Task[Result] | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def interrupt(self) -> None:
        """Let the rows in flight finish; the second time stop at once. May be called wherever a signal is heard."""
        self._call(self._interrupt)

    def end(self) -> None:
        """Stop at once what has not ended, and wait for it."""
        if not self.ended.is_set():
            self._call(self._cancel)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._runner as runner:
                self.done.set_result(runner.run(self._noted()))
        except BaseException as error:
            self.done.set_exception(error)
        finally:
            self.ended.set()

    async def _noted(self) -> Result:
        self._task = asyncio.current_task()
        return await self._work(self._showing.watch)

    def _interrupt(self) -> None:
        stop = self._showing.watch.stop
        if stop.is_at_once:
            self._cancel()
            return
        stop.drain()
        self._showing.say("finishing the rows in flight; interrupt again to stop at once")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(function)


@contextmanager
def _hearing(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` for every Ctrl-C and SIGTERM in the block, where Python lets this thread hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(_number: int, _frame: FrameType | None) -> None:
        interrupt()

    before = {number: signal.signal(number, hear) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
