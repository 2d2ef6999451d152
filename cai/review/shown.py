"""An item as a person sees it: without what could sway them, its answers in an order drawn for this person.

What is said comes back in the frame of what was shown (A stood first) and is kept in the item's own, with the order, so
that nobody has to know who saw what where. Sources, models and the judge's word are told only of an item that was
answered.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from cai.annotation.items import ReviewItem
from cai.annotation.records import Annotation
from cai.core.errors import UsageError
from cai.core.identity import derive_seed
from cai.review.guidelines import Guidelines

HIDDEN = ("source", "model", "judge")
"""What of an item the page does not have until it is answered, as annotations record it."""

_SWAPPED = {"a": "b", "b": "a"}


def drawn_order(seed: int, annotator: str, item: ReviewItem) -> tuple[int, ...]:
    """Return the order in which a person sees an item's answers, as numbers of the item's; always the same one."""
    places = list(range(len(item.answers)))
    Random(derive_seed(seed, "shown", annotator, item.key)).shuffle(places)
    return tuple(places)


def shown_item(item: ReviewItem, order: Sequence[int], kind: str, guidelines: Guidelines) -> dict[str, Any]:
    """Return what the page gets of an item: texts and criteria, and nothing of where they are from."""
    criteria = guidelines.criteria(item.tags) if kind == "comparison" else {}
    principle = None
    if item.principle is not None:
        principle = {"id": item.principle, "text": guidelines.principle(item.principle) or ""}
    return {
        "key": item.key,
        "prompt": list(item.messages),
        "answers": [item.answers[place].text for place in order],
        "criteria": [{"id": name, "text": text} for name, text in criteria.items()],
        "principle": principle,
    }


def to_item(answer: Any, kind: str, order: Sequence[int]) -> Any:
    """Return an answer in the item's frame; raises UsageError where it is none of the kind."""
    try:
        if kind == "comparison" and tuple(order) == (1, 0):
            return _swapped(answer)
        if kind == "ranking":
            return {"ranks": [answer["ranks"][order.index(place)] for place in range(len(order))]}
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise UsageError(f"what the page sent is no {kind}") from error
    return answer


def to_shown(annotation: Annotation, order: Sequence[int]) -> dict[str, Any]:
    """Return what was said, in the frame of what is shown in this order, as the page fills its fields with it."""
    answer: dict[str, Any] = {} if annotation.answer is None else annotation.answer.model_dump(mode="json")
    if annotation.kind == "comparison" and tuple(order) == (1, 0):
        answer = _swapped(answer)
    if annotation.kind == "ranking":
        answer = {"ranks": [answer["ranks"][place] for place in order]}
    return {
        "answer": answer,
        "reason": annotation.reason,
        "confidence": annotation.confidence,
        "flags": list(annotation.flags),
    }


def hidden_of(item: ReviewItem, order: Sequence[int]) -> list[str]:
    """Return what was hidden of an item, a line each, its answers by the letters that they were shown under."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    lines = []
    for shown, place in enumerate(order):
        answer = item.answers[place]
        name = letters[shown] if len(order) > 1 and shown < len(letters) else "The answer"
        lines.append(f"{name}: {answer.source}{'' if answer.model is None else f', {answer.model}'}")
    if item.judge is not None and item.kind == "pair":
        first = item.judge if order[0] == 0 else 1.0 - item.judge
        lines.append(f"The judge: A is better with {first:.2f}")
    elif item.judge is not None:
        lines.append(f"The judge: {item.judge:.0%} likely broken")
    elif item.abstained is not None:
        lines.append(f"The judge abstained: {item.abstained}")
    if item.ranks:
        lines.append(f"Ranks so far: {', '.join(str(item.ranks[place]) for place in order)}")
    return lines


def _swapped(answer: Mapping[str, Any]) -> dict[str, Any]:
    criteria = {name: _SWAPPED.get(value, value) for name, value in (answer.get("criteria") or {}).items()}
    return {**answer, "overall": _SWAPPED.get(answer["overall"], answer["overall"]), "criteria": criteria}
