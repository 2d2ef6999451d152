"""What evaluations compute: intervals by resampling, and ratings from who won against whom.

- 95 % intervals by resampling prompts: the percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13).
  Every value is a ratio of two sums over prompts (a mean has ones below), so one set of resamples serves all values,
  and two models answer the same resampled prompts. A prompt to which a value does not apply has zeros in both sums.
- How strong each of several models is: Bradley and Terry (1952), on Elo's scale. Model i beats model j with probability
  1 / (1 + exp(t_j - t_i)). A weak prior keeps a model that won (or lost) everything finite: each model also played one
  game against an opponent of average strength and won half of it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
_DRAWS = 4_000_000
"""Prompts drawn at a time: what bounds the memory."""

PRIOR_GAMES = 1.0
ELO_SCALE = 400 / np.log(10)
ELO_MEAN = 1000.0
_ITERATIONS = 100
_LONGEST_STEP = 1.0  # a longer Newton step may overshoot where the curve is flat
_SMALL = 1e-10
_NO_WIDTH = 1e-9
"""An interval that is narrower, by its value where that is above one, has no width but that of rounding."""

SHARES, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)
"""Between which shares lie, and the differences of shares."""

Numbers = NDArray[np.float64]


class Estimates(NamedTuple):
    """Values and the ends of their intervals, each of shape (values,); nan where the sum below is zero."""

    value: Numbers
    low: Numbers
    high: Numbers


def drawn(count: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Numbers]:
    """Yield how often each of `count` prompts is in a resample, in blocks of shape (some resamples, prompts).

    The draws depend on the seed and the number of prompts alone.
    """
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWS // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        places = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def resample(columns: Numbers, seed: int, resamples: int = RESAMPLES) -> Numbers:
    """Return the sums of `columns` (prompts, k) over resampled prompts, of shape (resamples, k); see `drawn`."""
    return np.concatenate([times @ columns for times in drawn(len(columns), seed, resamples)])


def interval(values: Numbers) -> tuple[Numbers, Numbers]:
    """Return the ends of the middle 95 % of `values` (resamples, k), resamples that have no value (nan) left out."""
    ends = np.full((2, values.shape[1]), np.nan)
    known = ~np.isnan(values).all(axis=0)
    tail = (1 - LEVEL) / 2
    ends[:, known] = np.nanquantile(values[:, known], (tail, 1 - tail), axis=0)
    return ends[0], ends[1]


def ratios(above: Numbers, below: Numbers, seed: int, resamples: int = RESAMPLES) -> Estimates:
    """Return each value: its sum above by its sum below, both of shape (prompts, values)."""
    count = above.shape[1]
    sums = resample(np.hstack([above, below]), seed, resamples)
    value = _divide(above.sum(axis=0), below.sum(axis=0))
    return Estimates(value, *interval(_divide(sums[:, :count], sums[:, count:])))


def differences(
    first: tuple[Numbers, Numbers], second: tuple[Numbers, Numbers], seed: int, resamples: int = RESAMPLES
) -> Estimates:
    """Return how much larger the first's ratios are than the second's, over the prompts where both have one.

    Each is (above, below), both of shape (prompts, values). The comparison is paired: swapping gives the negative.
    """
    both = (first[1] > 0) & (second[1] > 0)
    parts = [np.where(both, part, 0.0) for part in (*first, *second)]
    sums = np.hsplit(resample(np.hstack(parts), seed, resamples), 4)
    totals = [part.sum(axis=0) for part in parts]
    value = _divide(totals[0], totals[1]) - _divide(totals[2], totals[3])
    return Estimates(value, *interval(_divide(sums[0], sums[1]) - _divide(sums[2], sums[3])))


def exact_ends(value: float, count: int, bounds: tuple[float, float] = SHARES) -> tuple[float, float]:
    """Return the exact interval's ends of a mean where all of `count` prompts have the one value.

    At most so many prompts may have another (Clopper and Pearson 1934), and theirs is at worst one of the bounds.
    """
    others = 1 - ((1 - LEVEL) / 2) ** (1 / count)
    return value - others * (value - bounds[0]), value + others * (bounds[1] - value)


def known_ends(
    value: float, low: float, high: float, count: int, bounds: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    """Return an interval's ends over `count` prompts as resampling gave them, where it gave any width.

    It gives none where all prompts say the same, and cannot tell then how sure that is: the ends are the exact ones
    within the value's bounds, None of what has no bounds.
    """
    if high - low > _NO_WIDTH * max(1.0, abs(value)):
        return float(low), float(high)
    return (None, None) if bounds is None else exact_ends(float(value), count, bounds)


def _divide(above: Numbers, below: Numbers) -> Numbers:
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def strengths(wins: Numbers) -> Numbers:
    """Return the strengths t, of shape (batch, models), from `wins` of shape (batch, models, models).

    `wins[:, i, j]` is how often i beat j, a tie counting half for both. Found by Newton's method on the concave
    penalised likelihood.
    """
    batch, models, _ = wins.shape
    games = wins + wins.transpose(0, 2, 1)
    found = np.zeros((batch, models))
    diagonal = np.arange(models)
    for _ in range(_ITERATIONS):
        beats = _logistic(found[:, :, None] - found[:, None, :])
        beats_average = _logistic(found)
        slope = (wins - games * beats).sum(axis=2) + PRIOR_GAMES * (0.5 - beats_average)
        curve = games * beats * (1 - beats)
        matrix = -curve
        matrix[:, diagonal, diagonal] += curve.sum(axis=2) + PRIOR_GAMES * beats_average * (1 - beats_average)
        step = np.linalg.solve(matrix, slope[:, :, None])[:, :, 0]
        step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        found += step
        if np.abs(step).max() < _SMALL:
            break
    return found


def elo(found: Numbers) -> Numbers:
    """Return strengths (batch, models) on Elo's scale: 400 points are odds of ten to one, the mean is 1000."""
    return np.asarray(ELO_MEAN + ELO_SCALE * (found - found.mean(axis=1, keepdims=True)))


def _logistic(value: Numbers) -> Numbers:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * value)))
