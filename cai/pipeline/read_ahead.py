"""The input of a pipeline, read in a thread of its own, a bounded number of items before they are asked for.

Reading may take as long as it likes (a hub's stream, a slow disk): the event loop goes on with the rows in flight. The
items come in the order in which they are read. Handing one over costs the reader an append; it wakes the loop only
where somebody waits, and is woken when the items that are left are fewer than wanted.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from cai.core.records import Failure, Prompt, Row

Item = TypeVar("Item", Prompt, Row)


class ReadAhead(Generic[Item]):
    """Items, of which the thread keeps `count` ready, at most an eighth more; made and used on one event loop.

    `ending` is set when there is nothing more to read. What made reading fail ends the items too, and is in `error`.
    """

    def __init__(self, items: Iterable[Item | Failure], count: int) -> None:
        """Start the thread, which ends with the items or with `close`."""
        self.ending = asyncio.Event()
        self.error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._least, self._most = count, count + max(1, count // 8)
        self._read: deque[Item | Failure] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_awaited = False
        """Whether somebody waits for an item, so that the thread has to say that there is one."""
        self._is_called = False
        """Whether the loop was told and has not looked yet."""
        self._has_room = threading.Event()
        self._is_closed = False
        threading.Thread(target=self._work, args=(items,), name="cai-reader", daemon=True).start()

    async def take(self) -> Item | Failure | None:
        """Return the next item as soon as it is read; None when there is none any more."""
        while self._is_closed or not self._read:
            if self.ending.is_set():
                return None
            self._is_awaited = True
            if self._read:  # between the two looks, when the thread told nobody yet
                break
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter
        item = self._read.popleft()
        if len(self._read) <= self._least and not self._has_room.is_set():
            self._has_room.set()
        return item

    def close(self) -> None:
        """Give out no more items, and let the thread end after the item that it is reading; it is not waited for."""
        self._is_closed = True
        self._has_room.set()
        self._read.clear()
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        self.error = self.error or error
        self.ending.set()
        while self._waiting:
            _wake(self._waiting.popleft())

    def _look(self) -> None:
        """Wake as many as there are items for, who waited longest first."""
        self._is_called = False
        for _ in range(min(len(self._read), len(self._waiting))):
            _wake(self._waiting.popleft())
        self._is_awaited = bool(self._waiting)

    def _work(self, items: Iterable[Item | Failure]) -> None:
        """Read until the end; the thread's own part."""
        error: Exception | None = None
        try:
            iterator = iter(items)
            try:
                self._read_all(iterator)
            finally:
                if isinstance(iterator, Generator):  # its files are closed here, and not by whoever drops it last
                    iterator.close()
        except Exception as caught:
            error = caught
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end, error)

    def _read_all(self, items: Iterator[Item | Failure]) -> None:
        for item in items:
            if self._is_closed:
                return
            self._read.append(item)
            if self._is_awaited and not self._is_called:
                self._is_called = True
                self._loop.call_soon_threadsafe(self._look)
            if len(self._read) >= self._most:
                self._has_room.clear()
                if len(self._read) > self._least and not self._is_closed:  # or nobody would say that there is room
                    self._has_room.wait()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # who was cancelled waits no more
        waiter.set_result(None)
