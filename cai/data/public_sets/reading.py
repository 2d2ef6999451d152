"""A public set's file as a source of prompts, and how the set is named before the place: `xstest:FILE`."""

import re
from collections.abc import Collection, Iterator, Mapping

from cai.core.addresses import DataSource
from cai.core.counts import counted
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.paths import expand
from cai.data.columns import RUBRIC_COLUMNS, listed
from cai.data.public_sets import PUBLIC_SETS
from cai.data.public_sets.descriptor import Layout, PublicSet, row_id
from cai.data.rows import BadRowError, BrokenRow, RawRow, RawSource, broken, text_of

_NAMED = re.compile(r"([A-Za-z][\w-]+):(?!//)(.+)", re.DOTALL)
_PROMPT, _ID, _TAGS = "prompt", "id", "tags"


def named_set(source: DataSource) -> tuple[PublicSet, DataSource] | None:
    """Return the set that is named before a place, and the place; None where none is.

    Raises InputError for a set that is none, or whose rows are no prompts.
    """
    found = _NAMED.fullmatch(source.reveal())
    if found is None:
        return None
    name, place = found.groups()
    known = PUBLIC_SETS.get(name)
    if known is None:
        if expand(source.reveal()).exists():
            return None
        raise InputError(
            f"There is no file {source}, and no public set {name!r} to read one of; there are {', '.join(PUBLIC_SETS)}."
        )
    if known.elsewhere is not None:
        raise InputError(f"{known.title} is no set of prompts: {known.elsewhere}.")
    return known, DataSource.parse(place)


class PublicSource:
    """The rows of a set's file as prompts with ids and tags; see `RawSource`."""

    def __init__(self, source: RawSource, public: PublicSet) -> None:
        """Raise InputError where the source is no file of the set: the message says what it is instead."""
        layout = public.layout(source.columns)
        if layout is None:
            raise InputError(_other_file(source, public))
        if layout.sides and sum(side in source.name.lower() for side in layout.sides) != 1:
            sides = " and ".join(layout.sides)
            raise InputError(
                f"{source.name} does not say which side of {public.title} it has, and no column does: keep the names "
                f"under which its files are published, which have the words {sides}."
            )
        self.name = source.name
        self.fingerprint = fingerprint([source.fingerprint, public.name])
        self.size = source.size
        self.public = public
        self._rubrics = [name for name in RUBRIC_COLUMNS if name in layout.needs]
        self.columns: Mapping[str, int | None] = dict.fromkeys((_PROMPT, _ID, _TAGS, *self._rubrics))
        self._layout: Layout = layout
        self._source = source

    @property
    def remark(self) -> str:
        """Which set it is, in which version and under which licence, and what of it is not read."""
        public, source = self.public, self._source
        told = f"is {public.title} {public.version}, licence {public.licence} ({public.citation})"
        told += f"; read: {listed(name for name in self._layout.columns if name in source.columns)}"
        unread = [name for name in source.columns if name not in self._layout.columns]
        told += f"; not used: {listed(unread)}" if unread else ""
        if self.size is not None and self.size not in public.rows:
            published = " or ".join(f"{rows:,}" for rows in public.rows)
            told += f"; {counted(self.size, 'row')} of {published} that were published"
        return f"{told}; it {source.remark}" if source.remark is not None else told

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read every row, in the columns that prompts have."""
        layout, needed = self._layout, set(self._layout.columns) & set(self._source.columns)
        for row in self._source.rows(needed):
            if isinstance(row, BrokenRow):
                yield row
                continue
            try:
                prompt = layout.prompt(row.values)
                found: dict[str, object] = {
                    _PROMPT: prompt,
                    _ID: f"{self.public.name}:{row_id(layout, row.values, self.name, prompt)}",
                    _TAGS: [*layout.tags(row.values, self.name), self.public.tag],
                    **{name: row.values.get(name) for name in self._rubrics},
                }
                yield RawRow(row.place, {name: value for name, value in found.items() if name in columns})
            except BadRowError as error:
                yield broken(row.place, str(error), text_of(row.values))


def looks_like(columns: Collection[str]) -> PublicSet | None:
    """Return the set that a source with these columns is a file of; None where none, or no one alone, is."""
    found = [
        public
        for public in PUBLIC_SETS.values()
        for layout in public.layouts
        if layout.fits(columns) and not layout.alone
    ]
    return found[0] if len(found) == 1 else None


def _other_file(source: RawSource, public: PublicSet) -> str:
    """Return why a source is no file of a set, and of which it is where that can be told."""
    needs = " or ".join(", ".join(layout.needs) for layout in public.layouts)
    told = f"{source.name} is no file of {public.title}, which has the columns {needs}: its own are "
    told += listed(source.columns) or "none"
    other = looks_like(source.columns)
    return f"{told}; it looks like {other.title}: {other.name}:FILE." if other is not None else f"{told}."
