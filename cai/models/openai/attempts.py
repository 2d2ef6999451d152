"""What one attempt at a request can end with instead of an answer, how often a request is asked, and after which waits.

An attempt that gave nothing is no failure yet: connections break, gateways misread, and the next answer may be good. A
request is asked `attempts` times in all. What a server refuses (a status of 400, a choice without log-probabilities) is
believed at the second time while it never gave such an answer to any request, for then it will never. An answer without
text is believed at the third: it may be the model's, and under the same seed that says nothing again; see `asking`.

A server that is busy is waited for by time and not by attempts: see `pacing`.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cai.core.errors import RequestError
from cai.models.asking import NO_TEXT

BELIEVED = 2
"""Attempts after which a refusal is believed of a server that never gave such an answer."""

SILENCES = 3
"""Attempts after which an answer without text is believed."""

TIMEOUTS = 2.5
"""A request that timed out is given up once it took so many time limits, and not before a minute of them."""

BUSY = 20
"""A request that is refused so often as busy, while others of its kind are answered, is too large for the server."""

_LONGEST_WAIT = 8.0  # seconds


class AttemptError(RequestError):
    """An attempt gave no answer, and another may.

    `refused` says that the server understood and said no. `kept` is an answer that is taken if no better one comes.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        retryable: bool = True,
        raw: str = "",
        refused: bool = False,
        kept: Any = None,
    ) -> None:
        super().__init__(message, retryable=retryable, kind=kind, raw=raw)
        self.refused = refused
        self.kept = kept


class BusyError(AttemptError):
    """The server has too much to do; `wait` is how many seconds it asked for, if it did."""

    def __init__(self, message: str, *, raw: str = "", wait: float | None = None) -> None:
        super().__init__(message, kind="rate limit", raw=raw)
        self.wait = wait


@dataclass(slots=True)
class AttemptHistory:
    """How a request that was not answered at first has fared; `timeout` is how many seconds an attempt may take."""

    attempts: int
    timeout: float
    failures: int = 0
    kept: Any = None
    _timeouts: int = 0
    _silences: int = 0
    _refusals: int = 0
    _answered: int = 0
    _busy_since: float | None = None

    def is_over(self, error: AttemptError, *, given: bool) -> bool:
        """Count an attempt that failed; return whether the request has been asked often enough.

        `given` says whether the server ever answered a request of this sort.
        """
        self.failures += 1
        self.kept = error.kept if error.kept is not None else self.kept
        if error.kind == "timeout":
            self._timeouts += 1
            if self._timeouts * self.timeout >= max(60.0, TIMEOUTS * self.timeout):
                return True
        self._silences += error.kind == NO_TEXT
        if self._silences >= SILENCES:
            return True
        most = self.attempts if given or not error.refused else min(BELIEVED, self.attempts)
        return self.failures >= most

    def is_too_large(self, answered: int, now: float, patience: float) -> bool:
        """Count a refusal as busy; return whether the server is busy for this request alone.

        `answered` is how many requests the server has answered so far.
        """
        if self._busy_since is None:
            self._busy_since = now
        if answered > self._answered:
            self._answered = answered
            self._refusals += 1
        return self._refusals > BUSY and now - self._busy_since >= patience


def backoff(failures: int, base: float, cap: float = _LONGEST_WAIT) -> float:
    """Return seconds to wait after the `failures`-th failure (from 1): exponential, with full jitter."""
    return random.uniform(0.0, min(cap, base * 2 ** (failures - 1)))


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds a Retry-After header asks for (a number or an HTTP date, RFC 9110 section 10.2.3).

    None when there is no header or it is neither, in or beyond the calendar.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # a date that ends in -0000
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):  # no date, or one beyond the calendar
        return None
