"""Win rates at equal length: how often the first model would be preferred if both answers were equally long.

Judges like long answers. AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475, section 3) takes that out with a logistic
regression of who was preferred on a constant and on the length difference, squashed: tanh(difference / its standard
deviation). What the regression says where the difference is zero is the length-controlled win rate. Their third term,
how hard an instruction is, comes from all models of a leaderboard; an evaluation has none, and it is left out here.
Lengths are characters. As for the raw rate only decided prompts count. A weak normal prior (standard deviation 2.5 on
the log-odds, as Gelman et al. 2008 scale theirs) keeps the length's weight finite where length alone tells the winner.
"""

from collections.abc import Sequence

import numpy as np

from cai.evaluate.results import Measurement
from cai.evaluate.statistics import SHARES, Numbers, drawn, interval, known_ends

_PRIOR = 1 / 2.5**2
_ALMOST_NONE = 1e-9  # keeps the curve of a constant that grows without end from being zero
_ITERATIONS = 25  # of at most one unit each: log-odds of 25 are certainty
_SMALL = 1e-8


def measure_at_equal_length(
    label: str, texts: Sequence[tuple[str, str]], won: Sequence[bool], seed: int
) -> tuple[Measurement, float]:
    """Return a model's win rate at equal length, and by how many characters its answers are the longer ones.

    `texts` are its answer and the other's of each prompt that was decided, one at least; `won` says for whom.
    """
    lengths = np.array([len(own) - len(other) for own, other in texts], dtype=np.float64)
    value, low, high = at_equal_length(lengths, np.array(won, dtype=np.float64), seed)
    ends = known_ends(value, low, high, len(texts), SHARES)
    return Measurement(f"{label} wins, at equal length", value, *ends, len(texts)), float(lengths.mean())


def at_equal_length(lengths: Numbers, won: Numbers, seed: int) -> tuple[float, float, float]:
    """Return the win rate where both answers are equally long, with the ends of its 95 % interval.

    `lengths` are the first answer's characters less the second's, `won` 1 where the first was preferred and 0 where the
    second was, both of shape (prompts,). Laws: without any length difference it is the raw rate; swapping gives 1 - p.
    """
    spread = float(lengths.std())
    squashed = np.tanh(lengths / spread) if spread else np.zeros(len(lengths))
    whole = _rates(np.ones((1, len(won))), squashed, won)
    low, high = interval(np.concatenate([_rates(times, squashed, won) for times in drawn(len(won), seed)]))
    return float(whole[0, 0]), float(low[0]), float(high[0])


def _rates(weights: Numbers, squashed: Numbers, won: Numbers) -> Numbers:
    """Return the rate at zero for each row of weights (rows, prompts), of shape (rows, 1): Newton's method."""
    design = np.stack([np.ones(len(won)), squashed], axis=1)
    prior = np.array([_ALMOST_NONE, _PRIOR])
    found = np.zeros((len(weights), 2))
    for _ in range(_ITERATIONS):
        says = _logistic(found @ design.T)
        slope = (weights * (won - says)) @ design - prior * found
        curved = weights * says * (1 - says)
        one, cross, two = (curved @ (design[:, i] * design[:, j]) for i, j in ((0, 0), (0, 1), (1, 1)))
        one, two = one + prior[0], two + prior[1]
        area = one * two - cross**2
        step = np.stack([two * slope[:, 0] - cross * slope[:, 1], one * slope[:, 1] - cross * slope[:, 0]], axis=1)
        step = np.clip(step / area[:, None], -1.0, 1.0)
        found += step
        if np.abs(step).max() < _SMALL:
            break
    return np.asarray(_logistic(found[:, :1]))


def _logistic(value: Numbers) -> Numbers:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * value)))
