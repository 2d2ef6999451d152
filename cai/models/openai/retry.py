"""How long to wait before asking a server again. It knows nothing of who asks."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_CAP = 8.0


def backoff(failures: int, base: float, cap: float = _CAP) -> float:
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
