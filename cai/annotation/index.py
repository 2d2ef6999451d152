"""All items of a place, to be found by key: what says which is next is in memory, texts are in a temporary file.

Rows are read once, in their order. In memory an item takes some hundred bytes; a row's texts lie once in a file that
has no name, so that fetching an item is one read, whatever format the data has.
"""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from threading import Lock
from typing import Any, NamedTuple, Self, get_args

import orjson

from cai.annotation.items import ItemAnswer, ReviewItem
from cai.annotation.kinds import ItemKind
from cai.annotation.places import AnnotatedPlace
from cai.annotation.sources.data import items_of_data
from cai.annotation.sources.evaluations import items_of_evaluation
from cai.annotation.sources.runs import items_of_run

ALL_KINDS: tuple[ItemKind, ...] = get_args(ItemKind)


class IndexEntry(NamedTuple):
    """What is known of an item without reading its texts; `uncertainty` is the judge's, None where there is none."""

    key: str
    kind: ItemKind
    prompt_id: str
    principle: str | None
    uncertainty: float | None
    start: int
    """Where its row's texts lie in the file."""
    number: int
    """Its number among the items of the row."""


class ItemIndex:
    """The items of a place, each once, in the order of the data; to be closed, and may be used by several threads."""

    def __init__(self, rows: Iterable[list[ReviewItem]]) -> None:
        """Read all rows."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the index)
        self._end = 0
        self._lock = Lock()
        self._entries: dict[str, IndexEntry] = {}
        try:
            self.take(rows)
        except BaseException:
            self.close()
            raise

    def take(self, rows: Iterable[list[ReviewItem]]) -> None:
        """Take in the items of these rows that are not there; others may be asked for meanwhile."""
        for items in rows:
            new = [item for item in items if item.key not in self._entries]
            if not new:
                continue
            start, data = self._end, _pack(new)
            with self._lock:
                self._file.seek(start)
                self._end += self._file.write(b"%d\n%b" % (len(data), data))
            for number, item in enumerate(new):
                self._entries[item.key] = IndexEntry(
                    item.key, item.kind, item.prompt_id, item.principle, item.uncertainty, start, number
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def entries(self, kind: ItemKind | None = None) -> Iterator[IndexEntry]:
        """Yield what is known of the items of a kind, or of all, in the order of the data."""
        return (entry for entry in list(self._entries.values()) if kind in (None, entry.kind))

    def entry(self, key: str) -> IndexEntry | None:
        """Return what is known of an item without reading it, None where there is none of the key."""
        return self._entries.get(key)

    def find(self, key: str) -> ReviewItem | None:
        """Return the item of a key, None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        with self._lock:
            self._file.seek(entry.start)
            data = self._file.read(int(self._file.readline()))
        return _unpack(orjson.loads(data), entry.number)

    def close(self) -> None:
        """Let go of the texts."""
        self._file.close()


def open_items(
    place: AnnotatedPlace,
    kinds: Collection[ItemKind] = ALL_KINDS,
    *,
    shape: str | None = None,
    more: Iterable[ReviewItem] = (),
) -> ItemIndex:
    """Return the items of a run, an evaluation or data that have one of these kinds.

    `shape` names the layout of data where it cannot be told; `more` are items that lie in no row (those of feedback).
    Raises RunError or InputError when the place cannot be read.
    """
    rows = item_rows(place, kinds, shape)
    return ItemIndex(_and_more(rows, [item for item in more if item.kind in kinds]))


def item_rows(
    place: AnnotatedPlace, kinds: Collection[ItemKind], shape: str | None = None
) -> Iterator[list[ReviewItem]]:
    """Yield the items of each row of a place; raises as `open_items` does."""
    if place.kind == "run":
        return items_of_run(place.path, kinds)
    if place.kind == "evaluation":
        return items_of_evaluation(place.path, kinds)
    return items_of_data(place.source, kinds, shape)


def _and_more(rows: Iterator[list[ReviewItem]], more: Iterable[ReviewItem]) -> Iterator[list[ReviewItem]]:
    yield from rows
    yield from ([item] for item in more)


def _pack(items: list[ReviewItem]) -> bytes:
    """Return a row's items as JSON in which each text is there once."""
    first = items[0]
    texts = list(dict.fromkeys(answer.text for item in items for answer in item.answers))
    numbers = {text: number for number, text in enumerate(texts)}
    told = [
        {
            "key": item.key,
            "kind": item.kind,
            "place": item.place,
            "answers": [[numbers[answer.text], answer.source, answer.model] for answer in item.answers],
            "principle": item.principle,
            "judge": item.judge,
            "abstained": item.abstained,
            "ranks": item.ranks,
        }
        for item in items
    ]
    return orjson.dumps([first.prompt_id, first.messages, first.tags, texts, told])


def _unpack(packed: list[Any], number: int) -> ReviewItem:
    prompt_id, messages, tags, texts, told = packed
    values: Mapping[str, Any] = told[number]
    answers = tuple(ItemAnswer(texts[text], source, model) for text, source, model in values["answers"])
    return ReviewItem(
        prompt_id=prompt_id,
        messages=tuple(messages),
        tags=tuple(tags),
        **{**values, "answers": answers, "ranks": tuple(values["ranks"])},
    )
