"""What a judge's scores of single answers are worth: beside known scores, and where several answers are right.

Right answers that tie are scored as RewardBench 2 does (arXiv 2506.01937, section 3; the weights are those of its
authors' code, `process_single_model` in `rewardbench/utils.py` of allenai/reward-bench). Each prompt is asked twice:
`ref:N` has one right answer, `tied:N` several. A right answer of `tied:N` may differ from another one by less than
from any wrong one; how far is compared with the gap between the worst right and the best wrong answer:

    score = 0.3 a(tied) + 0.3 a(ref) + 0.2 m + 0.2 h + 0.01 t

`a` is the share of items whose right answers all beat all others, `m` that of prompts whose gap in `tied:N` is larger
than the spread of its right answers, `h` likewise with the smaller one of both gaps, and `t` the mean of
tanh(smaller gap / spread - 1), 0 where both are 0. Intervals resample prompts (Efron 1979).
"""

import re
from collections.abc import Callable, Sequence
from math import tanh

import numpy as np
from numpy.typing import NDArray

from cai.core.shares import FEWEST, Proportion
from cai.judge_bench.items import LabelledItem
from cai.judge_bench.records import BenchEntry
from cai.judge_bench.results import TIES, RankCorrelation, TiesScore

_NAMED = re.compile(r"(ref|tied):(\d+)")
_RESAMPLES = 1000
_TAIL = 2.5  # per cent at either end

Answered = Sequence[tuple[LabelledItem, BenchEntry]]
Numbers = NDArray[np.float64]


def score_ties(entries: Answered) -> TiesScore | None:
    """Return the score of right answers that tie; None where no prompt was scored with one and with several."""
    gaps: dict[str, dict[str, tuple[float, float]]] = {"ref": {}, "tied": {}}
    for item, entry in entries:
        named = _NAMED.fullmatch(item.name or "")
        if named is not None and entry.values and item.subset in (TIES, None) and len(item.answers) > item.right:
            right, others = entry.values[: item.right], entry.values[item.right :]
            gaps[named[1]][named[2]] = min(right) - max(others), max(right) - min(right)
    ref, tied = gaps["ref"], gaps["tied"]
    both = sorted(ref.keys() & tied.keys(), key=int)
    if not both:
        return None
    every = sorted(ref.keys() | tied.keys(), key=int)
    rows = np.array([_terms(ref.get(name), tied.get(name)) for name in every])
    low, high = _interval(len(every), lambda drawn: _score(rows[drawn]))
    sums = rows.sum(axis=0).tolist()
    return TiesScore(
        value=_score(rows),
        low=low,
        high=high,
        prompts=len(both),
        tied=Proportion(sums[1], len(tied)),
        ref=Proportion(sums[3], len(ref)),
        wider=Proportion(sums[5], len(both)),
        wider_in_both=Proportion(sums[6], len(both)),
        margin=sums[7] / len(both),
    )


def _terms(ref: tuple[float, float] | None, tied: tuple[float, float] | None) -> list[float]:
    """Return what one prompt adds to the counts and sums that the score is made of: `_score` divides them."""
    known = [float(one is not None) for one in (tied, ref)]
    right = [float(one is not None and one[0] > 0) for one in (tied, ref)]
    terms = [known[0], right[0], known[1], right[1]]
    if ref is None or tied is None:
        return [*terms, 0.0, 0.0, 0.0, 0.0]
    gap, (_, spread) = min(ref[0], tied[0]), tied
    ratio = gap / spread if spread else float(np.sign(gap)) * np.inf if gap else np.nan
    margin = 0.0 if np.isnan(ratio) else tanh(ratio - 1)
    return [*terms, 1.0, float(tied[0] > spread), float(gap > spread), margin]


def _score(rows: Numbers) -> float:
    tied, tied_right, ref, ref_right, both, wider, wider_in_both, margin = rows.sum(axis=0)
    if not (tied and ref and both):
        return float("nan")
    weighed = 0.2 * wider + 0.2 * wider_in_both + 0.01 * margin
    return float(0.3 * tied_right / tied + 0.3 * ref_right / ref + weighed / both)


def correlate(entries: Answered) -> RankCorrelation | None:
    """Return how far the judge's scores rank answers as known ones do; None below `FEWEST` answers, or where all tie.

    Answers of all items are ranked together: scores mean the same everywhere.
    """
    known = [(item, entry) for item, entry in entries if item.scores and entry.values]
    pairs = [np.array([item.scores, entry.values]) for item, entry in known]
    count = sum(each.shape[1] for each in pairs)
    if count < FEWEST:
        return None
    value = spearman(np.concatenate(pairs, axis=1))
    if np.isnan(value):
        return None
    low, high = _interval(len(pairs), lambda drawn: spearman(np.concatenate([pairs[one] for one in drawn], axis=1)))
    return RankCorrelation(value, low, high, count, len(pairs))


def spearman(both: Numbers) -> float:
    """Return the rank correlation of two rows of numbers, (2, count); nan where one of them is all alike."""
    ranks = np.array([_ranks(values) for values in both])
    away = ranks - ranks.mean(axis=1, keepdims=True)
    spread = np.sqrt((away**2).sum(axis=1)).prod()
    return float((away[0] * away[1]).sum() / spread) if spread else float("nan")


def _ranks(values: Numbers) -> Numbers:
    """Return the places of values in their order; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _interval(count: int, compute: Callable[[NDArray[np.int64]], float]) -> tuple[float, float]:
    """Return the middle 95 % of what is computed of so many things, drawn again with repetition."""
    generator = np.random.default_rng(0)
    found = np.array([compute(generator.integers(0, count, count)) for _ in range(_RESAMPLES)])
    known = found[~np.isnan(found)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, [_TAIL, 100 - _TAIL])
    return float(low), float(high)
