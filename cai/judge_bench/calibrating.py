"""Calibrations from a bench: weights fitted on one half of the items, and what they are worth measured on the other.

Items of one prompt are in one half. What was decided counts: a verdict that abstains gives no label. The raw
probabilities are taken, as they were before anything was clamped.
"""

from dataclasses import replace

from cai.core.identity import draw, fingerprint
from cai.core.reliability import reliability
from cai.core.shares import FEWEST
from cai.judge_bench.items import LabelledItem
from cai.judge_bench.measuring import Answered, label_points, pairwise
from cai.judge_bench.records import BenchEntry
from cai.judge_bench.results import JudgeMeasures
from cai.method.jury import votes_of
from cai.method.label_calibration import JudgeCalibration, Votes, fit_weights, weighed


def calibrate_labels(
    entries: Answered, judges: tuple[str, ...], asked: dict[str, str], seed: int
) -> JudgeCalibration | str:
    """Return the calibration of a judge, or why there is none: a half has fewer than `FEWEST` labels.

    What it is worth is measured on the same labels before and after.
    """
    pairs = [pair for item, entry in entries for pair in pairwise(item, entry)]
    fitted, tested = ([one for one in pairs if _is_fitted(one[0], seed) is half] for half in (True, False))
    labels = [(votes, item.target) for item, entry in fitted if (votes := entry_votes(entry))]
    left = [
        (votes, item.target, point)
        for item, entry in tested
        if (votes := entry_votes(entry))
        for point in label_points([(item, entry)])
    ]
    if min(len(labels), len(left)) < FEWEST:
        return f"{len(labels)} labels to fit it to and {len(left)} to test it on, of {FEWEST} each"
    weights = fit_weights(labels)
    before = reliability([point for *_, point in left])
    after = reliability([_point(votes, target, weights) for votes, target, _ in left])
    assert before is not None  # noqa: S101  (there are points)
    assert after is not None  # noqa: S101
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


def calibrated(
    measured: JudgeMeasures, entries: Answered, judges: tuple[str, ...], asked: dict[str, str], seed: int
) -> JudgeMeasures:
    """Return what was measured of a judge with its calibration, or with the reason why there is none."""
    found = calibrate_labels(entries, judges, asked, seed)
    return replace(measured, uncalibrated=found) if isinstance(found, str) else replace(measured, calibrated=found)


def entry_votes(entry: BenchEntry) -> list[Votes]:
    """Return the log-odds of every verdict that is decided; none where all abstain."""
    return [votes_of(verdict) for verdict in entry.verdicts if verdict.probability is not None]


def _point(votes: list[Votes], target: float, weights: tuple[float, ...]) -> tuple[float, float]:
    """Return how sure the weighed label is, and how often people prefer what it prefers."""
    probability = sum(weighed(one, weights) for one in votes) / len(votes)
    return max(probability, 1 - probability), target if probability > 0.5 else 1 - target


def _is_fitted(item: LabelledItem, seed: int) -> bool:
    return draw(seed, fingerprint(item.messages), "calibrate") < 0.5
