"""What an evaluation says: named measurements with intervals, by model, by pair and of the judge itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from cai.core.corrected import CorrectedShare
from cai.core.shares import FEWEST, NORMAL_95, is_enough
from cai.evaluate.measures import Measure, Unit
from cai.method.judge_check import JudgeCheck

NORMAL_80_POWER = 0.8416212335729143
"""Of a normal distribution, 80 % lie below so many standard deviations."""
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value with the ends of its 95 % interval over `count` prompts.

    A `share` lies in [0, 1], a difference of shares in [-1, 1]. The ends are None where resampling prompts says nothing
    sensible about the value.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    count: int
    unit: Unit = "share"


@dataclass(frozen=True, slots=True)
class Discordance:
    """Prompts on which only one of a model and the baseline breaks a principle, of `prompts`, and McNemar's p-value."""

    only_model: int
    only_baseline: int
    p: float
    prompts: int

    def prompts_for(self, difference: float) -> int | None:
        """Return how many prompts show a difference of shares, at 5 % two-sided, in 80 % of evaluations.

        By McNemar's test (Connor, "Sample size for testing differences in proportions for the paired-sample design",
        1987), while as many prompts are broken by only one of the two as were here; None of no prompts.
        """
        if not self.prompts:
            return None
        share = max((self.only_model + self.only_baseline) / self.prompts, abs(difference))
        needed = NORMAL_95 * sqrt(share) + NORMAL_80_POWER * sqrt(share - difference**2)
        return ceil((needed / difference) ** 2)


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model's measurements; `differences` are they less the baseline's, paired by prompt (none for itself)."""

    label: str
    engine: str
    measurements: tuple[Measurement, ...]
    differences: tuple[Measurement, ...]
    discordance: Discordance | None
    failures: Mapping[str, int]
    """Prompts that could not be done, by cause."""
    failed_gates: Mapping[str, int]
    """Gates that could not be asked, by cause; they count in no share but `gates without an answer`."""

    unanswered: Mapping[str, int] = field(default_factory=dict)
    """Prompts about which the judge was asked and gave no answer, by measure; measures without any are left out."""
    p_values: Mapping[str, float] = field(default_factory=dict)
    """Of the shares of single principles, McNemar's against the baseline, for all of them at once (Holm 1979).

    Of several judges it is the sign test of their means.
    """

    corrected: Mapping[str, CorrectedShare] = field(default_factory=dict)
    """The judge's shares as people's labels correct them, by measure; what nobody labelled is not among them."""

    def counts(self, name: str) -> tuple[int, int]:
        """Return how many prompts a measure has an answer for, and how many were asked about."""
        found = self.measurement(name)
        answered = 0 if found is None else found.count
        return answered, answered + self.unanswered.get(name, 0)

    def told(self, measure: Measure) -> Measurement | None:
        """Return what was measured where that may be shown: what is of the judge's answers needs enough of them."""
        found = self.measurement(measure.name)
        return found if found is None or not measure.judged or is_enough(*self.counts(measure.name)) else None

    def in_counts(self, measure: Measure) -> str:
        """Return a measure of few answers as a person reads it: how many say yes, or that degrees are too few."""
        if measure.graded:
            return "too few ({:,} of {:,})".format(*self.counts(measure.name))
        found = self.measurement(measure.name)
        return "0 of 0" if found is None else f"{found.value * found.count:,.0f} of {found.count:,}"

    def differs(self, name: str) -> bool:
        """Tell whether a measure differs from the baseline's: the interval of the difference leaves out zero.

        That needs `FEWEST` prompts that both models have: of fewer, resampling finds too many differences. Of many
        principles some would differ by chance: there the p-value for all of them has to be 0.05 at most too.
        """
        found = self.difference(name)
        if found is None or found.count < FEWEST or found.low is None or found.high is None:
            return False
        return (found.low > 0 or found.high < 0) and self.p_values.get(name, 0.0) <= _ALPHA

    def measurement(self, name: str) -> Measurement | None:
        """Return what was measured under a name, or None when nothing was."""
        return next((found for found in self.measurements if found.name == name), None)

    def difference(self, name: str) -> Measurement | None:
        """Return the difference to the baseline in a measure, or None when there is none."""
        return next((found for found in self.differences if found.name == name), None)


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What was measured of every model under one attack (`cai.method.attacks`), over so many prompts."""

    attack: str
    prompts: int
    models: tuple[ModelResult, ...]


@dataclass(frozen=True, slots=True)
class SectionTable:
    """A table of a section in words: what its columns are called, and its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class EvaluationSection:
    """What was examined beside the prompts (`cai.evaluate.examining`): measures of every model over `items` items.

    `details` is what JSON can say of it beyond the measures.
    """

    name: str
    title: str
    about: str
    items: int
    measures: tuple[Measure, ...]
    models: tuple[ModelResult, ...]
    tables: tuple[SectionTable, ...] = ()
    remarks: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairResult:
    """How often the judge preferred a to b; `win_rate` is a's share of the prompts that were decided, None for none."""

    a: str
    b: str
    wins: int
    losses: int
    ties: int
    abstained: Mapping[str, int]
    """Prompts without a decision, by reason; ties are apart."""
    failures: Mapping[str, int]
    failed_verdicts: Mapping[str, int]
    """Verdicts that could not be had where others under other principles could, by cause."""
    win_rate: Measurement | None
    corrected: CorrectedShare | None = None
    """The win rate as people's labels correct it; None: nobody labelled these pairs."""
    length_controlled: Measurement | None = None
    """What the win rate would be if both answers were equally long (`cai.evaluate.usefulness.length_control`)."""
    longer: float | None = None
    """By how many characters a's answers are longer than b's, on average of the prompts that were decided."""

    @property
    def is_told(self) -> bool:
        """Whether the rates at which a is preferred may be shown: enough comparisons were decided."""
        decided = self.wins + self.losses
        return is_enough(decided, decided + sum(self.abstained.values()))


