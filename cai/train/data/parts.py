"""What `--data` names: PATH or PATH:WEIGHT.

Whatever follows the last colon is a weight when it reads as a number, and part of the path when it does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.train.settings import DataSettings


@dataclass(frozen=True, slots=True)
class WeightedSource:
    """One item of `--data`; without a weight it is None."""

    path: DataSource
    weight: float | None


def parse_parts(settings: DataSettings) -> tuple[WeightedSource, ...]:
    """Return the items of `settings.data`; raises InputError when they, or how to mix them, cannot be meant."""
    parts = tuple(_parse(item) for item in settings.data)
    if not parts:
        raise InputError("There is nothing to learn from; name some with --data PATH.")
    weighted = [part for part in parts if part.weight is not None]
    if weighted and len(weighted) < len(parts):
        without = next(part for part in parts if part.weight is None)
        raise InputError(
            f"--data {without.path} has no weight, but {weighted[0].path} has one; give every part a weight, or none."
        )
    temperature = settings.mixing_temperature
    if not (math.isfinite(temperature) and temperature >= 1.0):
        raise InputError(f"--mixing-temperature must be at least 1, not {temperature:g}.")
    if weighted and temperature != 1.0:
        raise InputError("--mixing-temperature sets the shares where no weights are given; leave one of the two out.")
    if settings.limit is not None and settings.limit < 1:
        raise InputError(f"--limit must be at least 1, not {settings.limit}.")
    if not 0.0 <= settings.test_share < 1.0:
        raise InputError(f"--test-share must be at least 0 and less than 1, not {settings.test_share:g}.")
    return parts


def require_same_layout(names: Sequence[DataSource], layouts: Sequence[str]) -> None:
    """Raise InputError unless plain text stands alone: conversations and text have no columns in common."""
    if "text" in layouts and len(set(layouts)) > 1:
        text = names[layouts.index("text")]
        other = next(name for name, layout in zip(names, layouts, strict=True) if layout != "text")
        raise InputError(f"{text} is plain text and {other} is conversations; train on one of them, then on the other.")


def _parse(item: DataSource) -> WeightedSource:
    path, colon, tail = item.reveal().rpartition(":")
    try:
        weight = float(tail) if colon else None
    except ValueError:
        weight = None
    if weight is None:
        path = item.reveal()
    elif not (math.isfinite(weight) and weight > 0.0):
        raise InputError(f"--data {item} has the weight {tail}; a weight is a number above 0.")
    if not path:
        raise InputError(f"--data {str(item)!r} names no path.")
    return WeightedSource(DataSource.parse(path), weight)
