"""Layouts of public pairs. A tie stays a tie: both answers, and 0.5 as the probability that the chosen one is better.

What a data set says beyond which of two is better (by how much, from whom) is not read. Where it says two things, as
PKU-SafeRLHF does, each is a layout of its own, and a person says which is meant.
"""

import reprlib
from collections.abc import Iterator
from functools import partial

from cai.data.examples.conversations import read_whole_pair
from cai.data.examples.labels import read_number
from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import TIE, Canonical, Row, Shape, pair, text

_HEADS = ("\n\nHuman:", "Human:")

_RATINGS = (
    ("score_chosen", "score_rejected"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
)


def _whole_prompt(row: Row) -> object:
    return read_whole_pair(row.get("chosen"), row.get("rejected"))[0]


def _compared(row: Row) -> Iterator[Canonical]:
    yield {"chosen": row.get("chosen"), "rejected": row.get("rejected")}


def _is_hh(row: Row) -> bool:
    chosen = row.get("chosen")
    return isinstance(chosen, str) and chosen.startswith(_HEADS)


def _are_lists(row: Row) -> bool:
    return isinstance(row.get("chosen"), list) and isinstance(row.get("rejected"), list)


def _prompt(row: Row) -> object:
    return row.get("prompt")


def _rated(row: Row) -> Iterator[Canonical]:
    """Yield UltraFeedback's pair; the ratings say whether it is a tie, and must not say that it is the other way."""
    both = next(((row[one], row[other]) for one, other in _RATINGS if one in row and other in row), (None, None))
    better, worse = (read_number(rating) for rating in both)
    if better is None or worse is None:
        raise BadRowError("a rating of the pair is missing or is no number")
    if better < worse:
        raise BadRowError("the rejected answer is rated above the chosen one")
    yield {
        "chosen": row.get("chosen"),
        "rejected": row.get("rejected"),
        "chosen_probability": TIE if better == worse else 1.0,
    }


def _helpsteer(row: Row) -> Iterator[Canonical]:
    strength = read_number(row.get("overall_preference"))
    if strength is None or not -3 <= strength <= 3:
        raise BadRowError(f"the overall_preference is no number from -3 to 3 ({row.get('overall_preference')!r})")
    preferred = None if strength == 0 else int(strength > 0)
    yield pair(text(row, "response1"), text(row, "response2"), preferred)


def _pku(column: str, row: Row) -> Iterator[Canonical]:
    preferred = read_number(row.get(column))
    if preferred not in (0, 1):
        raise BadRowError(f"the {column} is neither 0 nor 1 ({row.get(column)!r})")
    yield pair(text(row, "response_0"), text(row, "response_1"), int(preferred))


def _pku_safe(row: Row) -> Iterator[Canonical]:
    for number in (0, 1):
        yield {"completion": text(row, f"response_{number}"), "label": row.get(f"is_response_{number}_safe")}


def _judgebench(row: Row) -> Iterator[Canonical]:
    label = "".join(text(row, "label").split())
    if label not in ("A>B", "B>A", "A=B"):
        raise BadRowError(f"the label is none of A>B, B>A and A=B ({reprlib.repr(label)})")
    preferred = {"A>B": 0, "B>A": 1, "A=B": None}[label]
    yield pair(text(row, "response_A"), text(row, "response_B"), preferred)


def _icai_prompt(row: Row) -> object:
    return next((row[name] for name in ("prompt", "input", "instruction") if row.get(name) not in (None, "")), None)


def _icai(row: Row) -> Iterator[Canonical]:
    preferred = text(row, "preferred_text").strip().lower()
    places = {"text_a": 0, "a": 0, "text_b": 1, "b": 1, "tie": None}
    if preferred not in places:
        raise BadRowError(f"the preferred_text is none of text_a, text_b and tie ({reprlib.repr(preferred)})")
    yield pair(text(row, "text_a"), text(row, "text_b"), places[preferred])


def _annotated(one: str, other: str, row: Row) -> Iterator[Canonical]:
    """Yield ICAI's comparison under the label that its data set came with; those of principles are not read."""
    said = row.get("annotations")
    found = [said[name] for name in _DEFAULT_ANNOTATORS if name in said] if isinstance(said, dict) else []
    if isinstance(said, dict) and not found and len(said) == 1:
        found = list(said.values())
    if len(found) != 1 or not isinstance(found[0], dict):
        raise BadRowError("it is not clear which annotation is the data set's own")
    preferred = found[0].get("pref")
    places = {"a": 0, "text_a": 0, "b": 1, "text_b": 1, "tie": None}
    if not isinstance(preferred, str) or preferred not in places:
        raise BadRowError(f"the annotation prefers none of a, b and tie ({reprlib.repr(preferred)})")
    yield pair(_annotated_text(row, one), _annotated_text(row, other), places[preferred])


def _annotated_text(row: Row, column: str) -> str:
    """Return an answer: a text in the format's version 1, an object with text and model in version 2."""
    value = row.get(column)
    return text(value if isinstance(value, dict) else row, "text" if isinstance(value, dict) else column)


_DEFAULT_ANNOTATORS = ("ba751e7b", "d36860d4")
"""What ICAI names the annotator whose preferences a data set came with, now and in its first version."""

_ASKING = ("prompt", "instruction", "question", "messages", "text")
_SOFT = ("chosen", "rejected", "chosen_probability")
_PKU = ("prompt", "response_0", "response_1")

PAIRS = (
    Shape(
        "hh-rlhf",
        "HH-RLHF's pairs of texts",
        ("chosen", "rejected"),
        ("chosen", "rejected"),
        _whole_prompt,
        _compared,
        without=(*_ASKING, "chosen_probability"),
        form=_is_hh,
        whole=True,
    ),
    Shape(
        "trl",
        "pairs of whole conversations",
        ("chosen", "rejected"),
        ("chosen", "rejected"),
        _whole_prompt,
        _compared,
        without=(*_ASKING, "chosen_probability"),
        form=_are_lists,
        whole=True,
    ),
    *(
        Shape(
            "ultrafeedback",
            "UltraFeedback's rated pairs",
            ("prompt", "chosen", "rejected", *ratings),
            _SOFT,
            _prompt,
            _rated,
            without=("chosen_probability",),
        )
        for ratings in _RATINGS
    ),
    Shape(
        "helpsteer3",
        "HelpSteer3's preferences",
        ("context", "response1", "response2", "overall_preference"),
        _SOFT,
        lambda row: row.get("context"),
        _helpsteer,
    ),
    Shape(
        "pku-saferlhf-better",
        "PKU-SafeRLHF",
        (*_PKU, "better_response_id"),
        _SOFT,
        _prompt,
        lambda row: _pku("better_response_id", row),
    ),
    Shape(
        "pku-saferlhf-safer",
        "PKU-SafeRLHF",
        (*_PKU, "safer_response_id"),
        _SOFT,
        _prompt,
        lambda row: _pku("safer_response_id", row),
    ),
    Shape(
        "pku-saferlhf-safe",
        "PKU-SafeRLHF",
        (*_PKU, "is_response_0_safe", "is_response_1_safe"),
        ("completion", "label"),
        _prompt,
        _pku_safe,
    ),
    Shape(
        "judgebench",
        "JudgeBench's pairs",
        ("question", "response_A", "response_B", "label"),
        _SOFT,
        lambda row: row.get("question"),
        _judgebench,
    ),
    Shape(
        "icai",
        "ICAI's pairs",
        ("text_a", "text_b", "preferred_text"),
        _SOFT,
        _icai_prompt,
        _icai,
        reads=("prompt", "input", "instruction"),
    ),
    *(
        Shape(
            "icai",
            "ICAI's annotated pairs",
            ("prompt", one, other, "annotations"),
            _SOFT,
            _prompt,
            partial(_annotated, one, other),
        )
        for one, other in (("text_a", "text_b"), ("response_a", "response_b"))
    ),
)
