"""What a public set is: who made it, under which licence, what its files look like, and how a row becomes a prompt.

A row's facts are tags of its prompt: `set:NAME`, `harmful` or `benign` where the set says so, `category:…`, and what
its scoring needs (`label:B`). So they are kept with the answers, wherever these go.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from cai.core.identity import fingerprint
from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import Row

SET, CATEGORY = "set:", "category:"
"""How the tags begin that name a prompt's set and its group within it."""

HARMFUL, BENIGN = "harmful", "benign"


@dataclass(frozen=True, slots=True)
class Layout:
    """One form in which a set's rows come.

    A source has it when all columns of `needs` are there and none of `without`; where `alone`, no other is there.
    `prompt` and `tags` read a row, the tags also the file's name, and `id` what names a row within its set (None: its
    content does); they raise BadRowError where it cannot be used. `reads` are further columns that these look at.
    `sides` are words of which the file's name must have just one, for there is no column that says it.
    """

    needs: tuple[str, ...]
    prompt: Callable[[Row], object]
    tags: Callable[[Row, str], Iterator[str]]
    id: Callable[[Row, str], str | None] | None = None
    reads: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    alone: bool = False
    sides: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read where they are there."""
        return tuple(dict.fromkeys((*self.needs, *self.reads)))

    def fits(self, columns: Collection[str]) -> bool:
        """Tell whether a source with these columns may have the layout."""
        enough = set(self.needs) <= set(columns) and not set(self.without) & set(columns)
        return enough and (not self.alone or set(columns) == set(self.needs))


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One public set, as its authors published it.

    `version` is the one that the descriptor was written for, `rows` how many rows its published files have, a number a
    file or for all together. `source` is where the files are, `scored` a phrase on how its answers are scored.
    `elsewhere` says what reads the set instead, where its rows are no prompts.
    """

    name: str
    title: str
    version: str
    rows: tuple[int, ...]
    licence: str
    citation: str
    source: str
    layouts: tuple[Layout, ...]
    scored: str
    elsewhere: str | None = None

    @property
    def tag(self) -> str:
        """What every prompt of the set is tagged with."""
        return f"{SET}{self.name}"

    def layout(self, columns: Collection[str]) -> Layout | None:
        """Return the layout that a source with these columns has, None where it is no file of the set."""
        return next((layout for layout in self.layouts if layout.fits(columns)), None)

    def as_json(self) -> dict[str, str]:
        """Return what a record of the set's use needs."""
        names = ("name", "title", "version", "licence", "citation", "source")
        return {name: str(getattr(self, name)) for name in names}


def row_id(layout: Layout, row: Row, file: str, prompt: object) -> str:
    """Return what names a row within its set: what its columns say, or its content."""
    own = None if layout.id is None else layout.id(row, file)
    return fingerprint(prompt) if own is None else own


def category(value: object) -> Iterator[str]:
    """Yield the tag of a group, if there is one; its name stays as it is."""
    if isinstance(value, str | int) and str(value).strip():
        yield f"{CATEGORY}{str(value).strip()}"


def of_prefix(tags: Collection[str], prefix: str) -> str | None:
    """Return what follows a prefix in the first tag that begins with it."""
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)


def mapping(row: Row, column: str) -> Mapping[str, object]:
    """Return the object in a column; raises BadRowError where there is none."""
    value = row.get(column)
    if not isinstance(value, Mapping):
        raise BadRowError(f"the column {column} is no object but of type {type(value).__name__}")
    return value
