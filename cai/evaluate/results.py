"""What an evaluation says: named figures with intervals, by model, by pair and of the judge itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Unit = Literal["share", "number"]


@dataclass(frozen=True, slots=True)
class Figure:
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
    """Prompts on which only one of a model and the baseline breaks a principle, and McNemar's exact p-value."""

    only_model: int
    only_baseline: int
    p: float


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model's figures; `differences` are its figures less the baseline's, paired by prompt (none for itself)."""

    label: str
    engine: str
    figures: tuple[Figure, ...]
    differences: tuple[Figure, ...]
    discordance: Discordance | None
    failures: Mapping[str, int]
    """Prompts that could not be done, by cause."""
    failed_gates: Mapping[str, int]
    """Gates that could not be asked, by cause; they count in no share but `gates without an answer`."""

    def difference(self, name: str) -> Figure | None:
        """Return the difference to the baseline in a figure, or None when there is none."""
        return next((figure for figure in self.differences if figure.name == name), None)


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
    win_rate: Figure | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The judge's gates beside the referee's truth, on all models' responses; `principle_id` None: all principles.

    Figures: Brier score, expected calibration error (10 bins), sensitivity and specificity at 0.5, base rate.
    """

    principle_id: str | None
    kind: str | None
    gates: int
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that one `cai evaluate` found out; `detector` is the refusal detector beside the referee's truth."""

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
    models: tuple[ModelResult, ...]
    pairs: tuple[PairResult, ...]
    ratings: tuple[Figure, ...]
    """Elo, named by model; empty for a single model."""
    calibration: tuple[Calibration, ...]
    detector: tuple[Figure, ...]

    def model(self, label: str) -> ModelResult:
        """Return a model's result; raises KeyError."""
        for result in self.models:
            if result.label == label:
                return result
        raise KeyError(f"no model {label!r}; there are {', '.join(result.label for result in self.models)}")

    def figure(self, name: str, label: str) -> Figure:
        """Return a model's figure, such as `oracle violation, harmful`; raises KeyError."""
        figures = self.model(label).figures
        for figure in figures:
            if figure.name == name:
                return figure
        raise KeyError(f"no figure {name!r} of {label}; there are {', '.join(figure.name for figure in figures)}")

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as what JSON can say."""
        return asdict(self) | {"out": str(self.out)}
