"""What is measured of users, each metric a descriptor in one table: its column, what a cell may say, and its direction.

| metric | column | a unit's value |
|---|---|---|
| preference | `preferred` | 1 for the new model, 0 for the old one, one half for `tie` |
| thumbs | `thumb` | 1 up, 0 down |
| rating | `rating` | the number |
| completion | `completed` | 1 if the task was done |
| engagement | `engagement` | a number, as of turns or minutes; more of it is told, and decides nothing |
| incidents | `incident` | 1 where something unsafe happened, once or more; looked at by `incident_evidence` |

A unit (a user, or a row where no user is named) with several rows has their mean, but of incidents whether there was
any: rows of one user are no observations of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Literal

from cai.core.errors import InputError
from cai.data.examples.labels import read_label, read_number
from cai.data.rows import BadRowError

MetricName = Literal["preference", "thumbs", "rating", "completion", "engagement", "incidents"]
Kind = Literal["votes", "share", "mean", "incidents"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: `scale` is the difference that tests look for where no plan says another, in its own units.

    Of a mean (`kind`) it is in standard deviations of a unit. `decides` tells whether it may be the primary metric.
    """

    name: MetricName
    column: str
    kind: Kind
    scale: float
    read: Callable[[object], float]
    decides: bool = True


def read_yes(value: object) -> float:
    """Return 1 or 0 for a label in any of its spellings; raises BadRowError."""
    try:
        return float(read_label(value, "a row"))
    except InputError:
        raise BadRowError(f"it says {short(value)} where true or false belongs") from None


def read_finite(value: object) -> float:
    """Return a number; raises BadRowError."""
    number = read_number(value)
    if number is None:
        raise BadRowError(f"it says {short(value)} where a number belongs")
    return number


def _refuse(value: object) -> float:
    raise AssertionError(f"votes name models: {value}")


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("preference", "preferred", "votes", 0.05, _refuse),
        Metric("thumbs", "thumb", "share", 0.05, read_yes),
        Metric("rating", "rating", "mean", 0.1, read_finite),
        Metric("completion", "completed", "share", 0.05, read_yes),
        Metric("engagement", "engagement", "mean", 0.1, read_finite, decides=False),
        Metric("incidents", "incident", "incidents", 1.0, read_yes, decides=False),
    )
}
PRIMARIES: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if metric.decides)
