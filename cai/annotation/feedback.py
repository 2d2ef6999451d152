"""Feedback of users on a deployed model, from a table into a run's annotations.

| column | what it is |
|---|---|
| `prompt`, `messages` … | the conversation, as `cai generate` reads it; needed |
| `response` | the answer that was shown, for `thumb`, `rating` and `comment` |
| `response_a`, `response_b` | two answers, for `preferred`: `a`, `b` or `tie` |
| `thumb` | up or down, as labels are read (`true`, `1`, `good` …) |
| `rating` | 1 to 5 |
| `comment` | words |
| `time` | when, in ISO 8601 with its time zone; needed |
| `user`, `model`, `model_a`, `model_b`, `id` | who said it, whose answers, and what names the row; if known |

A row may say several things. One without a user is somebody's of its own, so nobody's word replaces another's. What an
`id`, or the content, names is imported once, however often the file is. Answers that are in no row of the run are kept
as items beside the annotations, under the id of the run's prompt where it has the same one: so prompts that are held
out stay so. Rows that cannot be read are left out and told, each with its place and reason.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cai.annotation.items import ItemAnswer, ReviewItem, answer_item, pair_item
from cai.annotation.places import AnnotatedPlace
from cai.annotation.records import Annotation, parse_annotation
from cai.annotation.store import AnnotationStore
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.records import Message
from cai.data.columns import PromptColumns, find_prompt
from cai.data.examples.conversations import read_answer, read_prompt, spoken
from cai.data.examples.labels import read_label, read_number
from cai.data.finding import printable
from cai.data.formats import open_file
from cai.data.rows import BadRowError, BrokenRow, RawRow, is_something
from cai.method.steps import sourced
from cai.rundir import RunReader

COLUMNS = (
    *("response", "response_a", "response_b", "thumb", "rating", "preferred", "comment"),
    *("time", "user", "model", "model_a", "model_b", "id"),
)
_SAYS = ("thumb", "rating", "preferred", "comment")
_BATCH = 500
_SHOWN = 10
"""Rows that cannot be read, of which each is told."""


@dataclass(frozen=True, slots=True)
class ImportedFeedback:
    """How many rows there were, what was `added` by kind, what was there `before`, and why rows were left out.

    `in_run` of the annotations are about answers of the run's own.
    """

    rows: int
    added: Mapping[str, int]
    before: int
    in_run: int
    left_out: Mapping[str, int]
    examples: tuple[str, ...]


class _Said(NamedTuple):
    annotation: Annotation
    item: ReviewItem


def import_feedback(path: Path, place: AnnotatedPlace) -> ImportedFeedback:
    """Add the feedback in a table to a run's annotations.

    Raises InputError when the table cannot be read or lacks what is needed, RunError when the run cannot, StoreError
    when the disk refuses: then what was added until then is there, and the same again adds the rest.
    """
    source = open_file(path, printable(path.name))
    if not set(_SAYS) & set(source.columns) or "time" not in source.columns:
        raise InputError(
            f"{path} has the columns {', '.join(source.columns)}; feedback needs time and one of {', '.join(_SAYS)}."
        )
    prompt = find_prompt(source.columns, None, source.name)
    importing = _Importing(AnnotationStore(place), _OwnAnswers(place.path))
    for row in source.rows((*prompt.names, *(name for name in COLUMNS if name in source.columns))):
        importing.take(row, prompt)
    importing.write()
    place.publish()
    return importing.told()


class _Importing:
    """Takes rows in, and writes what they say a batch at a time."""

    def __init__(self, store: AnnotationStore, own: "_OwnAnswers") -> None:
        self._store, self._own = store, own
        self._rows = self._before = self._in_run = 0
        self._seen: Counter[str] = Counter()
        self._added: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._examples: list[str] = []
        self._waiting: list[_Said] = []

    def take(self, row: RawRow | BrokenRow, prompt: PromptColumns) -> None:
        """Take in a row; one that cannot be read is counted."""
        self._rows += 1
        try:
            if isinstance(row, BrokenRow):
                raise BadRowError(row.cause)
            turns = spoken(read_prompt(prompt.value(row.values)))
            self._waiting += list(_read(row, turns, self._own, self._seen))
        except (BadRowError, InputError) as error:
            self._leave_out(row.place, str(error).removeprefix(f"{row.place} ").removesuffix("."))
        if len(self._waiting) >= _BATCH:
            self.write()

    def write(self) -> None:
        """Write what waits, items before what is said of them."""
        self._store.add_items([one.item for one in self._waiting if not self._own.has(one.item)])
        states = self._store.append_feedback([(one.annotation, one.item) for one in self._waiting])
        for one, state in zip(self._waiting, states, strict=True):
            if state == "new":
                self._added[one.annotation.kind] += 1
                self._in_run += self._own.has(one.item)
            elif state == "there":
                self._before += 1
            else:
                self._leave_out(str(one.annotation.source), "its id names another row, which says something else")
        self._waiting = []

    def _leave_out(self, place: str, reason: str) -> None:
        self._left_out[reason] += 1
        if len(self._examples) < _SHOWN:
            self._examples.append(f"{place}: {reason}")

    def told(self) -> ImportedFeedback:
        """Return what became of the rows."""
        left_out = dict(self._left_out.most_common())
        return ImportedFeedback(
            self._rows, dict(self._added), self._before, self._in_run, left_out, tuple(self._examples)
        )


class _OwnAnswers:
    """What a run has: the id of each prompt, and its answers, by content."""

    def __init__(self, run: Path) -> None:
        self._ids: dict[str, str] = {}
        self._texts: dict[str, frozenset[str]] = {}
        for row in RunReader(run).rows():
            name = _name(row.prompt.messages)
            self._ids.setdefault(name, row.prompt.id)
            texts = {fingerprint(step.text) for trace in row.traces for _, step in sourced(trace)}
            self._texts[name] = self._texts.get(name, frozenset()) | texts

    def prompt_id(self, messages: list[Message]) -> str:
        """Return the run's id of a prompt; of one that it does not have, a name made of its content."""
        return self._ids.get(name := _name(messages), name)

    def has(self, item: ReviewItem) -> bool:
        """Tell whether all answers of an item are the run's."""
        texts = self._texts.get(_name(item.messages), frozenset())
        return all(fingerprint(answer.text) in texts for answer in item.answers)


