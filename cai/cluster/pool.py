"""Replicas kept open, and each row given to the one that has most room for it.

A replica is lost when its node or process is gone, or the engine in it. Its rows go to others and a new one is started
in its place, so that a row outlives its replicas. Nothing here waits for a particular replica or keeps rows: the
caller's coroutine waits for its row, and that is why a row made twice still arrives once. Ray is behind a handle.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cai import __version__
from cai.cluster.replica import Answer, PackedError, Placement, ReplicaInfo, Role, RowResult
from cai.core.errors import CaiError, EngineError, EngineGoneError, ModelError, RequestError
from cai.core.records import Prompt, Provenance, Row
from cai.models.base import Choice, Completion, Engine, Request
from cai.models.meter import UsageCounter
from cai.pipeline.pipeline import ROWS_PER_SLOT

LOSSES_A_ROW = 5
"""A row that lost so many replicas may be what kills them; it is owed."""

FAILED_STARTS = 3
"""So many replicas started one after the other that were all lost before they finished a row: the next would be too."""

PLACING_SECONDS = 600.0
"""How long no replica may be placed while the cluster finds no room for a replica."""

CLOSING_SECONDS = 10.0
"""How long a replica has to release its models before it is killed."""


_Result = TypeVar("_Result")


class LostError(Exception):
    """The replica did not answer because it is not there any more; caught in this module."""


class ReplicaHandle(Protocol):
    """A replica, started but perhaps not yet placed, as the driver sees it. Every method may raise LostError."""

    async def place(self) -> Placement:
        """Return once a node has taken it."""

    async def open(self) -> ReplicaInfo | PackedError:
        """Open the models."""

    async def make(self, item: Prompt | Row, provenance: Provenance) -> RowResult:
        """Make a row."""

    async def answer(
        self, role: Role, request: Request, options: Sequence[str] | None, juror: int | None = None
    ) -> Answer | PackedError:
        """Complete a request, or choose among options; with a number, that juror of a jury does."""

    async def close(self) -> None:
        """Release the models."""

    def kill(self) -> None:
        """End it, if it is still there; never raises."""


@dataclass(slots=True, eq=False)
class _OpenReplica:
    """A replica whose models are open, and its rows in flight."""

    handle: ReplicaHandle
    capacity: int
    in_flight: int = 0
    finished: int = 0
    cause: str = ""
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def has_room(self) -> bool:
        """Tell whether it can be given one more row."""
        return self.in_flight < self.capacity and not self.lost.is_set()

    def lose(self, cause: str) -> None:
        """Give no more rows to it; the first cause is the one that is told."""
        self.cause = self.cause or cause
        self.lost.set()


class Pool:
    """`replicas` open replicas, as far as the cluster has room; opened by `open`, ended by `close`."""

    def __init__(
        self,
        start: Callable[[], ReplicaHandle],
        replicas: int,
        disconnect: Callable[[], Awaitable[None]],
        placing_seconds: float = PLACING_SECONDS,
    ) -> None:
        """`start` asks the cluster for one more replica, `disconnect` lets go of it when the pool is closed."""
        self._placing_seconds = placing_seconds
        self._start = start
        self._disconnect = disconnect
        self._replicas = replicas
        self._supervised = replicas
        self._placed_replicas = 0
        self._open: list[_OpenReplica] = []
        self._room = asyncio.Semaphore(0)
        """One for each row that the replicas could take; some may stand for replicas that were lost (see `_take`)."""
        self._supervisors: list[asyncio.Task[None]] = []
        self._settled = asyncio.Event()
        self._first: ReplicaInfo | None = None
        self._over: Exception | None = None

    async def open(self) -> None:
        """Start all replicas and return when the first is open; raises what kept every one, or any first one, shut."""
        self._supervisors = [asyncio.create_task(self._supervise()) for _ in range(self._replicas)]
        await self._settled.wait()
        if self._over is not None:
            raise self._over

    async def close(self) -> None:
        """End every replica and let go of the cluster."""
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        await self._disconnect()

    @property
    def opened(self) -> ReplicaInfo:
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

    async def make(self, item: Prompt | Row, /, provenance: Provenance, tally: UsageCounter) -> Row:
        """Have a row made, and count the tokens that replicas told of; raises what making it raised there.

        Raises RequestError, retryable, when replica after replica was lost over this row; EngineGoneError when none
        is left and none can be had.
        """

        async def make(replica: _OpenReplica) -> Row:
            outcome = await replica.handle.make(item, provenance)
            tally.add(outcome.usage)
            if isinstance(outcome.result, PackedError):
                raise outcome.result.unpack()
            replica.finished += 1
            return outcome.result

        return await self._given(make)

    def engine(self, role: Role) -> Engine:
        """Return an engine that is asked in a role, by whichever replica has most room."""
        return _PooledEngine(self, role)

    async def answer(
        self, role: Role, request: Request, options: Sequence[str] | None, juror: int | None = None
    ) -> Answer:
        """Have a request completed, or options chosen among, by one juror if it is named; raises as `make` does."""

        async def ask(replica: _OpenReplica) -> Answer:
            answer = await replica.handle.answer(role, request, options, juror)
            if isinstance(answer, PackedError):
                raise answer.unpack()
            return answer

        return await self._given(ask)

    async def _given(self, work: Callable[[_OpenReplica], Awaitable[_Result]]) -> _Result:
        """Give work to a replica, and to another where that one is lost over it."""
        for _ in range(LOSSES_A_ROW):
            replica = await self._take()
            try:
                return await work(replica)
            except (LostError, EngineGoneError) as error:
                replica.lose(str(error))
            finally:
                self._give_back(replica)
        raise RequestError(f"{LOSSES_A_ROW} replicas in a row were lost while they made this row", retryable=True)

    async def _take(self) -> _OpenReplica:
        """Return the replica with most room, with a row more in flight; waits while all are full."""
        while True:
            await self._room.acquire()
            if self._over is not None:
                self._room.release()  # and so on to whoever waits next
                raise self._over
            free = [
                replica for replica in self._open if replica.in_flight < replica.capacity and not replica.lost.is_set()
            ]
            if free:
                replica = min(free, key=_load)
                replica.in_flight += 1
                return replica
            # The room was a lost replica's: it is not handed on.

    def _give_back(self, replica: _OpenReplica) -> None:
        replica.in_flight -= 1
        if not replica.lost.is_set():
            self._room.release()

    async def _supervise(self) -> None:
        """Keep one replica open, a new one after each loss, until the pool is closed or none can be had."""
        failed_starts, cause, was_open = 0, "", False
        try:
            while failed_starts < FAILED_STARTS:
                handle = self._start()
                failed_starts += 1
                try:
                    replica = await self._serve(handle)
                    failed_starts, cause, was_open = 0 if replica.finished else failed_starts, replica.cause, True
                except LostError as error:
                    cause = str(error)
                finally:
                    handle.kill()
            raise EngineGoneError(f"{FAILED_STARTS} replicas in a row were lost before they finished a row: {cause}")
        except Exception as error:  # even one that nobody foresaw must end the run, not this task alone
            self._give_up(error, fatal=not isinstance(error, EngineError if not was_open else CaiError))

    async def _serve(self, handle: ReplicaHandle) -> _OpenReplica:
        """Give rows to a replica from when its models are open, and return it when it is lost."""
        place = await self._placed(handle)
        self._placed_replicas += 1
        try:
            opened = await self._opened(handle, place)
            replica = _OpenReplica(handle, math.ceil(opened.concurrency * ROWS_PER_SLOT))
            self._open.append(replica)
            for _ in range(replica.capacity):
                self._room.release()
            self._settled.set()
            try:
                await replica.lost.wait()
            finally:
                self._open.remove(replica)
                await _release(handle)
        finally:
            self._placed_replicas -= 1
        return replica

    async def _placed(self, handle: ReplicaHandle) -> Placement:
        """Return where the cluster put a replica; waits for room as long as others are placed."""
        placing = asyncio.ensure_future(handle.place())
        try:
            while not (await asyncio.wait([placing], timeout=self._placing_seconds))[0]:
                if not self._placed_replicas:
                    raise EngineGoneError(
                        f"the cluster had no room for a replica for {self._placing_seconds:,.0f} s, and none is at work"
                    )
            return placing.result()
        finally:
            placing.cancel()

    async def _opened(self, handle: ReplicaHandle, place: Placement) -> ReplicaInfo:
        """Open a replica's models; raises ModelError when they cannot be, or are others than the first replica's."""
        if place.version != __version__:
            raise ModelError(f"node {place.node} has cai {place.version}, this one {__version__}; install the same")
        opened = await handle.open()
        if isinstance(opened, PackedError):
            raise ModelError(f"node {place.node}: {opened.unpack()}")
        first = self._first = self._first or opened
        if (opened.model, opened.judge) != (first.model, first.judge):
            raise ModelError(
                f"node {place.node} opened {opened.model} (judge {opened.judge}) where another opened {first.model} "
                f"(judge {first.judge}); a run has one model, so put the same files on every node"
            )
        return opened

    def _give_up(self, error: Exception, *, fatal: bool) -> None:
        """Go on with a replica less; `fatal` errors, and the last replica's whatever it is, end the run."""
        self._supervised -= 1
        if self._over is None and (fatal or not self._supervised):
            self._over = error if fatal or self._first is None else EngineGoneError(f"no replica is left: {error}")
            self._settled.set()
            self._room.release()


