"""Rubrics in rows: the criteria that a prompt's answers are to meet, with points.

    {"prompt": "Is my cough bad?",
     "rubric": [{"criterion": "Asks how long it has lasted.", "points": 7},
                {"criterion": "States a diagnosis.", "points": -6}]}

A list of objects with `criterion` and `points`, perhaps `tags`, in the column `rubric`; or in `rubrics`, as HealthBench
has it (arXiv 2505.08775). Where columns hold only text, as in CSV, the list is written as JSON. Nothing is guessed:
criteria are neither made up nor mended, and a row whose rubric cannot be read is no prompt.
"""

import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from cai.core.records import Criterion
from cai.data.columns import RUBRIC_COLUMNS
from cai.data.rows import BadRowError, check_text, is_something

MOST_POINTS = 1_000_000
"""Points beyond which no sum of them could be told from another."""


def read_rubric(values: Mapping[str, object]) -> tuple[Criterion, ...]:
    """Return the criteria of a row, none where it has no rubric; raises BadRowError when it cannot be used."""
    found = [name for name in RUBRIC_COLUMNS if is_something(values.get(name))]
    if not found:
        return ()
    if len(found) > 1:
        raise BadRowError(f"the row has both {' and '.join(found)}: keep one of them")
    return parse_rubric(values[found[0]])


def parse_rubric(value: object) -> tuple[Criterion, ...]:
    """Return the criteria that a value spells out; raises BadRowError when it does not."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadRowError("the rubric is text that is no JSON: write a list of {criterion, points}") from None
    if not isinstance(value, list):
        raise BadRowError(f"the rubric is no list of criteria, but of type {type(value).__name__}")
    return tuple(_criterion(item, number) for number, item in enumerate(value, start=1))


def rubric_rows(rubric: Iterable[Criterion]) -> list[dict[str, Any]]:
    """Return criteria as `parse_rubric` reads them; without tags, which nobody is asked about."""
    return [{"criterion": one.criterion, "points": one.points} for one in rubric]


def _criterion(item: object, number: int) -> Criterion:
    if not isinstance(item, dict):
        raise BadRowError(f"criterion {number} is no object with criterion and points")
    fields = cast("dict[str, Any]", item)
    words, points, tags = fields.get("criterion"), fields.get("points"), fields.get("tags")
    if not isinstance(words, str) or not words.strip():
        raise BadRowError(f"criterion {number} has no words under `criterion`")
    if isinstance(points, bool) or not isinstance(points, int | float) or not math.isfinite(points):
        raise BadRowError(f"criterion {number} has no number under `points`, but {reprlib.repr(points)}")
    if not 0 < abs(points) <= MOST_POINTS:
        raise BadRowError(f"criterion {number} is worth {points:g} points: give some, above or below zero")
    if tags is not None and (not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags)):
        raise BadRowError(f"criterion {number} has tags that are no list of strings")
    return Criterion(check_text(words.strip()), float(points), tuple(map(check_text, tags or ())))
