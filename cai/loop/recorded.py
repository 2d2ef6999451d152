"""What a loop writes down of itself: its settings, under the names of the command line's options (`loop.json`)."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cai.core.errors import RunError
from cai.core.settings import json_value
from cai.loop.settings import LoopSettings
from cai.rundir.documents import DocumentError, make_document, parse_document, read_bounded
from cai.rundir.owned import Owned

DOCUMENT = "loop.json"
FORMAT = 1

_FIT = ("epochs", "max_steps", "learning_rate", "batch_size")
"""What the loop decides of how long and how fast each of its two trainings is."""


def loop_options(settings: LoopSettings) -> dict[str, Any]:
    """Return settings as what JSON can say: groups flattened, those of a training stage after its name."""
    found: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in ("sft", "second"):
            found |= {f"{field.name}_{name}": getattr(value, name) for name in _FIT}
        elif is_dataclass(value):
            found |= {each.name: getattr(value, each.name) for each in fields(value)}
        else:
            found[field.name] = value
    return {name: json_value(value) for name, value in found.items()}


def record_loop(owned: Owned, settings: LoopSettings) -> None:
    """Write the settings down, in place of an earlier start's; raises StoreError, RunError for a file of another's."""
    owned.require_free(DOCUMENT)
    owned.write(DOCUMENT, make_document({"format": FORMAT, "settings": loop_options(settings)}))


def read_loop_options(directory: Path) -> Mapping[str, Any] | None:
    """Return what a loop's directory says of its settings, None where it says nothing; raises RunError."""
    path = directory / DOCUMENT
    try:
        return parse_document(read_bounded(path), FORMAT).fields("settings").values
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except DocumentError as error:
        raise RunError(f"{path} {error}; remove it, and give the same `cai loop` again.") from error
