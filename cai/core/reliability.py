"""Whether probabilities mean what they say: expected calibration error and Brier score, over equal bins.

Expected calibration error: the mean distance between what is said and what happens, weighted by the bins' counts (Guo
et al. 2017, arXiv 1706.04599, section 2). Brier score: the mean squared distance (Brier 1950). What happens may be soft
too: of two answers that people find equally good, each is preferred with one half.
"""

from collections.abc import Iterable
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Points whose probability lies from `low` to `high`: how many, what was said and what happened on average."""

    low: float
    high: float
    count: int
    said: float
    happened: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Probabilities beside what happened; bins without a point are left out. `error` is the expected calibration error.

    Both numbers lie in [0, 1], smaller is better. Noise only ever adds to the error: of few points it is too large.
    """

    count: int
    error: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


def bin_of(probability: float, bins: int = BINS) -> int:
    """Return the number of the bin, from 0, that a probability in [0, 1] lies in; the last has both its ends."""
    return min(int(probability * bins), bins - 1)


def reliability(points: Iterable[tuple[float, float]], bins: int = BINS) -> Reliability | None:
    """Return the reliability of points, each (what was said, what happened) in [0, 1]; None of no points."""
    counts, said, happened = [0] * bins, [0.0] * bins, [0.0] * bins
    squares = 0.0
    for probability, outcome in points:
        place = bin_of(probability, bins)
        counts[place] += 1
        said[place] += probability
        happened[place] += outcome
        squares += (probability - outcome) ** 2
    total = sum(counts)
    if not total:
        return None
    return Reliability(
        count=total,
        error=sum(abs(one - other) for one, other in zip(said, happened, strict=True)) / total,
        brier=squares / total,
        bins=tuple(
            ReliabilityBin(place / bins, (place + 1) / bins, count, said[place] / count, happened[place] / count)
            for place, count in enumerate(counts)
            if count
        ),
    )
