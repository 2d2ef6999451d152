"""The fits behind the measures; all of them take counts, so that nothing has to be held.

- `fit_odds`: logistic regression of a label on one number, from weighted counts, by Newton's method, with the interval
  of Wald from the Fisher information.
- `auc`: how likely the first of two is larger than the second (Mann and Whitney 1947), from two histograms.
"""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from cai.core.shares import NORMAL_95

Numbers = NDArray[np.float64]

_STEPS = 60
_SMALL = 1e-9


@dataclass(frozen=True, slots=True)
class Odds:
    """By how much the odds of a good label grow with one more of the number, and the ends of the 95 % interval."""

    ratio: float
    low: float
    high: float


def fit_odds(numbers: Numbers, good: Numbers, bad: Numbers, *, intercept: bool) -> Odds | None:
    """Return what a logistic regression finds, from how often each number was good and bad; None for nothing.

    Nothing is found where all numbers are the same, and where the label follows from the number alone.
    """
    total = good + bad
    if _is_parted(numbers[good > 0], numbers[bad > 0], intercept=intercept):
        return None
    centred = numbers - (total @ numbers) / total.sum() if intercept else numbers
    columns = np.stack([centred, np.ones_like(numbers)], axis=1) if intercept else numbers[:, None]
    found = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-columns @ found))
        information = columns.T @ (columns * (total * likely * (1 - likely))[:, None])
        step = np.linalg.solve(information, columns.T @ (good - total * likely))
        found += step * min(1.0, 1.0 / float(np.abs(step).max() or 1.0))
        if np.abs(step).max() < _SMALL:
            break
    width = NORMAL_95 * sqrt(np.linalg.inv(information)[0, 0])
    return Odds(*(exp(found[0] + side * width) for side in (0, -1, 1)))


def _is_parted(good: Numbers, bad: Numbers, *, intercept: bool) -> bool:
    """Tell whether there is no finite coefficient: a number parts the two, or there is nothing to part."""
    if not (len(good) and len(bad)):
        return True
    if intercept:
        return bool(good.min() >= bad.max() or bad.min() >= good.max())
    signs = [set(np.sign(numbers[numbers != 0]).tolist()) for numbers in (good, -bad)]
    return len(signs[0] | signs[1]) < 2


def auc(first: Numbers, second: Numbers) -> float | None:
    """Return how likely one of the first histogram is larger than one of the second, ties half; None for empty ones."""
    total = first.sum() * second.sum()
    if not total:
        return None
    below = np.cumsum(second) - second
    return float((first * (below + second / 2)).sum() / total)


def quantile(counts: Numbers, values: Numbers, share: float) -> float | None:
    """Return the value that so large a share of a histogram does not exceed; None of an empty one."""
    total = counts.sum()
    if not total:
        return None
    return float(values[int(np.searchsorted(np.cumsum(counts), share * total))])


def rank_correlation(first: Numbers, second: Numbers) -> float | None:
    """Return Spearman's correlation, ties at their mean rank; None where one of them does not vary."""
    ranks = [_ranks(numbers) for numbers in (first, second)]
    if len(first) < 3 or any(rank.std() == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(numbers: Numbers) -> Numbers:
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])
