"""Settings as what JSON can say, for whatever is written down of a run.

Models and places are of types that hide what their addresses carry, so that settings can be written down as they are.
"""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cai.core.addresses import Redacted


def plain(settings: Any) -> dict[str, Any]:
    """Return settings as what JSON can say: groups flattened, paths absolute, models and places without secrets."""
    flat: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        flat.update(_named(value) if is_dataclass(value) else {field.name: value})
    return {name: json_value(value) for name, value in flat.items()}


def _named(group: Any) -> dict[str, Any]:
    return {field.name: getattr(group, field.name) for field in fields(group)}


def json_value(value: Any) -> Any:
    """Return one setting as what JSON can say."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Redacted):
        return str(value)
    if isinstance(value, tuple):
        # A tuple with names is one thing, which has a text of its own: a model with its label.
        return [json_value(item) for item in value] if type(value) is tuple else str(value)
    return value