class _PooledEngine:
    """The judge, one juror of it, or the model that answers, of every replica."""

    context_length: int | None = None  # each replica refuses what is too long for its own

    def __init__(self, pool: Pool, role: Role, juror: int | None = None) -> None:
        self._pool = pool
        self._role = role
        self._juror = juror

    @property
    def jurors(self) -> tuple[Engine, ...]:
        """The jurors, each of every replica, where the judge is a jury: see `cai.models.base.jurors_of`."""
        if self._role != "judge" or self._juror is not None:
            return ()
        return tuple(_PooledEngine(self._pool, "judge", place) for place in range(len(self._pool.opened.jurors)))

    @property
    def name(self) -> str:
        if self._juror is not None:
            return self._pool.opened.jurors[self._juror]
        return self._pool.judge if self._role == "judge" else self._pool.model

    @property
    def concurrency(self) -> int:
        return self._pool.concurrency

    async def complete(self, request: Request) -> Completion:
        answer = await self._pool.answer(self._role, request, None, self._juror)
        assert isinstance(answer, Completion), "what completes gives a completion"  # noqa: S101
        return answer

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        answer = await self._pool.answer(self._role, request, options, self._juror)
        assert isinstance(answer, Choice), "what chooses gives a choice"  # noqa: S101
        return answer

    async def close(self) -> None:
        """Leave the replicas open: the pool closes them."""


async def _release(handle: ReplicaHandle) -> None:
    """Let a replica release its models, if it still can."""
    with contextlib.suppress(LostError, TimeoutError):
        # Not wait_for: until Python 3.12 it may swallow a cancellation, and the pool's closing would wait for ever.
        async with asyncio.timeout(CLOSING_SECONDS):
            await handle.close()


def _load(replica: _OpenReplica) -> float:
    return replica.in_flight / replica.capacity
