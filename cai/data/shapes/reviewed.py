"""Argilla's records: what people are asked about, what they answered, and what a model suggested to them.

A record of cai's own exports (`--format argilla`) has a prompt with a response, or with `response_a` and `response_b`.
What a model suggested and what people said are two layouts; each person's answer is a pair of its own.
"""

import reprlib
from collections.abc import Iterator

from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import Canonical, Row, Shape, pair

_PREFERRED = {"a": 0, "b": 1, "tie": None}
_QUESTION = "better"


def _field(row: Row, name: str) -> object:
    fields = row.get("fields")
    return fields.get(name) if isinstance(fields, dict) else None


def _prompt(row: Row) -> object:
    return _field(row, "prompt")


def _pair(row: Row, answer: object) -> Canonical:
    value = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(value, str) or value not in _PREFERRED:
        raise BadRowError(f"what is better is none of a, b and tie ({reprlib.repr(value)})")
    return pair(_field(row, "response_a"), _field(row, "response_b"), _PREFERRED[value])


def _suggested(row: Row) -> Iterator[Canonical]:
    """Yield the pair as the model suggested it; its score is how sure it was."""
    suggestions = row.get("suggestions")
    answer = suggestions.get(_QUESTION) if isinstance(suggestions, dict) else None
    given = _pair(row, answer)
    score = answer.get("score") if isinstance(answer, dict) else None
    yield given if score is None else {**given, "chosen_probability": score}


def _answered(row: Row) -> Iterator[Canonical]:
    for answer in _answers(row):
        yield _pair(row, answer)


def _answers(row: Row) -> list[object]:
    responses = row.get("responses")
    answers = responses.get(_QUESTION) if isinstance(responses, dict) else None
    return answers if isinstance(answers, list) else []


def _has_suggestion(row: Row) -> bool:
    suggestions = row.get("suggestions")
    return isinstance(suggestions, dict) and isinstance(suggestions.get(_QUESTION), dict)


def _has_one_response(row: Row) -> bool:
    return _field(row, "response") is not None


_TITLE = "Argilla's records of pairs"
_SOFT = ("chosen", "rejected", "chosen_probability")

REVIEWED = (
    Shape("argilla", _TITLE, ("fields", "suggestions"), _SOFT, _prompt, _suggested, form=_has_suggestion),
    Shape(
        "argilla-people",
        _TITLE,
        ("fields", "responses"),
        _SOFT,
        _prompt,
        _answered,
        form=lambda row: bool(_answers(row)),
    ),
    Shape(
        "argilla",
        "Argilla's records of answers",
        ("fields",),
        ("completion",),
        _prompt,
        lambda row: iter(({"completion": _field(row, "response")},)),
        form=_has_one_response,
    ),
)
