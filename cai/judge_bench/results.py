"""What a bench says: of every judge its shares with intervals, of every two of them a paired test, and in sentences."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai.core.records import Usage
from cai.core.reliability import Reliability
from cai.core.shares import FEWEST, Proportion
from cai.method.label_calibration import JudgeCalibration

TIES = "Ties"
"""The subset of RewardBench 2 in which several answers are right."""


@dataclass(frozen=True, slots=True)
class TiesScore:
    """RewardBench 2's score of right answers that tie, in about [0, 1.01], with the ends of its 95 % interval.

    `tied` and `ref` are the two shares of items, `wider` and `wider_in_both` those of `prompts` with a wide gap, and
    `margin` is the mean that weighs 0.01.
    """

    value: float
    low: float
    high: float
    prompts: int
    tied: Proportion
    ref: Proportion
    wider: Proportion
    wider_in_both: Proportion
    margin: float

    def as_json(self) -> dict[str, Any]:
        """Return everything, for other programs."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: one.as_json() if isinstance(one, Proportion) else one for name, one in own.items()}


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rank correlation (1904) of so many `answers` of `items`, in [-1, 1], with its 95 % interval."""

    value: float
    low: float
    high: float
    answers: int
    items: int

    def as_json(self) -> dict[str, Any]:
        """Return everything, for other programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TiedItems:
    """What a judge says of pairs that people find equally good: of `of`, how many it labels, and how sure it is.

    `certainty` is the mean distance of its probability from one half, in [0, 0.5]; None where it said nothing.
    """

    of: int
    labelled: int
    certainty: float | None


@dataclass(frozen=True, slots=True)
class JudgeCost:
    """What verdicts took, an answer's score being one; `seconds` are those in which an item was being asked about."""

    verdicts: int
    usage: Usage
    seconds: float

    def per_thousand(self) -> dict[str, float] | None:
        """Return requests, tokens and seconds per 1,000 verdicts; None without a verdict."""
        if not self.verdicts:
            return None
        numbers = {
            "requests": self.usage.requests,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "seconds": self.seconds,
        }
        return {name: 1000 * value / self.verdicts for name, value in numbers.items()}


