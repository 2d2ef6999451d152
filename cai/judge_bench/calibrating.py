"""Calibrations from a bench: weights fitted on one half of the items, and what they are worth measured on the other.

Items of one prompt are in one half. What was decided counts: a verdict that abstains gives no label. The raw
probabilities are taken, as they were before anything was clamped.
"""

from collections.abc import Sequence

from cai.core.identity import draw, fingerprint
from cai.core.reliability import reliability
from cai.core.shares import FEWEST
from cai.judge_bench.items import LabelledItem
from cai.judge_bench.measuring import Answered, label_points, pairwise
from cai.judge_bench.records import BenchEntry
from cai.method.jury import votes_of
from cai.method.label_calibration import JudgeCalibration, Votes, fit_weights, weighed
from cai.method.verdicts import is_tie


def calibrate_labels(
    entries: Answered, judges: tuple[str, ...], asked: dict[str, str], seed: int
) -> JudgeCalibration | None:
    """Return the calibration of a judge; None where a half has fewer than `FEWEST` labels."""
    pairs = [pair for item, entry in entries for pair in pairwise(item, entry)]
    fitted, tested = ([one for one in pairs if _is_fitted(one[0], seed) is half] for half in (True, False))
    labels = [(votes, item.target) for item, entry in fitted if (votes := entry_votes(entry))]
    left = [(votes, item, entry) for item, entry in tested if (votes := entry_votes(entry))]
    if min(len(labels), len(left)) < FEWEST:
        return None
    weights = fit_weights(labels)
    before = reliability(label_points([(item, entry) for _, item, entry in left]))
    after = reliability(_points([(votes, item.target) for votes, item, _ in left], weights))
    if before is None or after is None:
        return None
    return JudgeCalibration(
        judges=judges,
        asked=asked,
        weights=weights,
        fitted=len(labels),
        tested=after.count,
        error_before=before.error,
        error_after=after.error,
        brier_before=before.brier,
        brier_after=after.brier,
    )


def entry_votes(entry: BenchEntry) -> list[Votes]:
    """Return the log-odds of every verdict that is decided; none where all abstain."""
    return [votes_of(verdict) for verdict in entry.verdicts if verdict.probability is not None]


def _points(labels: Sequence[tuple[list[Votes], float]], weights: tuple[float, ...]) -> list[tuple[float, float]]:
    points = []
    for votes, target in labels:
        probability = sum(weighed(one, weights) for one in votes) / len(votes)
        if not is_tie(probability):
            sure = max(probability, 1 - probability)
            points.append((sure, target if probability > 0.5 else 1 - target))
    return points


def _is_fitted(item: LabelledItem, seed: int) -> bool:
    return draw(seed, fingerprint(item.messages), "calibrate") < 0.5
