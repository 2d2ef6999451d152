"""What judges are asked about: a prompt with two answers, and how likely people find the first the better one.

Items come from everything that `cai.data.examples` reads as pairs. The label is the probability that the first answer
is better: 1, less where people were not of one mind, and 0.5 for a tie, which stays one.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any

import orjson

from cai.core.errors import InputError
from cai.core.identity import draw
from cai.core.records import Comparison, Message, Prompt
from cai.core.words import Text
from cai.data.columns import ABOUT
from cai.data.examples.tables import Example
from cai.data.rows import BrokenRow

MODEL_COLUMNS = ("chosen_model", "rejected_model")
"""Columns that name who wrote the better and the worse answer."""

PRINCIPLE = "principle"
"""Column that names the principle, by its id, under which the label holds; without it one is drawn."""

BESIDE = (*ABOUT, "tags", PRINCIPLE, *MODEL_COLUMNS)
"""Columns beside pairs that a bench reads."""

FIRST, SECOND = "answer:0", "answer:1"


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """A prompt and its answers; `target` is the probability, by its label, that the first answer is the better one.

    `id` is the item's place in the data (`pairs.jsonl:12`), `ordinal` its place among the items that are drawn.
    `subset` is the part of the data that it is of, `models` who wrote the answers, `principle` which one the label is
    about, as far as the data says so.
    """

    id: str
    ordinal: int
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    target: float
    subset: str | None = None
    models: tuple[str | None, ...] = (None, None)
    tags: tuple[str, ...] = ()
    principle: str | None = None

    @property
    def is_tie(self) -> bool:
        """Whether the label prefers neither."""
        return self.target == 0.5

    @property
    def prompt(self) -> Prompt:
        """The item as the pipeline carries it."""
        return Prompt(self.id, self.ordinal, self.messages, self.tags)

    @property
    def comparison(self) -> Comparison:
        """The item as a judge is shown it; a is the first answer."""
        first, second = self.answers
        return Comparison(self.messages, first, second, FIRST, SECOND)

    @property
    def longer(self) -> int | None:
        """Which answer has more words, 0 or 1; None where they have as many."""
        first, second = (len(Text(answer).words) for answer in self.answers)
        return None if first == second else int(second > first)


@dataclass(frozen=True, slots=True)
class LabelledItems:
    """The items that are asked about, in the order in which they were drawn.

    `found` is how many there were to draw from, `fingerprint` names the content of all of them. `left_out` counts the
    rows that give none, by cause.
    """

    items: tuple[LabelledItem, ...]
    found: int
    fingerprint: str
    left_out: Mapping[str, int]
    subset_column: str | None


def read_items(
    examples: Iterator[Example | BrokenRow], principles: Collection[str], limit: int | None, seed: int, name: str
) -> LabelledItems:
    """Return the items of pairs, in an order drawn from the seed, so that a larger limit goes on from a smaller one.

    Those about a principle that is not among `principles` are left out. Raises InputError where there is none, or none
    of them has a label that prefers one of the answers.
    """
    found: list[Example] = []
    left_out: Counter[str] = Counter()
    for example in examples:
        if isinstance(example, BrokenRow):
            left_out[example.cause.partition(" (")[0]] += 1
        elif (about := _word(example.about.get(PRINCIPLE))) is not None and about not in principles:
            left_out[f"the constitution has no principle {about}"] += 1
        else:
            found.append(example)
    column = _subset_column(found)
    names = _names(found)
    items = [_item(example, called, column) for example, called in zip(found, names, strict=True)]
    if not any(not item.is_tie for item in items):
        told = f": {left_out.most_common(1)[0][0]}" if left_out else ""
        raise InputError(f"{name} holds no pair of which it is known which answer is better{told}.")
    digest = blake2b(digest_size=8)
    for item in items:
        digest.update(orjson.dumps(asdict(item)))
    drawn = sorted(items, key=lambda item: draw(seed, item.id, "bench"))[:limit]
    chosen = tuple(replace(item, ordinal=place) for place, item in enumerate(drawn))
    return LabelledItems(chosen, len(items), digest.hexdigest(), dict(left_out.most_common()), column)


def _names(found: Sequence[Example]) -> Iterator[str]:
    """Yield a name an example: its place, with a number behind the first of a place."""
    seen: Counter[str] = Counter()
    for example in found:
        seen[example.place] += 1
        yield example.place if seen[example.place] == 1 else f"{example.place}#{seen[example.place]}"


def _subset_column(found: Sequence[Example]) -> str | None:
    """Return the first column that tells parts of the data apart."""
    for column in ("subset", "category", "domain", "source", "dataset", "language"):
        if len({str(example.about.get(column)) for example in found}) > 1:
            return column
    return None


def _item(example: Example, name: str, column: str | None) -> LabelledItem:
    values, about = example.values, example.about
    target, answers = values["chosen_probability"], (_text(values["chosen"]), _text(values["rejected"]))
    models = tuple(_word(about.get(column)) for column in MODEL_COLUMNS)
    if target < 0.5:
        target, answers, models = 1.0 - target, answers[::-1], models[::-1]
    tags = about.get("tags")
    return LabelledItem(
        id=name,
        ordinal=0,
        messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in values["prompt"]),
        answers=answers,
        target=target,
        subset=None if column is None else _word(about.get(column)) or "none",
        models=models,
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list | tuple) else (),
        principle=_word(about.get(PRINCIPLE)),
    )


def _text(turns: Sequence[Mapping[str, Any]]) -> str:
    return str(turns[0]["content"])


def _word(value: object) -> str | None:
    return None if value in (None, "") else str(value)


def read_item(value: Mapping[str, Any]) -> LabelledItem:
    """Return an item from what JSON says; raises KeyError or TypeError when it is none."""
    lists = ("messages", "answers", "models", "tags")
    return LabelledItem(**{**value, **{name: tuple(value[name]) for name in lists}})
