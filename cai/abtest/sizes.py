"""How many units a difference needs: looked at once, at the end, or looked at daily.

Once: the two-proportion z-test's size (Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 2003,
section 4.2, without the continuity correction). Daily: the size at which the sequential test of `sequential.py` has
found the difference with the power wanted, at its last look alone; the looks before it can only find it earlier.
Incidents are one-sided: only more of them are looked for, and counted out exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, sqrt
from statistics import NormalDist

from cai.abtest.sequential import half_width, incident_evidence, log_binomial

_NORMAL = NormalDist()
_MOST = 2**40
"""Units above which nobody waits."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference to be found: new minus old, and the variance of a unit in either arm."""

    difference: float
    old_variance: float
    new_variance: float

    @classmethod
    def of_shares(cls, old: float, new: float) -> "Effect":
        """Return that of two shares."""
        return cls(new - old, old * (1.0 - old), new * (1.0 - new))


def units_once(effect: Effect, share: float, alpha: float, power: float) -> int:
    """Return how many units both arms need together; `share` of them are the new model's."""
    between = _NORMAL.inv_cdf(1.0 - alpha / 2.0) * sqrt(_variance_alike(effect, share))
    within = _NORMAL.inv_cdf(power) * sqrt(_variance(effect, share))
    return ceil(((between + within) / abs(effect.difference)) ** 2)


def units_daily(effect: Effect, share: float, alpha: float, power: float) -> int:
    """Return how many units both arms need together where the test may be stopped at any look."""
    found, scale = abs(effect.difference), abs(effect.difference)

    def is_enough(units: int) -> bool:
        variance = _variance(effect, share) / units
        return _NORMAL.cdf((found - half_width(variance, scale, alpha)) / sqrt(variance)) >= power

    return _smallest(is_enough)


def _variance(effect: Effect, share: float) -> float:
    """Return the variance of an estimated difference, times the units of both arms; of votes there is one arm."""
    if share == 1.0:
        return effect.new_variance
    return effect.new_variance / share + effect.old_variance / (1.0 - share)


def _variance_alike(effect: Effect, share: float) -> float:
    """Return the same if both arms were alike, or votes even, as the test supposes."""
    if share == 1.0:
        return effect.new_variance + effect.difference**2
    pooled = share * effect.new_variance + (1.0 - share) * effect.old_variance
    pooled += share * (1.0 - share) * effect.difference**2  # of a share, p (1 - p) of the mean share
    return pooled / share + pooled / (1.0 - share)


def _smallest(is_enough: Callable[[int], bool]) -> int:
    """Return the smallest number that is enough, by doubling and halving."""
    high = 2
    while not is_enough(high) and high < _MOST:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def incident_units(old: float, new: float, share: float, alpha: float, power: float) -> int:
    """Return how many units both arms need until more incidents are found, by `incident_evidence`, at any look.

    Exact in the number of incidents; the units are those in which as many are expected.
    """
    each = share * new + (1.0 - share) * old
    theirs = share * new / each

    def is_enough(incidents: int) -> bool:
        alarm = next(
            (more for more in range(incidents + 1) if incident_evidence(more, incidents - more, share) >= 1.0 / alpha),
            incidents + 1,
        )
        missed = sum(exp(log_binomial(more, incidents, theirs)) for more in range(alarm))
        return missed <= 1.0 - power

    return ceil(_smallest(is_enough) / each)
