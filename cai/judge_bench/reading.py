"""From a data set to items: pairs, several answers of which some are best, and questions with options.

What a data set is, its columns say: `corrects` and `incorrects` beside a prompt are options, as in the files of
Constitutional AI (arXiv 2212.08073, section 5.2); ranked answers are a best of several; an answer with a `score` is a
single one of which it is known how good it is; everything else is pairs. Of a run or an evaluation the labels are what
people said of it (`cai.annotation`), and never what its judge said.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import Any

import orjson

from cai.annotation.index import open_items
from cai.annotation.kinds import ItemKind
from cai.annotation.labels import read_labels
from cai.annotation.places import find_place
from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import draw
from cai.core.mark import kind_of_any
from cai.core.paths import expand
from cai.core.records import Message
from cai.data.columns import ABOUT, METADATA, REFERENCE
from cai.data.drafts import read_references
from cai.data.examples.opening import can_give, open_examples
from cai.data.examples.shaping import ExampleKind
from cai.data.examples.tables import Example, open_table
from cai.data.rows import BadRowError, BrokenRow, RawSource, broken, text_of
from cai.data.rubrics import read_rubric
from cai.judge_bench.items import LabelledItem, LabelledItems
from cai.rundir.checkout import is_run

MODEL_COLUMNS = ("chosen_model", "rejected_model")
"""Columns that name who wrote the better and the worse answer."""

PRINCIPLE = "principle"
"""Column that names the principle, by its id, under which the label holds; without it one is drawn."""

OPTIONS = ("prompt", "corrects", "incorrects")

_BESIDE = (*ABOUT, *METADATA, PRINCIPLE, *MODEL_COLUMNS)
_OPTION = re.compile(r"\s*\(?([A-Z])\)?\s*")
_MOST_OPTIONS = 26

Read = Iterator[LabelledItem | BrokenRow]


def read_items(
    data: DataSource,
    principles: Collection[str],
    limit: int | None,
    seed: int,
    *,
    split: str | None = None,
    shape: str | None = None,
) -> tuple[LabelledItems, tuple[str, ...]]:
    """Return the items of a data set, in an order drawn from the seed, and remarks on how it is read.

    A larger limit goes on from a smaller one. Labels about a principle that is not among `principles` are left out.
    Raises InputError where there is no item, or none whose label prefers an answer.
    """
    read, remarks = _open(data, split, shape)
    found: list[LabelledItem] = []
    left_out: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for item in read:
        if isinstance(item, BrokenRow):
            left_out[item.cause.partition(" (")[0]] += 1
        elif item.principle is not None and item.principle not in principles:
            left_out[f"the constitution has no principle {item.principle}"] += 1
        else:
            seen[item.id] += 1
            found.append(item if seen[item.id] == 1 else replace(item, id=f"{item.id}#{seen[item.id]}"))
    if all(item.is_tie for item in found):
        told = f": {left_out.most_common(1)[0][0]}" if left_out else ""
        raise InputError(f"{data} holds nothing of which it is known which answer is better{told}.")
    column = next((name for name in _SUBSETS if len({item.parts.get(name) for item in found}) > 1), None)
    digest = blake2b(digest_size=8)
    for item in found:
        digest.update(orjson.dumps(asdict(item)))
    drawn = sorted(found, key=lambda item: draw(seed, item.id, "bench"))[:limit]
    items = tuple(
        replace(item, ordinal=place, subset=None if column is None else item.parts.get(column, "none"), parts={})
        for place, item in enumerate(drawn)
    )
    return LabelledItems(items, len(found), digest.hexdigest(), dict(left_out.most_common()), column), remarks


_SUBSETS = ("subset", "category", "domain", "source", "dataset", "language")
"""Columns that may tell parts of a data set apart; the first with several values does."""


def _open(data: DataSource, split: str | None, shape: str | None) -> tuple[Read, tuple[str, ...]]:
    if is_run(data) or (not data.is_url and kind_of_any(expand(data.reveal())) == "evaluation"):
        return _said_by_people(data), ()
    table = open_table(data, split, "ranked", shape)
    if shape is None and all(set(OPTIONS) <= set(source.columns) for source in table.sources):
        told = f"{table.name} is read as questions with options: {', '.join(OPTIONS)}"
        return (item for source in table.sources for item in _questions(source)), (told,)
    kind: ExampleKind = next((one for one in _KINDS if can_give(table, one)), "pairs")
    examples = open_examples(data, kind, split=split, shape=shape, purpose="a bench of judges")
    read = (one if isinstance(one, BrokenRow) else _made(kind, one) for one in examples.examples(_BESIDE))
    beside = [name for name in _BESIDE if any(name in source.columns for source in table.sources)]
    also = (f"beside them are read: {', '.join(beside)}",) if beside else ()
    return read, (*examples.remarks, *also)


def _said_by_people(data: DataSource) -> Read:
    """Yield the pairs of a run or an evaluation of which people said which answer is better, with their votes as label.

    What its judge says of them is no label.
    """
    place = find_place(data)
    labels = read_labels(place)
    kinds: tuple[ItemKind, ...] = ("pair",)
    with open_items(place, kinds) as index:
        for entry in index.entries("pair"):
            item = index.find(entry.key)
            if item is None:
                continue
            first, second = item.answers
            label = labels.pair(item.messages, first.text, second.text)
            if label is None:
                yield broken(item.place, "nobody has said which answer is better", first.text)
                continue
            answers = (first, second) if label.probability >= 0.5 else (second, first)
            yield LabelledItem(
                id=f"{item.place}:{item.key}",
                ordinal=0,
                messages=item.messages,
                answers=tuple(answer.text for answer in answers),
                target=max(label.probability, 1 - label.probability),
                models=tuple(answer.model for answer in answers),
                tags=item.tags,
            )


_KINDS: tuple[ExampleKind, ...] = ("ranked", "pairs", "scored")
"""What items are made of, what says most first."""


def _made(kind: ExampleKind, example: Example) -> LabelledItem | BrokenRow:
    """Return the item of an example, or why there is none."""
    make = {"ranked": _ranked, "pairs": _pair, "scored": _single}[kind]
    try:
        return make(example)
    except BadRowError as error:
        return broken(example.place, str(error), str(example.values["prompt"][-1]["content"]))


def _single(example: Example) -> LabelledItem:
    item = _item(example, (_text(example.values["completion"]),), 1.0, 1, (None,))
    return replace(item, scores=(float(example.values["score"]),))


def _pair(example: Example) -> LabelledItem:
    values = example.values
    target, answers = values["chosen_probability"], (_text(values["chosen"]), _text(values["rejected"]))
    models = tuple(_word(example.about.get(column)) for column in MODEL_COLUMNS)
    if target < 0.5:
        target, answers, models = 1.0 - target, answers[::-1], models[::-1]
    return _item(example, answers, target, 1, models)


def _ranked(example: Example) -> LabelledItem:
    """Return the best answers first, those of rank 1, then all others; two of one rank are a tie."""
    answers = example.values["answers"]
    best = sum(answer["rank"] == 1 for answer in answers)
    texts = tuple(_text(answer["completion"]) for answer in answers)
    if best == len(answers) > 2:
        raise BadRowError("all answers have one rank")
    if len(set(texts)) < len(texts):
        raise BadRowError("two of the answers are the same")
    models = tuple(answer["model"] for answer in answers)
    item = _item(example, texts, 0.5 if best == len(answers) else 1.0, min(best, len(answers) - 1), models)
    scores = [answer["score"] for answer in answers]
    return item if None in scores else replace(item, scores=tuple(map(float, scores)))


def _item(
    example: Example, answers: tuple[str, ...], target: float, right: int, models: tuple[str | None, ...]
) -> LabelledItem:
    about, tags = example.about, example.about.get("tags")
    references = read_references(about.get(REFERENCE))
    return LabelledItem(
        id=example.place,
        ordinal=0,
        messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in example.values["prompt"]),
        answers=answers,
        target=target,
        right=right,
        models=models,
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list | tuple) else (),
        principle=_word(about.get(PRINCIPLE)),
        reference=references[0] if references else None,
        rubric=read_rubric(about),
        name=_word(about.get("id")),
        parts={name: told for name in _SUBSETS if (told := _word(about.get(name))) is not None},
    )


def _questions(source: RawSource) -> Read:
    columns = (*OPTIONS, *(name for name in _SUBSETS if name in source.columns))
    for row in source.rows(columns):
        if isinstance(row, BrokenRow):
            yield row
            continue
        try:
            prompt = row.values.get("prompt")
            if not isinstance(prompt, str) or not prompt.strip():
                raise BadRowError("there is no prompt")
            corrects, incorrects = (_options(row.values.get(name), name) for name in OPTIONS[1:])
            if set(corrects) & set(incorrects) or not 2 <= len(corrects) + len(incorrects) <= _MOST_OPTIONS:
                raise BadRowError("the options are no two or more different letters")
            yield LabelledItem(
                id=row.place,
                ordinal=0,
                messages=({"role": "user", "content": prompt},),
                answers=(*corrects, *incorrects),
                target=1.0,
                right=len(corrects),
                models=(None,) * (len(corrects) + len(incorrects)),
                options=True,
                parts={name: told for name in _SUBSETS if (told := _word(row.values.get(name))) is not None},
            )
        except BadRowError as error:
            yield broken(row.place, str(error), text_of(row.values))


def _options(value: object, column: str) -> list[str]:
    """Return options as the letters that name them, without the space and the brackets that files have around them."""
    found = (
        [_OPTION.fullmatch(one) if isinstance(one, str) else None for one in value] if isinstance(value, list) else []
    )
    if not found or None in found:
        raise BadRowError(f"the {column} are no options such as (A)")
    return [match[1] for match in found if match is not None]


def _text(turns: Sequence[Mapping[str, Any]]) -> str:
    return str(turns[0]["content"])


def _word(value: object) -> str | None:
    return None if value in (None, "") else str(value)
