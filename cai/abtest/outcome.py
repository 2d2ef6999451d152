"""What `cai abtest` returns: sizes of a plan, readings of feedback, and what to do; as words and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from math import ceil
from typing import Any, Literal

from cai.abtest.sequential import AlwaysValid, ArmSample
from cai.core.shares import Interval95

Recommended = Literal["ship", "hold", "roll back", "go on"]


@dataclass(frozen=True, slots=True)
class Size:
    """How many units, of both arms together, a metric's difference needs: looked at once, and looked at daily."""

    metric: str
    old: float
    new: float
    once: int
    daily: int
    days_once: float | None
    days_daily: float | None

    @property
    def scale(self) -> float:
        """The difference that is planned for."""
        return abs(self.new - self.old)


@dataclass(frozen=True, slots=True)
class AbtestPlan:
    """The sizes, and what they rest on; `share` of the units are the new model's."""

    sizes: tuple[Size, ...]
    alpha: float
    power: float
    share: float
    daily: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the plan as `--plan` reads it."""
        return {"format": 1, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Look:
    """What could be said of a metric at the end of a day."""

    day: date | None
    units: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric: both arms, the difference (new minus old) and its intervals, and each day's look.

    `always` may be looked at as often as one likes; `once` and `p_once` are right at one look alone, settled before.
    `p_all` is the p-value of `always` with all metrics considered (Holm 1979). Of votes `old` is one half.
    """

    metric: str
    new: ArmSample
    old: ArmSample
    difference: float
    always: AlwaysValid | None
    once: tuple[float, float] | None
    p_once: float | None
    p_all: float | None
    planned: int | None
    looks: tuple[Look, ...]

    @property
    def units(self) -> int:
        """The units of both arms."""
        return self.new.count + self.old.count

    @property
    def is_full(self) -> bool | None:
        """Whether there are as many units as were planned for daily looks; None without a plan."""
        return None if self.planned is None else self.units >= self.planned


@dataclass(frozen=True, slots=True)
class Incidents:
    """Units with an incident of each arm, as rates with intervals, and the evidence that the new one has more.

    `new_rows` and `old_rows` are the rows with one, of which a unit may have several. `new_units` and `old_units` are
    those of which it is known whether there was one, `new_all` and `old_all` all of the arm's. `planned` are the units
    of both arms together, of which `share` are to be the new model's.
    """

    new: int
    old: int
    new_rows: int
    old_rows: int
    new_units: int
    old_units: int
    new_all: int
    old_all: int
    new_rate: Interval95
    old_rate: Interval95
    evidence: float
    alarm_at: float
    first_alarm: date | None
    planned: int | None
    share: float

    @property
    def left(self) -> int:
        """How many of the planned units are still to be seen, so that each arm has its share; 0 without a plan."""
        seen = min(self.new_units / self.share, self.old_units / (1.0 - self.share))
        return 0 if self.planned is None else max(0, ceil(self.planned - seen))

    @property
    def is_alarm(self) -> bool:
        """Whether the new model has more incidents, by the guard rail."""
        return self.evidence >= self.alarm_at or self.first_alarm is not None


@dataclass(frozen=True, slots=True)
class AbtestDecision:
    """What to do, and why, in sentences."""

    what: Recommended
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AbtestReading:
    """All that feedback says of two models."""

    new: str
    old: str
    primary: str
    readings: tuple[Reading, ...]
    incidents: Incidents | None
    recommendation: AbtestDecision
    rows: int
    users: int
    unusable: Mapping[str, int]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return everything; days are in the form of ISO 8601, and what is infinite is null."""
        return {"format": 1, **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value