@dataclass(frozen=True, slots=True)
class JudgeMeasures:
    """One judge beside the labels; `judge` is its engine's name, `how` in which way it is asked otherwise than usual.

    Of `asked` items `answered` gave a probability, `failed` could not be had. Of those whose label prefers an answer:
    `accuracy` is how often the judge does too, both orders averaged, a half where it finds them alike; `both_orders`
    how often in either order; `labelled` how many it decides, as a run's pairs are labelled, and `label_accuracy` how
    many of these rightly. `position` is how often the same place won in both orders, `first_place` of how many of them
    the first. `disagreement` is in how many verdicts of a jury two jurors prefer different answers. `longer` is how
    often the longer answer is preferred, `longer_by_label` how often by the labels; `own` and `own_by_label` likewise
    where one of two answers is the judge's. `labels` says whether soft labels mean what they say, `mass` is what the
    letters weigh (median). `chance` is the accuracy of one who guesses, `favourite` the option that is chosen most.
    `abstained` counts verdicts by reason, `failures` what failed.
    """

    label: str
    judge: str
    how: str
    asked: int
    answered: int
    failed: int
    accuracy: Proportion
    both_orders: Proportion
    labelled: Proportion
    label_accuracy: Proportion
    position: Proportion
    first_place: int
    constant: bool
    chance: float
    favourite: str | None
    favourite_share: Proportion
    disagreement: Proportion
    longer: Proportion
    longer_by_label: Proportion
    own: Proportion
    own_by_label: Proportion
    ties: TiedItems
    labels: Reliability | None
    mass: float | None
    by_subset: Mapping[str, Proportion]
    by_principle: Mapping[str, Proportion]
    abstained: Mapping[str, int]
    failures: Mapping[str, int]
    cost: JudgeCost
    several_right: TiesScore | None = None
    """Of a judge that scores answers, RewardBench 2's score of right ones that tie."""
    correlation: RankCorrelation | None = None
    """Of a judge that scores answers, how far it ranks them as known scores do."""
    calibrated: JudgeCalibration | None = None
    """What was fitted on one half of the items and tested on the other, where that was asked for."""
    uncalibrated: str = ""
    """Why it was asked for and there is none."""

    @property
    def mean_of_subsets(self) -> float | None:
        """The mean of the subsets' accuracies, each counting alike; None without subsets.

        As RewardBench 2 reports it: its Ties count by their own score, where there is one.
        """
        known = {name: one.interval.value for name, one in self.by_subset.items() if one.interval is not None}
        if TIES in known and self.several_right is not None:
            known[TIES] = self.several_right.value
        found = list(known.values())
        return sum(found) / len(found) if found else None

    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each thing that makes the judge unfit."""
        found, accuracy = [], self.accuracy.interval
        if self.answered == 0:
            return (f"{self.label} answered nothing",)
        if self.constant:
            place = "first" if self.first_place else "second"
            what = f"prefers the {place} answer whatever it is shown, in all {self.position.of:,} pairs and both orders"
            if self.favourite is not None:
                what = f"chooses {self.favourite} in all {self.favourite_share.of:,} questions"
            found.append(f"{self.label} is a constant: it {what}")
        elif self.position.of >= FEWEST and 2 * self.position.part >= self.position.of:
            found.append(
                f"{self.label} sees positions, not answers: the same place won in {self.position.part:,.0f} of "
                f"{self.position.of:,} pairs that it was shown both ways"
            )
        if accuracy is not None and self.accuracy.of >= FEWEST and accuracy.high < self.chance:
            found.append(
                f"{self.label} is right less often than one who guesses: {self.accuracy.part:g} of "
                f"{self.accuracy.of:,}; are the labels, or the constitution, the wrong way round?"
            )
        elif accuracy is not None and self.accuracy.of >= FEWEST and accuracy.low <= self.chance and not self.constant:
            found.append(
                f"{self.label} cannot be told from one that guesses: right on {self.accuracy.part:g} of "
                f"{self.accuracy.of:,}"
            )
        if 2 * self.failed > self.asked:
            found.append(f"{self.label} could not be asked about {self.failed:,} of {self.asked:,}")
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """Return everything, shares with their intervals."""
        told: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, Proportion | TiesScore | RankCorrelation):
                told[name] = value.as_json()
            elif name in ("by_subset", "by_principle"):
                told[name] = {part: one.as_json() for part, one in value.items()}
            else:
                told[name] = asdict(value) if hasattr(value, "__dataclass_fields__") else value
        told["mean_of_subsets"] = self.mean_of_subsets
        told["cost"]["per_thousand_verdicts"] = self.cost.per_thousand()
        told["problems"] = list(self.problems())
        return told


@dataclass(frozen=True, slots=True)
class PairedJudges:
    """Two judges on the same items: how many only the one or only the other has right, and the sign test's p-value.

    An item that one has right and the other half right counts for the first.
    """

    a: str
    b: str
    items: int
    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, slots=True)
class JudgeBench:
    """A bench of judges: `items` of `found` in the data, of which `left_out` rows gave none, by cause."""

    out: Path
    data: str
    constitution: str
    items: int
    found: int
    left_out: Mapping[str, int]
    subset_column: str | None
    judges: tuple[JudgeMeasures, ...]
    pairs: tuple[PairedJudges, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes judges unfit, a sentence each."""
        return tuple(problem for judge in self.judges for problem in judge.problems())

    def of(self, label: str) -> JudgeMeasures:
        """Return what was measured of a judge; raises KeyError where there is none of this name."""
        for one in self.judges:
            if one.label == label:
                return one
        raise KeyError(label)

    def as_json(self) -> dict[str, Any]:
        """Return everything, for other programs."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **own,
            "out": str(self.out),
            "judges": [judge.as_json() for judge in self.judges],
            "pairs": [asdict(pair) for pair in self.pairs],
            "problems": list(self.problems),
        }
