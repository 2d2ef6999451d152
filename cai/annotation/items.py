"""What can be looked at: pairs, gates, ranked answers and single answers, each under a key made of its content.

The key is the same wherever the content lies: what was said of a run's pair is said of it in the run judged again and
in the exported file. The answers of an item are in an order that their texts alone decide, so neither a key nor a
place says which of two is the revision, or which a judge or a file prefers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cai.annotation.kinds import ItemKind
from cai.core.identity import fingerprint
from cai.core.records import Message


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    """One answer of an item: its text, where it is from (`response:0`, `chosen`), and whose it is, where known."""

    text: str
    source: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """Something that a person can be asked about.

    `judge` is the judge's probability: of a pair that answer `a` is better, of a gate that the answer breaks the
    principle; None where it said nothing, for the reason in `abstained` if it was asked. `ranks` are, of a ranking,
    what the data has, a rank an answer. `place` is where the item was read (`runs/x:PROMPT`, `pairs.jsonl:12`).
    """

    key: str
    kind: ItemKind
    prompt_id: str
    messages: tuple[Message, ...]
    answers: tuple[ItemAnswer, ...]
    place: str
    principle: str | None = None
    judge: float | None = None
    abstained: str | None = None
    ranks: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def uncertainty(self) -> float | None:
        """How unsure the judge is, from 0 to 1: 1 where it was asked and did not decide; None without a judge."""
        if self.judge is None:
            return None if self.abstained is None else 1.0
        return 1.0 - abs(2.0 * self.judge - 1.0)


def pair_item(
    prompt_id: str,
    messages: Sequence[Message],
    answers: tuple[ItemAnswer, ItemAnswer],
    place: str,
    *,
    probability: float | None = None,
    abstained: str | None = None,
    tags: Sequence[str] = (),
) -> ReviewItem:
    """Return the item of two answers; `probability` is that of the first one given being better."""
    ordered = in_order(answers)
    if probability is not None and ordered[0] is not answers[0]:
        probability = 1.0 - probability
    item = _item("pair", prompt_id, messages, ordered, place, tags)
    return replace(item, judge=probability, abstained=abstained)


def gate_item(
    prompt_id: str,
    messages: Sequence[Message],
    answer: ItemAnswer,
    principle: str,
    place: str,
    *,
    broken: float | None = None,
    abstained: str | None = None,
    tags: Sequence[str] = (),
) -> ReviewItem:
    """Return the item of an answer and a principle; `broken` is how likely the judge finds it broken."""
    item = _item("gate", prompt_id, messages, (answer,), place, tags, principle)
    return replace(item, judge=broken, abstained=abstained)


def ranking_item(
    prompt_id: str,
    messages: Sequence[Message],
    answers: Sequence[ItemAnswer],
    place: str,
    *,
    ranks: Sequence[int] = (),
    tags: Sequence[str] = (),
) -> ReviewItem:
    """Return the item of several answers; `ranks` are those that the data has, in the order of `answers`."""
    ordered = in_order(answers)
    found = dict(zip(map(id, answers), ranks, strict=True)) if ranks else {}
    item = _item("ranking", prompt_id, messages, ordered, place, tags)
    return replace(item, ranks=tuple(found[id(answer)] for answer in ordered) if found else ())


def answer_item(
    prompt_id: str, messages: Sequence[Message], answer: ItemAnswer, place: str, *, tags: Sequence[str] = ()
) -> ReviewItem:
    """Return the item of a single answer."""
    return _item("answer", prompt_id, messages, (answer,), place, tags)


def item_key(kind: ItemKind, messages: Sequence[Message], texts: Sequence[str], principle: str | None = None) -> str:
    """Return the key of an item: its kind, and what its content comes to; the order of the texts does not matter."""
    turns = [[turn["role"], turn["content"]] for turn in messages]
    return f"{kind}:{fingerprint([turns, sorted(texts), principle])}"


def in_order(answers: Sequence[ItemAnswer]) -> tuple[ItemAnswer, ...]:
    """Return answers in the order of items, which depends on nothing but their texts and says nothing of them."""
    return tuple(sorted(answers, key=lambda answer: fingerprint(answer.text)))


def item_from_dict(value: dict[str, Any]) -> ReviewItem:
    """Return the item that a plain dictionary spells out; raises KeyError or TypeError when it is none."""
    return ReviewItem(
        **{
            **value,
            "messages": tuple(value["messages"]),
            "answers": tuple(ItemAnswer(**answer) for answer in value["answers"]),
            "ranks": tuple(value["ranks"]),
            "tags": tuple(value["tags"]),
        }
    )


def _item(
    kind: ItemKind,
    prompt_id: str,
    messages: Sequence[Message],
    answers: tuple[ItemAnswer, ...],
    place: str,
    tags: Sequence[str],
    principle: str | None = None,
) -> ReviewItem:
    turns: tuple[Message, ...] = tuple({"role": turn["role"], "content": turn["content"]} for turn in messages)
    key = item_key(kind, turns, [answer.text for answer in answers], principle)
    return ReviewItem(key, kind, prompt_id, turns, answers, place, principle, tags=tuple(tags))
