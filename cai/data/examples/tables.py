"""Examples from tables: files, directories of files, saved `datasets`, URLs and the hub; none of cai's own runs.

They are read as prompts are (`cai.data`): text is text. In a directory, and in a dataset of several splits, what is
called test, validation, dev or eval is held out; with splits of other names the user says which is meant.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.paths import expand
from cai.data.columns import tell_columns
from cai.data.examples.shaping import PLAIN_COLUMNS, ExampleKind, Layout, RowShape
from cai.data.finding import files_in, kind_of, printable
from cai.data.formats import FORMATS, open_file, suffix_of
from cai.data.opening import choose_split
from cai.data.remote import fetch
from cai.data.rows import BadRowError, BrokenRow, RawSource, broken, text_of
from cai.data.shapes.recognising import ShapedSource, shaped

_HELD_OUT = re.compile(r"(test|validation|valid|dev|eval)(?![A-Za-z])", re.IGNORECASE)


class Example(NamedTuple):
    """One example in its layout's columns, and where it is from (`pairs.jsonl:12`, `runs/x:PROMPT`).

    `held_out`: whether those who made the data keep it for testing; None where they do not say.
    """

    place: str
    values: Mapping[str, Any]
    held_out: bool | None
    about: Mapping[str, Any] = MappingProxyType({})
    """What else was asked for and stands beside it: a source, tags, who wrote which answer."""


@dataclass(frozen=True, slots=True)
class ExampleTable:
    """Sources of rows to learn from; those at the places in `held_out` are kept apart by whoever made them."""

    name: str
    sources: Sequence[RawSource]
    held_out: frozenset[int]
    left_out: str | None = None
    """A line about files beside the sources that are not read."""


class TableExamples:
    """The examples of a table."""

    def __init__(self, table: ExampleTable, kind: ExampleKind, shapes: Sequence[RowShape]) -> None:
        """`shapes` say how the rows of each source become examples of the kind, all of one layout."""
        self.name = table.name
        self.kind = kind
        self.layout: Layout = shapes[0].layout
        self.distinct = any(shape.distinct for shape in shapes)
        self._table = table
        self._shapes = shapes

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the content and the layout, wherever it lies."""
        return fingerprint([source.fingerprint for source in self._table.sources])

    @property
    def size(self) -> int | None:
        """How many rows there are, or None when nobody counted."""
        sizes = [source.size for source in self._table.sources]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person must know of how the table is read, a line each."""
        return self.remarks_with(())

    def remarks_with(self, also: Collection[str]) -> tuple[str, ...]:
        """Return the remarks where the columns of `also` are read beside the examples'."""
        sources = self._table.sources
        told = [f"{source.name} {source.remark}" for source in sources if source.remark is not None]
        # Those of a known layout say themselves what they do not read.
        own = [
            ((*shape.used, *(set(also) & set(source.columns))), source)
            for shape, source in zip(self._shapes, sources, strict=True)
            if _is_plain(source)
        ]
        columns = tell_columns([used for used, _ in own], [source for _, source in own], PLAIN_COLUMNS)
        used = None if columns is None else f"{self.name}: {columns}"
        return (*told, *(line for line in (used, self._table.left_out) if line is not None))

    def examples(self, also: Collection[str] = ()) -> Iterator[Example | BrokenRow]:
        """Yield every row's examples, or why it gives none; what it has in the columns of `also` stands beside them."""
        own_split = bool(self._table.held_out)
        for number, (source, shape) in enumerate(zip(self._table.sources, self._shapes, strict=True)):
            held_out = number in self._table.held_out if own_split else None
            beside = [name for name in also if name in source.columns]
            for row in source.rows((*shape.used, *(name for name in beside if name not in shape.used))):
                if isinstance(row, BrokenRow):
                    yield row
                    continue
                try:
                    for example in shape.examples(row.values, row.place):
                        about = {name: row.values.get(name) for name in beside}
                        yield Example(row.place, example, held_out, about)
                except BadRowError as error:
                    yield broken(row.place, str(error), text_of(row.values))


def open_table(
    named: DataSource, split: str | None, kind: ExampleKind | None = None, shape: str | None = None
) -> ExampleTable:
    """Open what `named` names, in the layout that it has (`cai.data.shapes`) and that gives the kind (None: any).

    Raises InputError when it cannot be read as a table with rows, or a `shape` was asked for that it does not have.
    """
    source = printable(str(named)) or "''"
    try:
        place, elsewhere = named.reveal(), None
        if named.is_url:
            copy, elsewhere = fetch(str(named), tuple(FORMATS))
            place = str(copy)
        found = kind_of(place)
        path = expand(place)
        if found == "file":
            table = ExampleTable(source, [open_file(path, printable(path.name))], frozenset())
        elif found == "directory":
            table = _open_directory(path, source)
        elif found in ("saved", "hub"):
            # Only here, because datasets takes seconds to import.
            from cai.data.hub import downloaded_splits, saved_splits  # noqa: PLC0415

            splits = saved_splits(path, source) if found == "saved" else downloaded_splits(place)
            table = _choose_splits(splits, split, source)
        else:
            raise InputError(f"There is no file, directory or run {source}.")
    except OSError as error:
        # Sources say their own; this is about names: too long, in a directory that is closed.
        raise InputError(f"{source[:200]} cannot be opened: {error.strerror}.") from error
    if all(opened.size == 0 for number, opened in enumerate(table.sources) if number not in table.held_out):
        raise InputError(f"{source} is empty: it holds no rows.")
    filled = [number for number, opened in enumerate(table.sources) if opened.size != 0]
    held_out = frozenset(place for place, number in enumerate(filled) if number in table.held_out)
    sources = [shaped(table.sources[number], shape, kind) for number in filled]
    return ExampleTable(source, sources, held_out, elsewhere or table.left_out)


def has_splits(source: DataSource) -> bool:
    """Return whether --split can mean anything for the source: it is a saved dataset, or no path at all."""
    if source.is_url:
        return suffix_of(str(source)) is None
    try:
        return kind_of(source.reveal()) in ("saved", "hub", None)
    except OSError:
        return True  # whoever opens it says what is wrong


def _is_plain(source: RawSource) -> bool:
    return not isinstance(source, ShapedSource)


def _open_directory(directory: Path, name: str) -> ExampleTable:
    files, left_out = files_in(directory)
    if not files:
        raise InputError(
            f"{name} is neither a run nor a saved dataset, and no file in it can be read ({', '.join(FORMATS)})."
        )
    kinds = sorted({str(suffix_of(file.name)) for file in files.values()})
    if len({kind.removesuffix(".gz") for kind in kinds}) > 1:
        raise InputError(f"{name} holds files of several kinds ({', '.join(kinds)}); name those you mean one by one.")
    held_out = frozenset(number for number, file in enumerate(files.values()) if _HELD_OUT.match(file.name))
    sources = [open_file(file, called) for called, file in files.items()]
    return ExampleTable(name, sources, held_out if len(held_out) < len(sources) else frozenset(), left_out)


def _choose_splits(splits: Mapping[str, Callable[[], RawSource]], split: str | None, name: str) -> ExampleTable:
    if split is not None or len(splits) == 1:
        return ExampleTable(name, [splits[choose_split(list(splits), split, name)]()], frozenset())
    others = [known for known in splits if not _HELD_OUT.match(known)]
    if len(others) != 1:
        choose_split(list(splits), None, name)
    return ExampleTable(
        name,
        [open_split() for open_split in splits.values()],
        frozenset(number for number, known in enumerate(splits) if known not in others),
    )
