"""Soft labels that mean what they say: a judge's log-odds divided by a temperature that was fitted on known labels.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2): p becomes sigmoid(logit(p) / T). It never changes
which answer is preferred, only how surely. Several judges are one label likewise: the sigmoid of the sum of their
log-odds, each times a weight; one judge's weight is 1 / T. A calibration is a judge's, as it was asked: another judge,
other templates, one order in place of both, reasons first, are refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, inf, log, log1p
from pathlib import Path
from typing import Any

import orjson

from cai.core.errors import UsageError
from cai.core.identity import fingerprint
from cai.core.paths import open_file

FORMAT = 1

_CLOSEST = 0.0005
"""Probabilities are kept to three digits: what is told as 0 or 1 is so near to it."""

_LEAST, _MOST = 1e-3, 20.0
"""Weights that are looked at; below the least a judge knows nothing and has none."""

Votes = Sequence[float]
"""The log-odds of each judge on one comparison under one principle; 0 of a judge that decided nothing."""


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """What was fitted for one judge, or for the judges of a jury in their order, by their engines' names.

    `asked` is how they were asked, in an identity's words. `fitted` labels gave the weights; on `tested` others the
    expected calibration error and the Brier score were measured, before and after.
    """

    judges: tuple[str, ...]
    asked: Mapping[str, str]
    weights: tuple[float, ...]
    fitted: int
    tested: int
    error_before: float
    error_after: float
    brier_before: float
    brier_after: float

    @property
    def temperature(self) -> float:
        """T of the judge that stands alone; infinite where its labels say nothing."""
        return 1 / self.weights[0] if self.weights[0] else inf

    def label(self, votes: Votes) -> float:
        """Return the probability that judges with these log-odds come to."""
        return weighed(votes, self.weights)


@dataclass(frozen=True, slots=True)
class JudgeCalibrations:
    """The calibrations of a file, which `cai judge bench --calibrate` wrote; `name` is the file's, for messages."""

    name: str
    known: tuple[JudgeCalibration, ...]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name what was fitted, for whom."""
        return fingerprint([[one.judges, one.asked, one.weights] for one in self.known])

    def of(self, judges: tuple[str, ...], asked: Mapping[str, str]) -> JudgeCalibration:
        """Return the calibration of judges that are asked so; raises UsageError where there is none."""
        for one in self.known:
            if one.judges == judges and one.asked == asked:
                return one
        others = [one for one in self.known if one.judges == judges]
        hint = "measure it with `cai judge bench DATA --calibrate`"
        if others:
            differing = [name for name, value in asked.items() if others[0].asked.get(name) != value]
            told = ", ".join(f"{name} {others[0].asked.get(name, 'none')} and not {asked[name]}" for name in differing)
            raise UsageError(f"{self.name} is of {' and '.join(judges)} asked otherwise ({told}); {hint}")
        known = "; ".join(" and ".join(one.judges) for one in self.known)
        raise UsageError(f"{self.name} is for {known}, and not for {' and '.join(judges)}; {hint}")


def log_odds(probability: float) -> float:
    """Return the logit of a probability that is kept to three digits."""
    near = min(max(probability, _CLOSEST), 1 - _CLOSEST)
    return log(near / (1 - near))


def weighed(votes: Votes, weights: Sequence[float]) -> float:
    """Return the sigmoid of the weighed sum of log-odds. Law: with the signs of all votes turned it is 1 less that."""
    total = sum(weight * vote for weight, vote in zip(weights, votes, strict=True))
    return 1 / (1 + exp(-total)) if total >= 0 else exp(total) / (1 + exp(total))


def fit_weights(labels: Sequence[tuple[Sequence[Votes], float]]) -> tuple[float, ...]:
    """Return the weights that make known labels likeliest, each from 0 up.

    `labels` has of each comparison the votes under each principle, whose probabilities are averaged, and how likely
    people find the first answer better. They are drawn towards one half as by one label more on either side (Platt
    1999, section 2.2), or judges that are never wrong would be infinitely sure. One weight is found at a time, by
    golden sections of its logarithm, until none moves. Raises ValueError without labels.
    """
    if not labels:
        raise ValueError("there are no labels to fit weights to")
    nearer = 1 / (len(labels) + 2)
    labels = [(votes, target + nearer * (1 - 2 * target)) for votes, target in labels]
    weights = [1.0 / len(labels[0][0][0])] * len(labels[0][0][0])
    for _ in range(1 if len(weights) == 1 else 12):
        before = list(weights)
        for place in range(len(weights)):
            weights[place] = _best(labels, weights, place)
        if max(abs(one - other) for one, other in zip(before, weights, strict=True)) < 1e-3:
            break
    return tuple(round(weight, 4) for weight in weights)


def _best(labels: Sequence[tuple[Sequence[Votes], float]], weights: list[float], place: int) -> float:
    def loss(logarithm: float) -> float:
        tried = [*weights]
        tried[place] = exp(logarithm)
        return _loss(labels, tried)

    low, high, golden = log(_LEAST), log(_MOST), (5**0.5 - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    found = exp((low + high) / 2)
    return found if found > 2 * _LEAST else 0.0


def _loss(labels: Sequence[tuple[Sequence[Votes], float]], weights: Sequence[float]) -> float:
    """Return the cross-entropy of the labels, in nats, summed up."""
    total = 0.0
    for votes, target in labels:
        said = sum(weighed(one, weights) for one in votes) / len(votes)
        near = min(max(said, 1e-12), 1 - 1e-12)
        total -= target * log(near) + (1 - target) * log1p(-near)
    return total


def write_calibrations(found: Sequence[JudgeCalibration]) -> bytes:
    """Return calibrations as a file has them."""
    judges = [asdict(one) | {"temperature": one.temperature if len(one.judges) == 1 else None} for one in found]
    document = {"cai": "judge calibration", "format": FORMAT, "calibrations": judges}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def load_calibrations(path: Path) -> JudgeCalibrations:
    """Return the calibrations in a file; raises UsageError, in one sentence, where it is none."""
    try:
        with open_file(path) as file:
            document = orjson.loads(file.read())
        if document["cai"] != "judge calibration" or document["format"] != FORMAT:
            raise ValueError("it is of another kind")
        return JudgeCalibrations(str(path), tuple(_read(value) for value in document["calibrations"]))
    except OSError as error:
        raise UsageError(f"--judge-calibration {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--judge-calibration {path} is no file that `cai judge bench --calibrate` wrote; write it again"
        ) from error


def _read(value: Mapping[str, Any]) -> JudgeCalibration:
    values = {name: value[name] for name in JudgeCalibration.__dataclass_fields__}
    found = JudgeCalibration(**{**values, "judges": tuple(value["judges"]), "weights": tuple(value["weights"])})
    if not found.judges or len(found.judges) != len(found.weights) or not all(w >= 0 for w in found.weights):
        raise ValueError("not a weight a judge")
    return found
