"""Annotations, items and places that tests of `cai.annotation` build on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.annotation.items import ItemAnswer, ReviewItem, gate_item, pair_item
from cai.annotation.places import AnnotatedPlace, find_place
from cai.annotation.records import Annotation, parse_annotation
from cai.core.addresses import DataSource
from cai.core.identity import fingerprint
from tests.building import user


def place_at(path: Path) -> AnnotatedPlace:
    return find_place(DataSource.parse(str(path)))


def make_pair(number: int = 0, probability: float | None = None) -> ReviewItem:
    answers = ItemAnswer(f"Yes, {number}.", "response:0", "m"), ItemAnswer(f"No, {number}, never.", "response:1", "n")
    return pair_item(f"p{number}", (user(f"Question {number}?"),), answers, f"x:{number}", probability=probability)


def make_gate(number: int = 0, principle: str = "kind", broken: float | None = None) -> ReviewItem:
    answer = ItemAnswer(f"Answer {number}.", "response:0", "m")
    return gate_item(f"p{number}", (user(f"Question {number}?"),), answer, principle, f"x:{number}", broken=broken)


def say(item: ReviewItem | str, answer: Any, **changes: Any) -> Annotation:
    """Return an annotation; a plain word is what the usual kind for the item says."""
    key = item if isinstance(item, str) else item.key
    kind = changes.pop("kind", {"pair": "comparison", "gate": "adherence", "ranking": "ranking"}.get(key.split(":")[0]))
    if isinstance(answer, str):
        answer = {"overall": answer} if kind == "comparison" else {"says": answer}
    elif isinstance(answer, Sequence):
        answer = {"ranks": answer}
    who = changes.get("annotator", "kim")
    values = {
        "id": f"id-{fingerprint([who, key])}",
        "when": "2026-11-26T08:00:00Z",
        "annotator": who,
        "item": key,
        "kind": kind,
        "answer": answer,
        "chosen_by": "random",
        **changes,
    }
    return parse_annotation(values, "a test")
