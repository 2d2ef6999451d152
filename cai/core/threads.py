"""Blocking work beside an event loop: files, URLs, hub streams and tokenizers, which would stall all requests on it.

`asyncio.to_thread` is not enough where a server that hangs is waited for: its threads are waited for when the loop is
closed, and again when the process ends. These are left behind at either.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from cai.core.errors import InterruptError

Result = TypeVar("Result")
Item = TypeVar("Item")

_ITEMS_AHEAD = 256


def in_thread(work: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run `work` in a thread of its own and return the future of what it returns or raises.

    Who cancels the future leaves the thread behind: the work goes on, and what comes of it is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        deliver: Callable[[], None]
        try:
            result = work()
        except BaseException as error:  # whatever it is, it is raised where the work is waited for
            deliver = partial(_deliver, future, future.set_exception, error)
        else:
            deliver = partial(_deliver, future, future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            loop.call_soon_threadsafe(deliver)

    threading.Thread(target=run, name="cai-blocking", daemon=True).start()
    return future


def _deliver(future: asyncio.Future[Any], deliver: Callable[[Any], None], outcome: Any) -> None:
    if not future.done():
        deliver(outcome)


async def finished(future: asyncio.Future[Result]) -> Result:
    """Wait for work that must not be left behind: a cancelled task waits too, and is cancelled afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and future.exception() is None:
        raise cancelled
    return future.result()


class LeavableItems(Generic[Item]):
    """Items, none of which is None, that a thread waits for, and that another may have it wait for no longer.

    What `read` returns may stall at any item (a hub's stream, a network's disk): it is read in a thread of its own,
    which is left behind then.
    """

    def __init__(self, read: Callable[[], Iterable[Item]], said: str) -> None:
        self._read = read
        self._said = said
        self._is_left = False
        self._error: Exception | None = None
        self._queue: queue.Queue[Item | None] = queue.Queue(_ITEMS_AHEAD)

    def items(self) -> Iterator[Item]:
        """Yield the items; raises what reading raises, and InterruptError with the sentence `said` once left."""
        threading.Thread(target=self._work, name="cai-reader", daemon=True).start()
        while (item := self._queue.get()) is not None and not self._is_left:
            yield item
        if self._is_left:
            raise InterruptError(self._said)
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """Let whoever waits for an item wait no longer."""
        self._is_left = True
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        with suppress(queue.Full):  # then there is an item, and nobody waits
            self._queue.put_nowait(None)

    def _work(self) -> None:
        try:
            for item in self._read():
                if self._is_left:
                    return
                self._queue.put(item)
        except Exception as error:
            self._error = error
        finally:
            self._queue.put(None)
