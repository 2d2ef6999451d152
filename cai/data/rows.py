"""What a source has before anything is made of it: rows of raw columns, each with its place.

Text stays text: no type is inferred anywhere. CSV and plain text have nothing but strings, JSON has what it says, and
tables have what their columns are. What a row means is for its reader to say (`cai.data.drafts`, `cai.data.examples`).
"""

import os
import reprlib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

import orjson

from cai.core.errors import InputError

RAW_LIMIT = 500
"""Characters kept of the text of a row that could not be used."""

REPLACEMENT = "\ufffd"
"""What decoders put where bytes were no character."""


class BadRowError(ValueError):
    """One row cannot be used; the message is the reason."""


class RawRow(NamedTuple):
    """The columns asked for, as the source had them; `place` is like `a.jsonl:12`. A column may be missing or None."""

    place: str
    values: Mapping[str, object]


class BrokenRow(NamedTuple):
    """A row that cannot be used: where it is, why, and the beginning of its text.

    What a cause has in parentheses is about this one row.
    """

    place: str
    cause: str
    raw: str


class RawSource(Protocol):
    """Something that has rows; each call of `rows` reads them from the beginning, in the same order."""

    @property
    def name(self) -> str:
        """What places in it are called; it can be printed."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the content, wherever it lies."""

    @property
    def size(self) -> int | None:
        """How many rows there are, or None when counting would cost as much as reading."""

    @property
    def columns(self) -> Mapping[str, int | None]:
        """The columns in their order, and in how many rows each has something (None: not counted)."""

    @property
    def remark(self) -> str | None:
        """What a person must know of how it is read (`was read as CP949`), or None."""

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read these columns of every row, and no other; raises InputError when reading has to stop."""


def broken(place: str, cause: str, raw: str | bytes) -> BrokenRow:
    """Return a row that cannot be used, its text cut to RAW_LIMIT characters that can be written as UTF-8."""
    if isinstance(raw, bytes):
        raw = raw[: 4 * RAW_LIMIT].decode("utf-8", "replace")
    kept = raw.rstrip("\r\n")[:RAW_LIMIT]
    return BrokenRow(place, cause, kept.encode("utf-8", "backslashreplace").decode())


def text_of(value: object) -> str | bytes:
    """Return what a value that could not be used looks like, for people."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # nested too deeply to be written, though not to be read, or half a surrogate pair
        return reprlib.repr(value)


def is_something(value: object) -> bool:
    """Tell whether a cell holds anything at all."""
    return value is not None and value != "" and value != [] and value != {}


def file_state(status: os.stat_result) -> tuple[int, ...]:
    """Return what is another once somebody has written to a file, or put another in its place."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def changed(name: str) -> InputError:
    """Return what is told of a file whose content is not what it was when it was opened."""
    return InputError(
        f"{name} was changed while it was read, so its rows may be of both; leave it as it is while a command reads it."
    )


def check_text(text: str) -> str:
    """Return the text; raises BadRowError when it is no whole text."""
    if text.isascii():
        return text
    if text.rstrip().endswith(REPLACEMENT):
        raise BadRowError("a text ends in U+FFFD: it was cut inside a character before it came here")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRowError("a text has half a surrogate pair, which is no character") from error
    return text
