"""Lengths of answers, counted: histograms of a fixed size, whatever the number of rows.

Lengths are characters, and they are compared on a logarithmic scale: an answer of 40 beside one of 20 differs as one of
400 beside one of 200. A difference is known to a 32nd of a doubling, a median to 2 %.
"""

import numpy as np
from numpy.typing import NDArray

from cai.data.validation.items import Batch
from cai.data.validation.statistics import Numbers, Odds, auc, fit_odds, quantile

_FINE = 32
"""Bins a doubling."""
_DOUBLINGS = 12
_DIFFERENCES = np.arange(-_DOUBLINGS * _FINE, _DOUBLINGS * _FINE + 1) / _FINE
_LENGTHS = np.arange(0, 24 * _FINE + 1) / _FINE


class Lengths:
    """What is known of the lengths of a set's answers, by the side that they stand on.

    `sides` are chosen and rejected of pairs, good and bad of labelled answers, all of others.
    """

    def __init__(self) -> None:
        self.sides = np.zeros((2, len(_LENGTHS)))
        self.longer = self.shorter = self.same = 0
        self._better = np.zeros(len(_DIFFERENCES))

    def add(self, batch: Batch) -> None:
        """Take in more examples."""
        lengths = batch.lengths
        if lengths.shape[1] == 2:
            self._add_pairs(lengths, batch.probabilities)
        elif lengths.shape[1] == 1:
            good = np.array([item.label is not False for item in batch.items])
            for side, chosen in enumerate((good, ~good)):
                self._count(side, lengths[chosen, 0])

    def _add_pairs(self, lengths: NDArray[np.int64], probabilities: Numbers) -> None:
        decided = probabilities != 0.5
        lengths, probabilities = lengths[decided], probabilities[decided]
        turned = probabilities < 0.5
        lengths[turned] = lengths[turned, ::-1]
        probabilities = np.maximum(probabilities, 1 - probabilities)
        for side in (0, 1):
            self._count(side, lengths[:, side])
        difference = lengths[:, 0] - lengths[:, 1]
        self.longer += int((difference > 0).sum())
        self.shorter += int((difference < 0).sum())
        self.same += int((difference == 0).sum())
        doublings = np.log2((lengths[:, 0] + 1) / (lengths[:, 1] + 1))
        places = np.clip(np.rint(doublings * _FINE).astype(np.int64) + _DOUBLINGS * _FINE, 0, len(_DIFFERENCES) - 1)
        self._better += np.bincount(places, probabilities, len(_DIFFERENCES))
        self._better += np.bincount(len(_DIFFERENCES) - 1 - places, 1 - probabilities, len(_DIFFERENCES))

    def _count(self, side: int, lengths: NDArray[np.int64]) -> None:
        places = np.minimum(np.rint(np.log2(lengths + 1) * _FINE).astype(np.int64), len(_LENGTHS) - 1)
        self.sides[side] += np.bincount(places, minlength=len(_LENGTHS))

    def median(self, side: int | None = None) -> float | None:
        """Return the median length of one side, or of all."""
        counts = self.sides.sum(axis=0) if side is None else self.sides[side]
        found = quantile(counts, _LENGTHS, 0.5)
        return None if found is None else round(2**found - 1)

    def pair_odds(self) -> Odds | None:
        """Return by how much the odds that an answer is preferred grow when it is twice as long as the other.

        The labels count as soft as they are. A difference of the one sign is one of the other sign for the other
        answer, so the regression has no intercept.
        """
        middle = _DOUBLINGS * _FINE
        return fit_odds(_DIFFERENCES[middle:], self._better[middle:], self._better[middle::-1], intercept=False)

    def label_odds(self) -> Odds | None:
        """Return by how much the odds that an answer is good grow when it is twice as long."""
        return fit_odds(_LENGTHS, self.sides[0], self.sides[1], intercept=True)

    def label_auc(self) -> float | None:
        """Return how likely a good answer is longer than a bad one."""
        return auc(self.sides[0], self.sides[1])
