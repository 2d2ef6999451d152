"""Depth first: the rows that began first never wait for a place in an engine that is full.

A row asks for several things side by side (its samples, its verdicts), so that more requests wait than an engine holds.
Were all answered in the order in which they come, all rows would advance together, and the first be done near the end
of a short run. Were the oldest row always answered first, the youngest would be left for the end, alone in an engine
that is nearly empty. So a few of the oldest rows go first, and all others advance together.
"""

import asyncio
import math
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Sequence

from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request

_SPARE = 1.125
"""Requests given to an engine for each that it holds: a few spare, so that none of its places waits for the next."""
_FIRST_SHARE = 16
"""One row of so many places goes first: with two samples in each, an eighth of the engine is theirs."""


class Places:
    """The places of an engine that holds `concurrency` requests at once; used on one event loop."""

    def __init__(self, concurrency: int) -> None:
        self._free = math.ceil(concurrency * _SPARE)
        self._first = math.ceil(concurrency / _FIRST_SHARE)
        self._rows: list[int] = []  # those that are being made, the oldest first
        self._waiting: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()

    def begin(self, row: int) -> None:
        """Have a row, which came after all with lower numbers, count as one that is being made, until `end`."""
        insort(self._rows, row)

    def end(self, row: int) -> None:
        """Note that a row was made."""
        self._rows.remove(row)

    async def take(self, row: int) -> None:
        """Wait for a place."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(row, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a place at the same moment
                self.give()
            raise

    def give(self) -> None:
        """Give a place back, to whoever is next."""
        while self._waiting:
            for row in self._rows[: self._first]:
                if row in self._waiting:
                    break
            else:
                row = next(iter(self._waiting))
            turns = self._waiting[row]
            turn = turns.popleft()
            del self._waiting[row]
            if turns:
                self._waiting[row] = turns  # behind the others: they came before its next request
            if not turn.done():  # who was cancelled waits no more
                turn.set_result(None)
                return
        self._free += 1


class Slots:
    """So many requests at once, the others in the order in which they come; used on one event loop.

    As asyncio's semaphore, which goes through those who wait with every request: hundreds of them are most of its cost.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a slot."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a slot at the same moment
                self._give()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give the slot back."""
        self._give()

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # who was cancelled waits no more
                turn.set_result(None)
                return
        self._free += 1


class EngineInOrder(ForwardingEngine):
    """An engine as one row sees it, which waits for a place with every request."""

    __slots__ = ("_places", "_row")

    def __init__(self, engine: Engine, places: Places, row: int) -> None:
        super().__init__(engine)
        self._places = places
        self._row = row

    def around(self, engine: Engine) -> Engine:
        """Have another engine wait for the same places."""
        return EngineInOrder(engine, self._places, self._row)

    async def complete(self, request: Request) -> Completion:
        """Complete in order."""
        places = self._places
        await places.take(self._row)
        try:
            return await self._engine.complete(request)
        finally:
            places.give()

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Choose in order."""
        places = self._places
        await places.take(self._row)
        try:
            return await self._engine.choose(request, options)
        finally:
            places.give()

    async def close(self) -> None:
        """Close the other engine."""
        await self._engine.close()
