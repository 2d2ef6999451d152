"""Shares: their intervals and tests, and when one may be told, where gates and verdicts stay unanswered."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, exp, lgamma, log, sqrt

FEWEST = 10
"""Answers that a share needs."""

NORMAL_95 = 1.959963984540054
"""Of a normal distribution, 95 % lie within so many standard deviations."""


_EXACT = 2000
"""Differences from which the normal distribution stands for the binomial one."""


@dataclass(frozen=True, slots=True)
class Interval95:
    """A share with its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proportion:
    """`part` of `of` things, in halves where a thing may count half."""

    part: float
    of: int

    @property
    def interval(self) -> Interval95 | None:
        """The share with its interval; None of nothing."""
        return wilson(self.part, self.of) if self.of else None

    @property
    def in_counts(self) -> str:
        """The counts, and the share's interval in per cent: `12 of 40 [18, 45]`."""
        found = self.interval
        ends = "" if found is None else f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
        return f"{self.part:,.0f} of {self.of:,}{ends}"

    def as_json(self) -> dict[str, float | None]:
        """Return the counts, the share and the ends of its interval."""
        found = self.interval
        ends = (None, None, None) if found is None else (found.value, found.low, found.high)
        return {"part": self.part, "of": self.of, **dict(zip(("value", "low", "high"), ends, strict=True))}


def wilson(right: float, count: int) -> Interval95:
    """Return the share of `count` that `right` is, with its interval; the count is not zero."""
    share, spread = right / count, NORMAL_95**2 / count
    middle = (share + spread / 2) / (1 + spread)
    width = NORMAL_95 / (1 + spread) * sqrt(share * (1 - share) / count + spread / (4 * count))
    return Interval95(share, max(0.0, min(share, middle - width)), min(1.0, max(share, middle + width)))


def p_text(p: float) -> str:
    """Return a p-value as people are told it: none is nothing."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def sign_test(more: int, less: int) -> float:
    """Return the two-sided p-value that so many differences each way are a fair coin's; 1 without any.

    Exact up to 2,000 of them. Of prompts on which only the one or only the other of two models breaks something it is
    McNemar's test (1947). Law: symmetric.
    """
    total, fewer = more + less, min(more, less)
    if not total:
        return 1.0
    if total > _EXACT:
        return erfc(max(0.0, abs(more - less) - 1) / sqrt(2 * total))
    tail = sum(
        exp(lgamma(total + 1) - lgamma(k + 1) - lgamma(total - k + 1) - total * log(2)) for k in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def is_enough(answered: int, asked: int) -> bool:
    """Tell whether a share of so many answers means something: `FEWEST` of them at least, and half of what was asked.

    Where it does not, the counts are told in its place.
    """
    return answered >= FEWEST and 2 * answered >= asked


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of several tests at once, in their order (Holm 1979, step-down).

    Laws: none falls, their order stays, and a single one is as it was.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    found, most = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[place]))
        found[place] = most
    return found
