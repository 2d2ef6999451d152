"""What a measure of a dataset is, and what it finds.

A measure is a name, a group, and a function of what was collected of the set (`collecting.py`). It says what is usual,
with where that is known from, and a sentence where what it found is not. Everything that shows measures reads them from
the table (`table.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from cai.data.validation.collecting import CollectedSet

Group = Literal[
    "completeness",
    "consistency",
    "diversity",
    "balance",
    "duplicates",
    "contamination",
    "certainty",
    "bias of labels",
    "fluency",
]
DataUnit = Literal["share", "number"]

_DETAILS = 24
"""Details of a measure that are written down; there may be a tag a row."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a measure found: a value, of so many things, perhaps with a 95 % interval or a test's p-value.

    `details` are what the value is made of, by name, the most important first. `sentence` says what is unusual, None
    where nothing is.
    """

    value: float
    count: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    sentence: str | None = None


Compute: TypeAlias = "Callable[[CollectedSet], Found | None]"
"""Returns what was found, None where the measure does not apply to the set."""


@dataclass(frozen=True, slots=True)
class DataMeasure:
    """One measure; a `share` lies in [0, 1]. `usual` says what is, `source` how that is known."""

    name: str
    group: Group
    about: str
    compute: Compute
    unit: DataUnit = "share"
    usual: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure and what it found."""

    measure: DataMeasure
    found: Found

    @property
    def value(self) -> str:
        """The value, as it is shown."""
        return self._told(self.found.value)

    @property
    def interval(self) -> str:
        """The ends of the 95 % interval; empty where there is none."""
        if self.found.low is None or self.found.high is None:
            return ""
        low, high = self._told(self.found.low), self._told(self.found.high)
        return f"{low.removesuffix(' %')} to {high}"

    @property
    def p(self) -> str:
        """The test's p-value; empty where there is no test."""
        if self.found.p is None:
            return ""
        return "< 0.001" if self.found.p < 0.001 else f"{self.found.p:.3f}"

    def as_json(self) -> dict[str, Any]:
        """Return everything, for other programs."""
        details = dict(list(self.found.details.items())[:_DETAILS])
        return {
            "measure": self.measure.name,
            "group": self.measure.group,
            "about": self.measure.about,
            "unit": self.measure.unit,
            **asdict(self.found),
            "details": details,
            "usual": self.measure.usual,
            "source": self.measure.source,
        }

    def _told(self, value: float) -> str:
        if self.measure.unit == "share":
            return percent(value)
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float) -> str:
    """Return a share for a sentence; one that is neither nothing nor all never looks so."""
    if 0 < value < 0.001 or 0.999 < value < 1:
        return "under 0.1 %" if value < 0.5 else "over 99.9 %"
    return f"{100 * value:.1f} %"


def below(share: float) -> str:
    """Return what is usual of a share that should be small."""
    return f"below {100 * share:.0f} %"


def listed(counts: Mapping[str, float], most: int = 3) -> str:
    """Return the first of some counts in words."""
    told = [
        f"{name} {count:,.0f}" if count == int(count) else f"{name} {count:.3g}"
        for name, count in list(counts.items())[:most]
    ]
    more = len(counts) - most
    return ", ".join([*told, *([f"{more:,} more"] if more > 0 else [])])
