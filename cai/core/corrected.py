"""Shares that a judge told, corrected by a sample of which people told the truth.

Of the cases that are truly so the judge says so in a share q1 (sensitivity), of the others it says they are not in a
share q0 (specificity). A share p that the judge told then stands for

    θ = (p + q0 - 1) / (q0 + q1 - 1)

(Rogan and Gladen 1978; for judges that are language models arXiv 2511.21140). The interval counts the chance in all
three, after Lang and Reiczigel (2014, Preventive Veterinary Medicine 113, 13-22): p, q0 and q1 are drawn towards one
half first, which the plain delta method lacks, and which keeps its 95 % where the samples are small. Both samples must
be drawn from the same cases: labels of what somebody picked correct nothing.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from cai.core.shares import NORMAL_95

BROKEN_ABOVE = 0.5
"""A gate whose probability is above it says that the principle is broken."""

NOT_VALIDATED = "not validated"
"""What is said of a judge's share where people labelled nothing."""

FEWEST_OF_EACH = 5
"""Labels that are truly so, and that are not, from which q1 and q0 are told."""

TOO_FEW = "too few labels"
NEAR_CHANCE = "the judge is near chance"


@dataclass(frozen=True, slots=True)
class Confusion:
    """What the judge said of cases that people labelled: of those truly so `hits` and `misses`, of the others the rest.

    `false_alarms` are those that the judge said were so, `rejections` those of which it said they were not.
    """

    hits: int = 0
    misses: int = 0
    rejections: int = 0
    false_alarms: int = 0

    @classmethod
    def of(cls, said: bool, truly: bool) -> "Confusion":
        """Return one case."""
        return cls(int(said and truly), int(truly and not said), int(not said and not truly), int(said and not truly))

    def __add__(self, other: "Confusion") -> "Confusion":
        """Return both together."""
        return Confusion(
            self.hits + other.hits,
            self.misses + other.misses,
            self.rejections + other.rejections,
            self.false_alarms + other.false_alarms,
        )

    @property
    def positives(self) -> int:
        """How many are truly so."""
        return self.hits + self.misses

    @property
    def negatives(self) -> int:
        """How many are not."""
        return self.rejections + self.false_alarms

    @property
    def labels(self) -> int:
        """How many there are."""
        return self.positives + self.negatives

    @property
    def sensitivity(self) -> float | None:
        """The share of those truly so that the judge said were; None without any."""
        return self.hits / self.positives if self.positives else None

    @property
    def specificity(self) -> float | None:
        """The share of the others of which the judge said they were not; None without any."""
        return self.rejections / self.negatives if self.negatives else None


class CaseLabel(NamedTuple):
    """What people said of a case: whether it is truly so, and a key that is made of its content."""

    key: Hashable
    truly: bool


class LabelledSample:
    """Cases that people labelled, each counted once however often it is met, with the judge's first word on it.

    Who labels a text labels it wherever it lies; counted again it would make intervals narrower than what is known.
    """

    def __init__(self) -> None:
        self._cases: dict[Hashable, Confusion] = {}

    def add(self, label: CaseLabel, *, said: bool) -> None:
        """Take in what people said of a case, and whether the judge said that it is so."""
        self._cases.setdefault(label.key, Confusion.of(said, label.truly))

    def add_all(self, other: "LabelledSample") -> None:
        """Take in all cases of another sample."""
        self._cases = other._cases | self._cases

    @property
    def confusion(self) -> Confusion:
        """All cases together."""
        return sum(self._cases.values(), Confusion())


@dataclass(frozen=True, slots=True)
class CorrectedShare:
    """A judge's share as labels correct it, with its 95 % interval, or in `refused` why it cannot be corrected.

    `labels` many people gave. `clamped`: the labels and the judge contradict each other by chance, and the value was
    taken back to the nearest share that there is.
    """

    value: float | None
    low: float | None
    high: float | None
    labels: int
    sensitivity: float | None = None
    specificity: float | None = None
    refused: str | None = None
    clamped: bool = False

    @property
    def told(self) -> str:
        """All of it in a few words."""
        if self.value is None or self.low is None or self.high is None:
            return f"{NOT_VALIDATED}" + (f" ({self.refused}: {self.labels:,})" if self.labels else "")
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}] by {self.labels:,} labels"

    def turned(self) -> "CorrectedShare":
        """Return the share of the cases that are not so."""
        if self.value is None or self.low is None or self.high is None:
            return self
        return CorrectedShare(
            1.0 - self.value,
            1.0 - self.high,
            1.0 - self.low,
            self.labels,
            self.specificity,
            self.sensitivity,
            clamped=self.clamped,
        )


def correct_share(yes: float, count: int, sample: Confusion) -> CorrectedShare:
    """Return what `yes` of `count` cases, by the judge, stand for by a sample whose truth is known.

    Refused where fewer than `FEWEST_OF_EACH` labels are of either sort, and where q0 + q1 is not surely above one: such
    a judge's share says nothing of the truth. Law: with a judge that errs nowhere and many labels it is yes / count.
    """
    sensitivity, specificity = sample.sensitivity, sample.specificity
    if not count or sensitivity is None or specificity is None or _fewest(sample) < FEWEST_OF_EACH:
        return CorrectedShare(None, None, None, sample.labels, sensitivity, specificity, TOO_FEW)
    if _worst_information(sample) <= 0.0:
        return CorrectedShare(None, None, None, sample.labels, sensitivity, specificity, NEAR_CHANCE)
    value = (yes / count + specificity - 1.0) / (specificity + sensitivity - 1.0)
    low, high = _interval(yes, count, sample)
    kept = min(1.0, max(0.0, value))
    return CorrectedShare(
        kept,
        min(kept, low),
        max(kept, high),
        sample.labels,
        sensitivity,
        specificity,
        clamped=kept != value,
    )


def _fewest(sample: Confusion) -> int:
    return min(sample.positives, sample.negatives)


def _drawn_in(hits: int, count: int) -> tuple[float, float]:
    """Return a share with one success and one failure more, and the variance of it."""
    share = (hits + 1.0) / (count + 2.0)
    return share, share * (1.0 - share) / (count + 2.0)


def _worst_information(sample: Confusion) -> float:
    """Return the lower end of the 95 % interval of q0 + q1 - 1."""
    (q1, spread1), (q0, spread0) = (
        _drawn_in(sample.hits, sample.positives),
        _drawn_in(sample.rejections, sample.negatives),
    )
    return q0 + q1 - 1.0 - NORMAL_95 * sqrt(spread0 + spread1)


def _interval(yes: float, count: int, sample: Confusion) -> tuple[float, float]:
    """Return the interval of Lang and Reiczigel (2014), equations 4 to 6, clipped to [0, 1]."""
    squared = NORMAL_95**2
    total = count + squared
    share = (yes + squared / 2) / total
    (q1, spread1), (q0, spread0) = (
        _drawn_in(sample.hits, sample.positives),
        _drawn_in(sample.rejections, sample.negatives),
    )
    information = q0 + q1 - 1.0
    middle = (share + q0 - 1.0) / information
    shift = 2 * squared * (middle * spread1 - (1 - middle) * spread0)
    spread = share * (1 - share) / total + (1 - middle) ** 2 * spread0 + middle**2 * spread1
    width = NORMAL_95 * sqrt(spread) / information
    return min(1.0, max(0.0, middle + shift - width)), max(0.0, min(1.0, middle + shift + width))
