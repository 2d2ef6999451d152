"""Shares of a set as measures find them: with the interval of Wilson, and the sign test where one side is ahead."""

from collections.abc import Callable, Mapping

from cai.core.shares import sign_test, wilson
from cai.data.validation.descriptor import Found


def share(part: float, count: int, *, details: Mapping[str, float] | None = None, sentence: str | None = None) -> Found:
    """Return a share of `count`, which is not zero, with its interval (Wilson 1927)."""
    found = wilson(part, count)
    return Found(found.value, count, found.low, found.high, details=details or {}, sentence=sentence)


def majority(more: int, less: int, sentence: Callable[[Found], str | None]) -> Found | None:
    """Return the share of `more` among differences of one kind or the other, with interval and sign test."""
    if not more + less:
        return None
    found = wilson(more, more + less)
    value = Found(found.value, more + less, found.low, found.high, sign_test(more, less))
    return Found(value.value, value.count, value.low, value.high, value.p, sentence=sentence(value))
