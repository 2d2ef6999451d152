"""Shares of a set as measures find them: with the interval of Wilson, and the sign test where one side is to be ahead.

The sign test tells whether of so many differences more go one way than a fair coin would have them (exact binomial;
McNemar's test of paired shares is the same).
"""

from collections.abc import Callable, Mapping
from math import erfc, exp, lgamma, log, sqrt

from cai.data.validation.descriptor import Found
from cai.method.judge_check import wilson

_EXACT = 2000
"""Differences from which the normal distribution stands for the binomial one."""


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


def sign_test(more: int, less: int) -> float:
    """Return the two-sided p-value of so many differences each way; 1 without any."""
    total, fewer = more + less, min(more, less)
    if not total:
        return 1.0
    if total > _EXACT:
        return erfc(max(0.0, abs(more - less) - 1) / sqrt(2 * total))
    tail = sum(
        exp(lgamma(total + 1) - lgamma(k + 1) - lgamma(total - k + 1) - total * log(2)) for k in range(fewer + 1)
    )
    return min(1.0, 2 * tail)
