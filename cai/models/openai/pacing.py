"""How fast one server is asked: it may take as much as it can, until it says that this was too much.

Each refusal (429, 503 and the like) halves how many requests may be on their way, and every answer gives some back: the
whole is regained in 16 rounds at most. After a refusal nothing is sent for a while, which doubles with each refusal
and shrinks with each answer, and lasts as long as the server asks for. Requests that were already on their way when a
pause began say nothing new. Times are seconds of one monotonic clock.
"""

import math
import random
from dataclasses import dataclass

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 15.0  # seconds; a limit by the minute is felt out with about ten refusals
_ROUNDS = 16
_HOPELESS_AFTER = 3  # waits beyond all patience, without an answer between them, until they are believed


@dataclass(slots=True)
class Pace:
    """How one server copes.

    `most` is how many requests it is ever sent at once, `patience` how many seconds it may refuse everything.
    """

    most: int
    patience: float
    limit: float = 0.0
    pauses: int = 0
    """How many pauses there were; a request notes it when it is sent."""
    paused_until: float = 0.0
    answered: int = 0
    busy_since: float | None = None
    said: str = ""
    """What the server said when it last refused."""
    _level: int = 0
    _beyond: int = 0

    def __post_init__(self) -> None:
        self.limit = self.limit or float(self.most)

    def allows(self, in_flight: int, now: float) -> bool:
        """Return whether one request more may be sent now."""
        return in_flight + 1 <= self.limit and self.paused_until <= now

    def is_hopeless(self, now: float) -> bool:
        """Return whether the server has refused everything for longer than the patience."""
        return self.busy_since is not None and now - self.busy_since >= self.patience

    def refuse(self, in_flight: int, pauses: int, now: float, wait: float | None, said: str) -> None:
        """Note that a request sent after so many `pauses` was refused; `wait` is what the server asked for."""
        self.said = said
        if self.busy_since is None:
            self.busy_since = now
        if pauses == self.pauses:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._level) * random.uniform(0.75, 1.0)
            self.paused_until = max(self.paused_until, now + pause)
            self.limit = max(1.0, min(self.limit, in_flight) / 2)
            self.pauses += 1
            self._level = min(self._level + 1, 32)
            self._beyond += wait is not None and wait > self.patience
        if self._beyond >= _HOPELESS_AFTER:
            self.busy_since = -math.inf  # a quota by the day: waiting would only hide it
        elif wait is not None and wait <= self.patience:
            self.paused_until = max(self.paused_until, now + wait)

    def answer(self, pauses: int) -> None:
        """Note that a request was answered which was sent after so many `pauses`."""
        self.answered += 1
        self.busy_since = None
        self._beyond = 0
        if pauses == self.pauses:
            self._level = max(0, self._level - 1)
            self.limit = min(float(self.most), self.limit + max(1.0, self.most / _ROUNDS) / self.limit)