@dataclass(frozen=True, slots=True)
class PartialJudge:
    """A judge that is not apart from a model: it is the model `itself`, or judged what the model was `trained_on`."""

    label: str
    judge: str
    itself: bool
    trained_on: str | None

    @property
    def told(self) -> str:
        """A sentence on it, and on what mends it."""
        if self.itself and self.trained_on:
            why = f"is judged by itself, and was trained on what it judged ({self.trained_on})"
        elif self.itself:
            why = "is judged by itself, and a model prefers what it would have said"
        else:
            why = f"was trained on what the same judge judged ({self.trained_on})"
        return (
            f"{self.label} {why}; judge with another model (--judge OTHER), or with a second one beside it "
            f"(--judge {self.judge},OTHER)"
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """The judge's gates beside the oracle's truth, on all models' responses; `principle_id` None: all principles.

    Measurements: Brier score, expected calibration error (10 bins), sensitivity and specificity at 0.5, base rate.
    """

    principle_id: str | None
    kind: str | None
    gates: int
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that one `cai evaluate` found out; `detector` is the refusal detector beside the oracle's truth."""

    out: Path
    constitution: str
    judge: str
    baseline: str | None
    prompts: int
    understood: int
    unusable: Mapping[str, int]
    """Rows of the prompt file that are no prompts, by cause."""
    duplicates: int
    seed: int
    finished: str
    measures: tuple[Measure, ...]
    """What was measured of every model, in the order in which it is shown."""
    models: tuple[ModelResult, ...]
    pairs: tuple[PairResult, ...]
    ratings: tuple[Measurement, ...]
    """Elo, named by model; empty for a single model."""
    calibration: tuple[Calibration, ...]
    detector: tuple[Measurement, ...]
    judge_check: JudgeCheck | None = None
    """What the judge was found to be on known pairs; None: it was not tested."""
    picked: int = 0
    """Labels of people that correct nothing, because their items were not drawn at random."""
    attacks: tuple[AttackResult, ...] = ()
    """The prompts again under each attack; none of these counts in `models`."""
    sections: tuple[EvaluationSection, ...] = ()
    """What was examined beside the prompts."""
    partial_judges: tuple[PartialJudge, ...] = ()
    """The models from which no judge is apart (`cai.evaluate.independence`)."""

    def model(self, label: str) -> ModelResult:
        """Return a model's result; raises KeyError."""
        for result in self.models:
            if result.label == label:
                return result
        raise KeyError(f"no model {label!r}; there are {', '.join(result.label for result in self.models)}")

    def measurement(self, name: str, label: str) -> Measurement:
        """Return what was measured of a model, such as `breaks any principle, harmful`; raises KeyError."""
        result = self.model(label)
        found = result.measurement(name)
        if found is None:
            there = ", ".join(measurement.name for measurement in result.measurements)
            raise KeyError(f"nothing was measured of {label} under {name!r}; there are {there}")
        return found

    def section(self, name: str) -> EvaluationSection:
        """Return what an examination found; raises KeyError."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(f"nothing was examined as {name!r}; there are {', '.join(one.name for one in self.sections)}")

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as what JSON can say."""
        return asdict(replace(self, measures=(), sections=())) | {
            "out": str(self.out),
            "measures": _described(self.measures),
            "judge_check": None if self.judge_check is None else self.judge_check.as_json(),
            "sections": [
                asdict(replace(section, measures=())) | {"measures": _described(section.measures)}
                for section in self.sections
            ],
        }


def _described(measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Return all that is told of measures, without how they are computed and what few answers are told as."""
    told = [each.name for each in fields(Measure) if each.name not in ("compute", "combine", "graded")]
    return [{name: getattr(measure, name) for name in told} for measure in measures]
