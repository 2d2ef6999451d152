"""Feedback from a deployment: rows that say of which model they are, of whom, when, and what was seen.

The columns are those of `cai feedback import`, which keeps what is said of single answers: `model` (which of the two
answered), `user` (optional), `time` (optional, ISO 8601: then each day is a look), `thumb`, `rating`, and `preferred`
(`a`, `b` or `tie`) with `model_a` and `model_b`; and what only a deployment knows, `completed`, `engagement` and
`incident`. A row that cannot be used is counted with its cause, and nothing of it is used.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from cai.abtest.metrics import METRICS, Metric
from cai.core.errors import InputError
from cai.data.formats import open_file
from cai.data.rows import BadRowError, BrokenRow, RawRow, is_something

MODEL, USER, TIME = "model", "user", "time"
MODELS = {"a": "model_a", "b": "model_b"}
TIE = "tie"
VOTES = "votes"
"""The arm of what users preferred: both models were in front of them."""

_COLUMNS = (MODEL, *MODELS.values(), USER, TIME, *(metric.column for metric in METRICS.values()))


@dataclass(frozen=True, slots=True)
class Event:
    """One value: under which metric, of which arm and unit, on which day (None: not said)."""

    metric: str
    arm: str
    unit: str
    value: float
    day: date | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """All usable values in the order of the days, and what could not be used, by cause."""

    events: tuple[Event, ...]
    rows: int
    unusable: Mapping[str, int]
    named_users: int
    first_unusable: str = ""

    @property
    def days(self) -> tuple[date, ...]:
        """The days on which something was said, in their order."""
        return tuple(sorted({event.day for event in self.events if event.day is not None}))


def read_feedback(path: Path, new: str, old: str) -> Feedback:
    """Read a file of any kind that rows come in; raises InputError when nothing in it can be used."""
    source = open_file(path, path.name)
    if not any(one.column in source.columns for one in METRICS.values()):
        raise InputError(f"{path.name} has none of the columns {', '.join(_COLUMNS)}.")
    events: list[Event] = []
    unusable: Counter[str] = Counter()
    users: set[str] = set()
    rows, first = 0, ""
    with closing(source.rows([name for name in _COLUMNS if name in source.columns])) as found:  # type: ignore[type-var]
        for row in found:
            rows += 1
            try:
                read = list(_events(row, new, old))
            except BadRowError as error:
                unusable[str(error)] += 1
                first = first or f"{row.place}: {error}"
                continue
            events += read
            if isinstance(row, RawRow) and is_something(row.values.get(USER)):
                users.add(str(row.values[USER]))
    if not events:
        raise InputError(f"{path.name} has no row that can be used: {first or 'it has none at all'}.")
    events.sort(key=lambda event: event.day or date.min)
    return Feedback(tuple(events), rows, dict(unusable), len(users), first)


def _events(row: RawRow | BrokenRow, new: str, old: str) -> Iterator[Event]:
    """Yield what a row says; raises BadRowError before anything is used where it cannot be."""
    if isinstance(row, BrokenRow):
        raise BadRowError(row.cause)
    values = {name: value for name, value in row.values.items() if is_something(value)}
    unit, day = str(values.get(USER, row.place)), _day(values.get(TIME))
    said = [metric for metric in METRICS.values() if metric.column in values]
    if not said:
        raise BadRowError(f"it says nothing under {', '.join(one.column for one in METRICS.values())}")
    for metric in said:
        value = values[metric.column]
        if metric.kind == "votes":
            yield Event(metric.name, VOTES, unit, _vote(values, value, new, old), day)
        else:
            yield Event(metric.name, _arm(values.get(MODEL), new, old), unit, _read(metric, value), day)


def _read(metric: Metric, value: object) -> float:
    try:
        return metric.read(value)
    except BadRowError as error:
        raise BadRowError(f"{metric.column}: {error}") from None


def _arm(value: object, new: str, old: str) -> str:
    if value in (new, old):
        return str(value)
    if value is None:
        raise BadRowError("it does not say under `model` which model answered")
    raise BadRowError("it is of another model than the two")


def _vote(values: Mapping[str, object], value: object, new: str, old: str) -> float:
    """Return 1 where the new model is preferred, whichever of the two places it had."""
    shown = [values.get(name) for name in MODELS.values()]
    if set(map(str, shown)) != {new, old}:
        raise BadRowError("under `model_a` and `model_b` it does not have the two models")
    if value == TIE:
        return 0.5
    if value not in ("a", "b"):
        raise BadRowError("under `preferred` it has neither a nor b nor tie")
    return float(values.get(MODELS[str(value)]) == new)


def _day(value: object) -> date | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.date()
    try:
        return datetime.fromisoformat(str(value)).date()
    except ValueError:
        raise BadRowError("under `time` it has no date in the form of ISO 8601") from None
