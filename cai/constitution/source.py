"""Reads one constitution file by itself: its data, its `Constitution` as written, and all that is wrong with it.

Every problem gets its line, says what is wrong and what is allowed. Knows nothing of other files: what `extends` means,
and whether an exemplar's principle is in a parent, is `load.py`'s.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cai.constitution.model import Constitution, Exemplar, Principle, RevisionPlan, RubricCriterion
from cai.core.yamlfile import Location, Problem, YamlFile, read_yaml

_SEARCHED = 20_000
"""Letters that a misspelt word is compared with at most: a file may have thousands of such words and of known ones."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file as written; `constitution` is None when `problems` say why it is not one."""

    path: Path
    file: YamlFile
    constitution: Constitution | None
    problems: tuple[Problem, ...]


def read_source(path: Path, *, quoting: bool = True) -> Source:
    """Read and validate the file at `path` alone.

    Without `quoting` no problem repeats anything of a file that does not look like a constitution.
    """
    file = read_yaml(path)
    problems = list(file.problems)
    constitution = None
    if not quoting and not _looks_like_one(file.data):
        return Source(path, replace(file, data=None), None, (_withheld(file),))
    if file.data is None and problems:
        return Source(path, file, None, tuple(problems))
    if not isinstance(file.data, dict):
        problems.append(
            Problem(1, f"must be a mapping of keys such as `name` and `principles`, not {_kind(file.data)}")
        )
        return Source(path, file, None, tuple(problems))
    try:
        constitution = Constitution.model_validate(file.data)
    except ValidationError as error:
        problems += [_problem(file, details) for details in error.errors(include_url=False)]
    problems += [*_repeated_ids(file), *_wrong_criteria(file)]
    return Source(path, file, None if problems else constitution, tuple(sorted(problems)))


def items(file: YamlFile, key: str) -> list[tuple[int, Any]]:
    """Return the items of the list under `key` with their numbers; nothing when it is not a list."""
    found = file.data.get(key) if isinstance(file.data, dict) else None
    return list(enumerate(found)) if isinstance(found, list) else []


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the word of `known` that `word` was probably meant to be; None where looking would take too long."""
    words = list(known)
    if len(words) * len(word) > _SEARCHED:
        return None
    near = difflib.get_close_matches(word, words, 1, cutoff=0.6)
    return near[0] if near else None


def _looks_like_one(data: Any) -> bool:
    return isinstance(data, dict) and "name" in data and ("principles" in data or "extends" in data)


def _withheld(file: YamlFile) -> Problem:
    """Return where a file stops being a constitution, and nothing of what is written there."""
    line = file.problems[0].line if file.problems else 1
    return Problem(line, "is not a constitution; if it should be one, `cai constitution check` tells what is wrong")


def _repeated_ids(file: YamlFile) -> list[Problem]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, item in items(file, "principles"):
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            places[item["id"]].append(file.line(("principles", index, "id")))
    return [
        Problem(line, f"the principle id `{name}` is used twice (first on line {lines[0]}); ids are unique in a file")
        for name, lines in places.items()
        for line in lines[1:]
    ]


def _wrong_criteria(file: YamlFile) -> Iterator[Problem]:
    """Find criteria that are worth nothing, and those that are written twice."""
    lines: dict[str, int] = {}
    for index, item in items(file, "rubric"):
        if not isinstance(item, dict):
            continue
        line, words = file.line(("rubric", index)), item.get("criterion")
        if item.get("points") == 0 and not isinstance(item["points"], bool):
            yield Problem(line, f"criterion {index + 1} is worth 0 points; give some, above or below zero")
        if isinstance(words, str) and lines.setdefault(words.strip(), line) != line:
            yield Problem(line, f"criterion {index + 1} is written twice (first on line {lines[words.strip()]})")


def _problem(file: YamlFile, details: ErrorDetails) -> Problem:
    """Say in cai's words what pydantic found."""
    location: Location = details["loc"]
    key, value, kind = _label(location), details["input"], details["type"]
    context: dict[str, Any] = details.get("ctx", {})
    match kind:
        case "missing":
            message = f"{_owner(location[:-1])} has no `{location[-1]}`; it is required"
        case "extra_forbidden":
            message = f"unknown key `{location[-1]}`{_allowed_keys(location)}"
        case _ if kind == "string_too_short" or value is None:
            message = f"{key} is empty"
        case "string_type":
            quotes = "; put it in quotes" if isinstance(value, bool | int | float) else ""
            message = f"{key} must be text, not {_kind(value)}{quotes}"
        case "string_pattern_mismatch":
            message = f"{key} is {value!r}; a name has no spaces, slashes or unseen characters, and no dot at its start"
        case "string_too_long":
            message = f"{key} is longer than {context['max_length']} characters"
        case "greater_than":
            message = f"{key} must be more than {context['gt']:g}, not {value}"
        case "greater_than_equal":
            message = f"{key} must be {context['ge']} or more, not {value}"
        case "less_than_equal":
            message = f"{key} must be {context['le']} or less, not {value}"
        case "enum" | "literal_error":
            allowed = context["expected"].replace("'", "").replace(" or ", ", ")
            message = f"{key} is {value!r}; allowed: {allowed}"
        case "tuple_type":
            message = f"{key} must be a list, not {_kind(value)}"
        case "model_type" | "model_attributes_type":
            message = f"{key} must be a mapping of keys, not {_kind(value)}"
        case "float_type" | "int_type" | "bool_type" | "finite_number":
            wanted = {"float_type": "a number", "int_type": "a whole number", "bool_type": "true or false"}
            message = f"{key} must be {wanted.get(kind, 'a finite number')}, not {_kind(value)}"
        case _:
            message = f"{key}: {details['msg']}"
    return Problem(file.line(location), message)


def _label(location: Location) -> str:
    """Return how the user would call the thing at `location`: "`weight`", "item 2 of `extends`"."""
    if location and isinstance(location[-1], int):
        return f"item {location[-1] + 1} of {_label(location[:-1])}"
    return f"`{location[-1]}`" if location else "the constitution"


def _owner(location: Location) -> str:
    match location:
        case ("principles", int(index)):
            return f"principle {index + 1}"
        case ("exemplars", int(index)):
            return f"exemplar {index + 1}"
        case ("rubric", int(index)):
            return f"criterion {index + 1} of `rubric`"
    return _label(location)


def _allowed_keys(location: Location) -> str:
    model: type[BaseModel] = Constitution
    match location:
        case ("principles", _, _):
            model = Principle
        case ("exemplars", _, _):
            model = Exemplar
        case ("rubric", _, _):
            model = RubricCriterion
        case ("revision", _):
            model = RevisionPlan
    near = nearest(str(location[-1]), model.model_fields)
    return f"; did you mean `{near}`?" if near else f"; allowed: {', '.join(model.model_fields)}"


def _kind(value: Any) -> str:
    """Return what a value is, to somebody who wrote YAML."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the yes-or-no value {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list():
            return "a list"
        case _:
            return "a mapping"
