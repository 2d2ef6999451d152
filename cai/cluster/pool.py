"""Replicas kept open, and each row given to the one that has most room for it.

A replica is lost when its node or process is gone, or the engine in it. Its rows go to others and a new one is hired in
its place, so that a row outlives its replicas. Nothing here waits for a particular replica, draws lots or keeps rows:
the caller's coroutine waits for its row, and that is why a row made twice still arrives once. Ray is behind `Remote`.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from cai import __version__
from cai.cluster.replica import Carried, Opened, Outcome, Place
from cai.core.errors import CaiError, EngineError, EngineGoneError, ModelError, RequestError
from cai.core.records import Prompt, Provenance, Row, Usage
from cai.models.meter import UsageCounter
from cai.pipeline.pipeline import ROWS_PER_SLOT

LOSSES_A_ROW = 5
"""A row that lost so many replicas may be what kills them; it is owed."""

BARREN_HIRES = 3
"""So many replicas hired for one seat that were all lost before they finished a row: the next would be too."""

PLACING_SECONDS = 600.0
"""How long nobody may be at work while the cluster finds no room for a replica."""

CLOSING_SECONDS = 10.0
"""How long a replica has to release its models before it is killed."""


class LostError(Exception):
    """The replica did not answer because it is not there any more; never leaves this room."""


class Remote(Protocol):
    """A replica, hired but perhaps not yet placed, as the driver sees it. Every method may raise LostError."""

    async def place(self) -> Place:
        """Return once a node has taken it."""

    async def open(self) -> Opened | Carried:
        """Open the models."""

    async def make(self, prompt: Prompt, provenance: Provenance) -> Outcome:
        """Make a row."""

    async def close(self) -> None:
        """Release the models."""

    def kill(self) -> None:
        """End it, if it is still there; never raises."""


@dataclass(slots=True, eq=False)
class _Desk:
    """An open replica at work."""

    remote: Remote
    capacity: int
    in_flight: int = 0
    finished: int = 0
    cause: str = ""
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def lose(self, cause: str) -> None:
        """Give no more rows to it; the first cause is the one that is told."""
        self.cause = self.cause or cause
        self.lost.set()


class Pool:
    """`replicas` open replicas, as far as the cluster has room; opened by `open`, ended by `close`."""

    def __init__(
        self,
        hire: Callable[[], Remote],
        replicas: int,
        leave: Callable[[], Awaitable[None]],
        placing_seconds: float = PLACING_SECONDS,
    ) -> None:
        """`hire` asks the cluster for one more replica, `leave` lets go of the cluster when the pool is closed."""
        self._placing_seconds = placing_seconds
        self._hire = hire
        self._leave = leave
        self._replicas = replicas
        self._seats = replicas
        self._at_work = 0
        self._desks: list[_Desk] = []
        self._room = asyncio.Semaphore(0)
        """One for each row that the desks could take; some may stand for desks that were lost (see `_take`)."""
        self._keepers: list[asyncio.Task[None]] = []
        self._settled = asyncio.Event()
        self._first: Opened | None = None
        self._over: Exception | None = None

    async def open(self) -> None:
        """Hire all replicas and return when the first is open; raises what kept every one, or any first one, shut."""
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(self._replicas)]
        await self._settled.wait()
        if self._over is not None:
            raise self._over

    async def close(self) -> None:
        """End every replica and let go of the cluster."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._leave()

    @property
    def opened(self) -> Opened:
        """What every replica has open; known once `open` has returned."""
        assert self._first is not None, "a pool is opened before it is asked"  # noqa: S101
        return self._first

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self.opened.model

    @property
    def judge(self) -> str:
        """The name of the model that judges."""
        return self.opened.judge

    @property
    def concurrency(self) -> int:
        """How many requests all replicas together can usefully hold at once."""
        return self.opened.concurrency * self._replicas

    async def make(self, prompt: Prompt, provenance: Provenance, tally: UsageCounter) -> Row:
        """Have a row made, and count the tokens that replicas told of; raises what making it raised there.

        Raises RequestError, retryable, when replica after replica was lost over this row; EngineGoneError when none
        is left and none can be had.
        """
        for _ in range(LOSSES_A_ROW):
            desk = await self._take()
            try:
                outcome = await desk.remote.make(prompt, provenance)
                _count(outcome.usage, tally)
                if isinstance(outcome.result, Row):
                    desk.finished += 1
                    return outcome.result
                raise outcome.result.unpack()
            except (LostError, EngineGoneError) as error:
                desk.lose(str(error))
            finally:
                self._give_back(desk)
        raise RequestError(f"{LOSSES_A_ROW} replicas in a row were lost while they made this row", retryable=True)

    async def _take(self) -> _Desk:
        """Return the desk with most room and take a place at it; waits for one while all are full."""
        while True:
            await self._room.acquire()
            if self._over is not None:
                self._room.release()  # and so on to whoever waits next
                raise self._over
            free = [desk for desk in self._desks if desk.in_flight < desk.capacity and not desk.lost.is_set()]
            if free:
                desk = min(free, key=_load)
                desk.in_flight += 1
                return desk
            # The room was a lost desk's: it is not handed on.

    def _give_back(self, desk: _Desk) -> None:
        desk.in_flight -= 1
        if not desk.lost.is_set():
            self._room.release()

    async def _keep(self) -> None:
        """Keep one seat taken until the pool is closed, or until nobody can be had for it."""
        barren, cause, sat = 0, "", False
        try:
            while barren < BARREN_HIRES:
                remote = self._hire()
                barren += 1
                try:
                    desk = await self._seat(remote)
                    barren, cause, sat = 0 if desk.finished else barren, desk.cause, True
                except LostError as error:
                    cause = str(error)
                finally:
                    remote.kill()
            raise EngineGoneError(f"{BARREN_HIRES} replicas in a row were lost before they finished a row: {cause}")
        except Exception as error:  # even one that nobody foresaw must end the run, not this task alone
            self._leave_empty(error, fatal=not isinstance(error, EngineError if not sat else CaiError))

    async def _seat(self, remote: Remote) -> _Desk:
        """Give a replica its desk once its models are open, and return the desk when the replica is lost."""
        place = await self._placed(remote)
        self._at_work += 1
        try:
            opened = await self._opened(remote, place)
            desk = _Desk(remote, math.ceil(opened.concurrency * ROWS_PER_SLOT))
            self._desks.append(desk)
            for _ in range(desk.capacity):
                self._room.release()
            self._settled.set()
            try:
                await desk.lost.wait()
            finally:
                self._desks.remove(desk)
                await _dismiss(remote)
        finally:
            self._at_work -= 1
        return desk

    async def _placed(self, remote: Remote) -> Place:
        """Return where the cluster put a replica; waits for room as long as others are at work."""
        placing = asyncio.ensure_future(remote.place())
        try:
            while not (await asyncio.wait([placing], timeout=self._placing_seconds))[0]:
                if not self._at_work:
                    raise EngineGoneError(
                        f"the cluster had no room for a replica for {self._placing_seconds:,.0f} s, and none is at work"
                    )
            return placing.result()
        finally:
            placing.cancel()

    async def _opened(self, remote: Remote, place: Place) -> Opened:
        """Open a replica's models; raises ModelError when they cannot be, or are others than the first replica's."""
        if place.version != __version__:
            raise ModelError(f"node {place.node} has cai {place.version}, this one {__version__}; install the same")
        opened = await remote.open()
        if isinstance(opened, Carried):
            raise ModelError(f"node {place.node}: {opened.unpack()}")
        first = self._first = self._first or opened
        if (opened.model, opened.judge) != (first.model, first.judge):
            raise ModelError(
                f"node {place.node} opened {opened.model} (judge {opened.judge}) where another opened {first.model} "
                f"(judge {first.judge}); a run has one model, so put the same files on every node"
            )
        return opened

    def _leave_empty(self, error: Exception, *, fatal: bool) -> None:
        """Give a seat up; `fatal` errors, and the last seat's whatever it is, end the run."""
        self._seats -= 1
        if self._over is None and (fatal or not self._seats):
            self._over = error if fatal or self._first is None else EngineGoneError(f"no replica is left: {error}")
            self._settled.set()
            self._room.release()


async def _dismiss(remote: Remote) -> None:
    """Let a replica release its models, if it still can."""
    with contextlib.suppress(LostError, TimeoutError):
        await asyncio.wait_for(remote.close(), CLOSING_SECONDS)


def _count(usage: Usage, tally: UsageCounter) -> None:
    tally.requests += usage.requests
    tally.prompt_tokens += usage.prompt_tokens
    tally.cached_tokens += usage.cached_tokens
    tally.completion_tokens += usage.completion_tokens


def _load(desk: _Desk) -> float:
    return desk.in_flight / desk.capacity
