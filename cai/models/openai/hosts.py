"""Which server gets a request and when, and when nobody can be asked any more.

Requests of one row begin with the same messages, so they go to one server, where their prefix is cached: the server is
drawn by rendezvous hashing of the conversation's first turns. A server that cannot be reached is left out for a while,
one that is much busier than the least busy passes the request on to that one, and one that refuses is asked more slowly
(see `pacing`). A request that no server may be sent now waits here for its turn.
"""

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cai.core.errors import EngineGoneError
from cai.core.records import Message
from cai.models.openai.attempts import BusyError
from cai.models.openai.pacing import Pace

_SPILL_FACTOR, _SPILL_MARGIN = 1.5, 8  # requests in flight beyond the least busy server's before another takes over
_FIRST_ABSENCE, _LONGEST_ABSENCE = 0.25, 10.0  # seconds an unreachable server is left out, doubling with each failure


@dataclass(slots=True)
class Host:
    """One server; `name` carries no credentials."""

    name: str
    key: bytes
    pace: Pace
    in_flight: int = 0
    failing_since: float | None = None
    failures: int = 0
    left_out_until: float = 0.0


class Hosts:
    """The servers of one engine, whose state all its requests share. Times are the running loop's.

    `patience` is how many seconds every server must have failed to be reached, without one answer, before
    EngineGoneError is raised to every request; `busy_patience` how many seconds every server must have refused all that
    it was sent before a request fails with BusyError. `most` is how many requests a server is ever sent at once.
    """

    def __init__(
        self,
        names: Sequence[str],
        patience: float,
        *,
        most: int = 64,
        busy_patience: float = 600.0,
    ) -> None:
        self.all = tuple(
            Host(name, hashlib.blake2b(name.encode(), digest_size=8).digest(), Pace(most, busy_patience))
            for name in names
        )
        self._patience = patience
        self._gone: str | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer_at = -math.inf

    def affinity(self, messages: Sequence[Message]) -> bytes:
        """Return what all conversations with the same beginning, up to its first user turn, have in common."""
        if len(self.all) == 1:
            return b""
        state = hashlib.blake2b(digest_size=8)
        for message in messages:
            state.update(message["content"].encode())
            if message["role"] == "user":
                break
        return state.digest()

    async def take(self, affinity: bytes, avoid: Host | None = None) -> Host:
        """Return the server to ask now, once there is one; it is given back with `release`.

        Raises EngineGoneError once nobody can be asked any more, BusyError while every server refuses everything.
        """
        host = None if self._waiting else self.pick(affinity, asyncio.get_running_loop().time(), avoid)
        again = False
        while host is None:
            await self._turn(again)
            again = True
            host = self.pick(affinity, asyncio.get_running_loop().time(), avoid)
        host.in_flight += 1
        if self._waiting:
            self._wake()
        return host

    def release(self, host: Host) -> None:
        """Give a server back."""
        host.in_flight -= 1
        if self._waiting:
            self._wake()

    def pick(self, affinity: bytes, now: float, avoid: Host | None = None) -> Host | None:
        """Return the server to ask, None while none may be sent a request; another than `avoid` if there is one.

        Raises EngineGoneError and BusyError as `take` does.
        """
        if self._gone is not None:
            raise EngineGoneError(self._gone)
        free = [host for host in self.all if host.pace.allows(host.in_flight, now)]
        if not free:
            if all(host.pace.is_hopeless(now) for host in self.all):
                raise self._busy_error()
            return None
        if len(free) == 1:
            return free[0]
        reached = [host for host in free if host.left_out_until <= now] or free
        candidates = [host for host in reached if host is not avoid] or reached
        wanted = max(candidates, key=lambda host: self._draw(affinity, host))
        least_busy = min(candidates, key=lambda host: host.in_flight)
        overloaded = wanted.in_flight > least_busy.in_flight * _SPILL_FACTOR + _SPILL_MARGIN
        return least_busy if overloaded else wanted

    @staticmethod
    def _draw(affinity: bytes, host: Host) -> bytes:
        # Not Python's hash of the two: it keeps the order of its parts too well, and one server would get nearly all.
        return hashlib.blake2b(affinity, digest_size=8, key=host.key).digest()

    def reached(self, host: Host) -> None:
        """Note that `host` answered, whatever it said."""
        if host.failing_since is not None:
            host.failing_since, host.failures, host.left_out_until = None, 0, 0.0

    def unreachable(self, host: Host, now: float) -> bool:
        """Note that `host` could not be reached; return whether another server may be asked at once.

        Raises EngineGoneError when no server has been reachable for longer than the patience.
        """
        if host.failing_since is None:
            host.failing_since = now
        if host.left_out_until <= now:  # one failure counts, not one for every request that was in flight
            host.left_out_until = now + min(_LONGEST_ABSENCE, _FIRST_ABSENCE * 2**host.failures)
            host.failures += 1
        since = [other.failing_since for other in self.all]
        if all(start is not None and now - start >= self._patience for start in since):
            names = ", ".join(other.name for other in self.all)
            self.give_up(f"no connection to {names} for {self._patience:g} s: start the server, then resume")
        if self._gone is not None:
            raise EngineGoneError(self._gone)
        return any(other.left_out_until <= now for other in self.all)

    def refused(self, host: Host, pauses: int, error: BusyError) -> bool:
        """Note that `host` is too busy; return whether every server has been so for longer than the patience."""
        now = asyncio.get_running_loop().time()
        host.pace.refuse(host.in_flight, pauses, now, error.wait, str(error))
        hopeless = all(other.pace.is_hopeless(now) for other in self.all)
        if hopeless:
            self._wake_all()
        return hopeless

    @property
    def all_failing(self) -> bool:
        """Whether no server has answered since it was last found unreachable."""
        return all(host.failing_since is not None for host in self.all)

    def give_up(self, why: str) -> None:
        """Let every request fail with EngineGoneError from now on, also those that wait."""
        self._gone = why
        self._wake_all()

    async def _turn(self, again: bool) -> None:
        """Wait until a server may be sent a request; who was woken in vain goes to the head of the queue."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if again:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()  # it was this one's turn, and is now another's
            raise

    def _wake(self) -> None:
        """Wake the request that waits longest, if a server is free, or see to it that this is done in time."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._gone is not None or any(host.pace.allows(host.in_flight, now) for host in self.all):
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        pauses = [host.pace.paused_until for host in self.all if host.pace.paused_until > now]
        if self._waiting and pauses and not now < self._timer_at <= min(pauses):
            self._timer_at = min(pauses)
            loop.call_at(self._timer_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer_at = -math.inf  # also where the clock is a little early, and it must be set again
        self._wake()

    def _wake_all(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def notice(self, now: float, least: float) -> str:
        """Return for how long all servers pause and what one said; empty where that is less than `least` seconds."""
        host = min(self.all, key=lambda one: one.pace.paused_until)
        pause = host.pace.paused_until - now
        return f"waiting {pause:.0f} s: {host.pace.said}" if pause >= least else ""

    def _busy_error(self) -> BusyError:
        said = "; ".join(dict.fromkeys(host.pace.said for host in self.all))
        return BusyError(f"{said}, and nothing else for {self.all[0].pace.patience:g} s")
