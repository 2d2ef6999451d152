"""Coefficients of agreement, and their intervals by resampling items.

What two or more people said of things is held as coincidences (Krippendorff 2011, "Computing Krippendorff's
alpha-reliability", section C): a thing with m votes adds 1/(m - 1) for every ordered pair of them, so a thing with one
vote adds nothing. All functions take sums of shape (..., values, values), and return nan where a coefficient is not
defined: nobody disagrees by chance where everybody always says the same.

- percent: the share of coincidences of equal values; of two people's votes, simply how often they agree.
- kappa (Cohen 1960): agreement beyond what the two people's own shares give by chance; rows are the one's values,
  columns the other's.
- alpha (Krippendorff 2004, chapter 11): 1 - observed by expected disagreement, for any number of people and with votes
  missing. Nominal: two values are the same or not. Ordinal: they are as far apart as their ranks in all votes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cai.core.shares import wilson

Numbers = NDArray[np.float64]
Coefficient = Callable[[Numbers], Numbers]

RESAMPLES = 1000
LEVEL = 0.95
FEWEST = 2
"""Items that a resample has to have for an interval to say something."""


class IntervalEstimate(NamedTuple):
    """A value with its 95 % interval; a part that is not defined is None."""

    value: float | None
    low: float | None
    high: float | None


def coincidences(values: Sequence[int], count: int) -> Numbers:
    """Return what the votes on one thing add, of shape (count, count); nothing for fewer than two votes."""
    found = np.zeros((count, count))
    if len(values) > 1:
        tally = np.bincount(values, minlength=count).astype(float)
        found = (np.outer(tally, tally) - np.diag(tally)) / (len(values) - 1)
    return np.asarray(found)


def percent(sums: Numbers) -> Numbers:
    """Return the share of equal values."""
    return _divide(np.trace(sums, axis1=-2, axis2=-1), sums.sum(axis=(-2, -1)))


def kappa(sums: Numbers) -> Numbers:
    """Return Cohen's kappa of a table of two people's votes."""
    total = sums.sum(axis=(-2, -1))
    chance = _divide((sums.sum(axis=-1) * sums.sum(axis=-2)).sum(axis=-1), total**2)
    return _divide(percent(sums) - chance, 1.0 - chance)


def nominal_alpha(sums: Numbers) -> Numbers:
    """Return Krippendorff's alpha of values that are the same or not."""
    votes = sums.sum(axis=-1)
    return _alpha(sums, votes, 1.0 - np.broadcast_to(np.eye(sums.shape[-1]), sums.shape))


def ordinal_alpha(sums: Numbers) -> Numbers:
    """Return Krippendorff's alpha of values in an order.

    The distance of two values is that of their middle ranks in all votes, squared, which is his ordinal metric.
    """
    votes = sums.sum(axis=-1)
    ranks = votes.cumsum(axis=-1) - votes / 2
    return _alpha(sums, votes, (ranks[..., :, None] - ranks[..., None, :]) ** 2)


def _alpha(sums: Numbers, votes: Numbers, distance: Numbers) -> Numbers:
    observed = (sums * distance).sum(axis=(-2, -1))
    expected = (votes[..., :, None] * votes[..., None, :] * distance).sum(axis=(-2, -1))
    return np.asarray(1.0 - _divide((votes.sum(axis=-1) - 1.0) * observed, expected))


def _divide(above: Numbers, below: Numbers) -> Numbers:
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 1e-12))


def resampled(tables: Numbers, seed: int) -> Numbers:
    """Return the sums of items' tables (items, values, values) over resampled items, (resamples, values, values)."""
    items = len(tables)
    times = np.random.default_rng(seed).multinomial(items, np.full(items, 1.0 / items), size=RESAMPLES)
    sums = times.astype(float) @ tables.reshape(items, -1)
    return np.asarray(sums.reshape(-1, *tables.shape[1:]))


def estimate(coefficient: Coefficient, tables: Numbers, draws: Numbers) -> IntervalEstimate:
    """Return a coefficient with the middle 95 % of it over resampled items (Efron 1979).

    Where resampling cannot change it (everybody agrees) it has no interval, but for a share, whose ends are Wilson's.
    """
    value = float(coefficient(tables.sum(axis=0)))
    if np.isnan(value):
        return IntervalEstimate(None, None, None)
    known = (found := coefficient(draws))[~np.isnan(found)]
    if len(tables) < FEWEST or not len(known) or np.ptp(known) < 1e-12:
        if coefficient is percent:
            share = wilson(value * len(tables), len(tables))
            return IntervalEstimate(value, share.low, share.high)
        return IntervalEstimate(value, None, None)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return IntervalEstimate(value, min(value, float(low)), max(value, float(high)))
