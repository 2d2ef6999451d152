"""Tests that may be looked at as often as one likes, and still raise a false alarm as seldom as they say.

A difference of two means: the mixture sequential probability ratio test (Johari, Pekelis and Walsh, "Always Valid
Inference", arXiv 1512.04922, section 5). With an estimate d of variance V and a normal prior of standard deviation
`scale` on the true difference, the likelihood ratio against no difference is

    L = sqrt(V / (V + scale^2)) exp(scale^2 d^2 / (2 V (V + scale^2)))

and the chance that it ever reaches 1/alpha without a difference is alpha. It rests on the normal approximation, so
that nothing is said of fewer than `FEWEST_UNITS` units an arm.

Incidents are too rare for that. If both arms are as safe, each incident is the new model's with the probability of its
share of the units, however many there are. `incident_evidence` bets on more than that: a mixture over all greater
probabilities, whose wealth grows to 1/alpha with a chance of alpha at most (Ville's inequality; Shafer, "Testing by
betting", 2021). It is exact for any number of incidents.
"""

from dataclasses import dataclass
from math import exp, inf, lgamma, log, sqrt

ALPHA = 0.05
FEWEST_UNITS = 30
"""Units an arm below which the normal approximation is not relied on."""


@dataclass(frozen=True, slots=True)
class ArmSample:
    """The values of one arm's units: how many, their mean, and their variance (of a unit, not of the mean)."""

    count: int
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Difference:
    """An estimated difference, new minus old, and the variance of the estimate."""

    value: float
    variance: float

    @classmethod
    def of(cls, new: ArmSample, old: ArmSample) -> "Difference":
        """Return the difference of two arms' means; each arm has a unit at least."""
        return cls(new.mean - old.mean, new.variance / new.count + old.variance / old.count)


@dataclass(frozen=True, slots=True)
class AlwaysValid:
    """An interval that holds the truth at every look at once with the probability 1 - alpha, and the p-value."""

    low: float
    high: float
    p: float

    @property
    def is_better(self) -> bool:
        """Whether the new one is better, whatever the true difference in the interval is."""
        return self.low > 0.0

    @property
    def is_worse(self) -> bool:
        """Whether the new one is worse."""
        return self.high < 0.0


def look(found: Difference, scale: float, alpha: float = ALPHA) -> AlwaysValid:
    """Return what may be said now. `scale` is about the difference that matters: intervals are shortest there."""
    if found.variance <= 0.0:  # nobody differed from anybody: nothing is known of how much they would
        return AlwaysValid(-inf, inf, 1.0)
    evidence = log_evidence(found, scale)
    width = half_width(found.variance, scale, alpha)
    return AlwaysValid(found.value - width, found.value + width, min(1.0, exp(-evidence)))


def log_evidence(found: Difference, scale: float) -> float:
    """Return the logarithm of the likelihood ratio against no difference."""
    both = found.variance + scale**2
    return 0.5 * log(found.variance / both) + scale**2 * found.value**2 / (2.0 * found.variance * both)


def half_width(variance: float, scale: float, alpha: float = ALPHA) -> float:
    """Return how far a difference must be from 0 to be told from it; the same as half an interval's width."""
    both = variance + scale**2
    return sqrt(variance * both / scale**2 * (2.0 * log(1.0 / alpha) + log(both / variance)))


def incident_evidence(new: int, old: int, share: float) -> float:
    """Return how strongly incidents say that the new model has more of them: 1/alpha is an alarm.

    `share` in (0, 1) is the new model's share of the units. Law: without incidents it is 1.
    """
    # A flat prior on the probabilities above `share`: the mean likelihood over them, against that of `share` itself.
    total = new + old
    above = sum(exp(log_binomial(k, total + 1, share)) for k in range(new + 1))  # of the posterior, by its identity
    if above <= 0.0:
        return 0.0
    beta = lgamma(new + 1) + lgamma(old + 1) - lgamma(total + 2)
    return exp(log(above) + beta - log(1.0 - share) - new * log(share) - old * log(1.0 - share))


def log_binomial(part: int, of: int, share: float) -> float:
    """Return the logarithm of the probability that `part` of `of` things are of a kind whose share is `share`."""
    ways = lgamma(of + 1) - lgamma(part + 1) - lgamma(of - part + 1)
    return ways + part * log(share) + (of - part) * log(1.0 - share)