def _name(messages: Any) -> str:
    return fingerprint([[turn["role"], turn["content"]] for turn in messages])


def _read(row: RawRow, turns: list[Message], own: _OwnAnswers, seen: Counter[str]) -> Iterator[_Said]:
    """Yield what a row says; raises BadRowError or InputError, before the first, when some of it cannot be read."""
    values = {name: value for name, value in row.values.items() if is_something(value)}
    given = values.get("id")
    content = fingerprint([turns, {name: str(values[name]) for name in COLUMNS if name in values}])
    seen[content] += 1
    name = fingerprint(["id", str(given)]) if given is not None else fingerprint([content, seen[content]])
    prompt_id = own.prompt_id(turns)
    answers = list(_answers_of(values, row.place))
    if not answers:
        raise BadRowError("it says nothing: neither thumb, rating, preferred nor comment")
    for kind, answer, columns in answers:
        shown = [ItemAnswer(_text(values, column, turns), "feedback", _model(values, column)) for column in columns]
        if kind == "comparison":
            item = pair_item(prompt_id, turns, (shown[0], shown[1]), row.place)
            if item.answers[0] is not shown[0] and answer["overall"] != "tie":
                answer = {"overall": "b" if answer["overall"] == "a" else "a"}
        else:
            item = answer_item(prompt_id, turns, shown[0], row.place)
        annotation = {
            "id": f"feedback-{kind}-{name}",
            "when": str(values.get("time", "")),
            "annotator": str(values.get("user", f"user-{name[:8]}")),
            "item": item.key,
            "kind": kind,
            "answer": answer,
            "chosen_by": "feedback",
            "model": " and ".join(one.model for one in shown if one.model) or None,
            "source": row.place,
        }
        yield _Said(parse_annotation(annotation, row.place), item)


def _answers_of(values: Mapping[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Yield the kind of each thing that a row says, the answer, and the columns of the responses that it is about."""
    if "preferred" in values:
        preferred = str(values["preferred"]).strip().lower()
        yield "comparison", {"overall": preferred}, ("response_a", "response_b")
    if "thumb" in values:
        yield "thumb", {"up": read_label(values["thumb"], place)}, ("response",)
    if "rating" in values:
        rating = read_number(values["rating"])
        whole = int(rating) if rating is not None and rating == int(rating) else values["rating"]
        yield "rating", {"rating": whole}, ("response",)
    if "comment" in values:
        yield "comment", {"text": str(values["comment"])}, ("response",)


def _text(values: Mapping[str, Any], column: str, turns: Any) -> str:
    with suppress(BadRowError):
        return str(read_answer(values.get(column), turns)[0]["content"])
    raise BadRowError(f"there is no {column}")


def _model(values: Mapping[str, Any], column: str) -> str | None:
    named = values.get(column.replace("response", "model"))
    return None if named is None else str(named)
