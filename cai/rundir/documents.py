"""Small JSON documents that say what a directory is (run.json, a stage's record); what is wrong is told in a phrase.

A document ends in a checksum of the rest, so that a changed letter is noticed. People may read documents and lay them
out anew; who edits one has damaged it.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from cai.core.paths import open_file

LONGEST = 64 * 2**20
"""Bytes: a constitution of 5,000 principles takes three million."""

_CHECKSUM = "crc32"
_MOST = 2**63 - 1


Word = TypeVar("Word", bound=str)


class DocumentError(ValueError):
    """What is wrong with a document, as a phrase that goes on from its name: `is empty`."""


def read_bounded(path: Path) -> bytes:
    """Return what a file holds; raises OSError, and DocumentError when it is too long for a document."""
    with open_file(path) as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise DocumentError(f"is longer than {LONGEST / 2**20:.0f} MB")
    return data


def make_document(values: Mapping[str, Any]) -> bytes:
    """Return the bytes of a document of entries that JSON can say, one of them its `format`."""
    rest = {name: value for name, value in values.items() if name != _CHECKSUM}
    return orjson.dumps({**rest, _CHECKSUM: _checksum(rest)}, option=orjson.OPT_INDENT_2) + b"\n"


def parse_document(data: bytes, known: int) -> "Fields":
    """Return what a document says, whose format must be the `known` one; raises DocumentError."""
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DocumentError("is empty" if not data.strip() else f"is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise DocumentError("holds no object")
    if type(values.get("format")) is int and values["format"] != known:
        raise DocumentError(f"has format {values['format']}, this cai reads format {known}; use the cai that wrote it")
    found = values.pop(_CHECKSUM, None)
    try:
        is_whole = found == _checksum(values)
    except TypeError as error:  # more levels than can be written
        raise DocumentError(f"cannot be taken over ({error})") from error
    if not is_whole:
        raise DocumentError("is not as it was written")
    return Fields(values)


def _checksum(values: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(orjson.dumps(values)):08x}"


@dataclass(frozen=True, slots=True)
class Fields:
    """The entries of an object; every method raises DocumentError when one is not what it should be."""

    values: Mapping[str, Any]

    def require(self, names: Sequence[str]) -> None:
        """Require these entries and no others."""
        for name in names:
            self._get(name)
        for name in self.values:
            if name not in names:
                raise DocumentError(f"has an entry {name[:100]!r} that this cai does not know")

    def text(self, name: str) -> str:
        """Return a text."""
        value: str = self._of(name, str, "text")
        return value

    def one_of(self, name: str, known: Sequence[Word]) -> Word:
        """Return one of these texts."""
        value = self._get(name)
        for word in known:
            if value == word:
                return word
        raise DocumentError(f"has none of {', '.join(known)} under {name!r}")

    def time(self, name: str) -> str:
        """Return a moment, as ISO 8601 spells it."""
        value = self.text(name)
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise DocumentError(f"has no moment under {name!r}") from error
        return value

    def truth(self, name: str) -> bool:
        """Return true or false."""
        value: bool = self._of(name, bool, "true or false")
        return value

    def count(self, name: str) -> int:
        """Return a number of things, below 2**63."""
        value = self._get(name)
        if type(value) is not int or not 0 <= value <= _MOST:
            raise DocumentError(f"has no number of things under {name!r}")
        return value

    def words(self, name: str) -> dict[str, str]:
        """Return an object of texts."""
        values = dict(self.fields(name).values)
        if not all(isinstance(value, str) for value in values.values()):
            raise DocumentError(f"has something other than texts under {name!r}")
        return values

    def fields(self, name: str) -> "Fields":
        """Return an object."""
        value: dict[str, Any] = self._of(name, dict, "object")
        return Fields(value)

    def list_of_fields(self, name: str) -> "list[Fields]":
        """Return a list of objects."""
        values: list[Any] = self._of(name, list, "list")
        if not all(isinstance(value, dict) for value in values):
            raise DocumentError(f"has something other than objects under {name!r}")
        return [Fields(value) for value in values]

    def _of(self, name: str, kind: type, called: str) -> Any:
        value = self._get(name)
        if not isinstance(value, kind):
            raise DocumentError(f"has no {called} under {name!r}")
        return value

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise DocumentError(f"has no entry {name!r}")
        return self.values[name]
