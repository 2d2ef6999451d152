"""Files that are text, gzipped or not, and standard input: JSON (`cai.data.json_rows`), CSV and plain text.

Opening reads a file twice: for its digest and encoding, then for its rows, so that what cannot be read is said before
any work, and every column is known with how often it is filled. Nothing of it stays in memory.
"""

import gzip
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, cast
from weakref import finalize

from cai.core.errors import InputError, StoreError
from cai.core.identity import fingerprint
from cai.data import csv_rows, json_rows
from cai.data.encodings import (
    GZIP,
    Utf8File,
    line_fault,
    open_as_utf8,
    read_lines,
    require_line_feeds,
    require_text,
    survey,
)
from cai.data.rows import BrokenRow, RawRow, broken, changed, file_state, is_something

TextForm = Literal["json", "csv", "text"]

TEXT_COLUMN = "text"
"""What the one column of plain text is called."""

_JSON = re.compile(rb'\s*(\[\s*$|\[?\s*\{\s*("|\}|$))')
"""How the first line of JSON begins: with an object, with an array of them, or with the bracket of either alone."""

_COLUMN_LIMIT = 1000
"""Columns that are told apart; a file with more has values for its columns' names."""


class TextSource:
    """The rows of one text file; see `RawSource`. The places are line numbers, or in an array the rows' numbers."""

    def __init__(self, name: str, form: TextForm, open_file: Callable[[], BinaryIO]) -> None:
        """`open_file` opens the content, unpacked, from its beginning; raises InputError when it cannot be read."""
        self.name = name
        self._open = open_file
        with self._told():
            with open_file() as file:
                require_text(file, name)
            self._state = self._look()
            self._digest, self._encoding = survey(open_file)
            if form != "json":
                require_line_feeds(open_file, name)
        self.remark = None if self._encoding == "utf-8" else f"was read as {self._encoding.upper()}"
        self._form: TextForm | Literal["array"] = form
        self._start: int | None = None
        if form == "json":
            with self._reading() as file:
                is_array = json_rows.is_array(file)
            self._start = None if is_array else json_rows.find_wrapped(self._reading, name)
            self._form = "json" if self._start is None and not is_array else "array"
        self.fingerprint = fingerprint([{"json": "jsonl"}.get(self._form, self._form), self._digest])
        self.columns, self.size = self._count()

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read these columns of every row; raises InputError when the file was changed since it was opened."""
        self._require_unchanged()
        with self._reading() as file:
            yield from self._parse(file, columns)
        self._require_unchanged()

    def _look(self) -> tuple[int, ...]:
        with self._open() as file:
            return file_state(os.fstat(file.fileno()))

    def _require_unchanged(self) -> None:
        with self._told():
            if self._look() != self._state and survey(self._open)[0] != self._digest:
                raise changed(self.name)

    def _parse(self, file: Utf8File, columns: Collection[str] | None) -> Iterator[RawRow | BrokenRow]:
        """Read the rows from an open file; None stands for all columns."""
        if self._form == "csv":
            return csv_rows.rows(read_lines(file), self.name, columns)
        if self._form == "array":
            return json_rows.elements(file, self.name, columns, self._start)
        if self._form == "json":
            return json_rows.rows(read_lines(file), self.name, columns)
        return _text_rows(file, self.name)

    def _count(self) -> tuple[dict[str, int], int]:
        filled: dict[str, int] = {TEXT_COLUMN: 0} if self._form == "text" else {}
        size = objects = 0
        fault = ""
        with self._reading() as file:
            if self._form == "csv":
                filled = dict.fromkeys(csv_rows.header(read_lines(file), self.name), 0)
        with self._reading() as file:
            for row in self._parse(file, None):
                size += 1
                if isinstance(row, BrokenRow):
                    fault = fault or f"{row.place}: {row.cause}"
                    continue
                objects += 1
                for column, value in row.values.items():
                    if column in filled or len(filled) < _COLUMN_LIMIT:
                        filled[column] = filled.get(column, 0) + is_something(value)
        if size and not objects and self._form in ("json", "array"):
            unit = "line" if self._form == "json" else "element"
            raise InputError(
                f"{self.name} is not JSONL: no {unit} of it is a JSON object ({fault}); a file of plain prompts is "
                "named .txt."
            )
        return filled, size

    @contextmanager
    def _reading(self) -> Iterator[Utf8File]:
        with self._told(), open_as_utf8(self._open, self._encoding) as file:
            yield file

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what reading raises into an InputError."""
        try:
            yield
        except UnicodeDecodeError as error:
            raise InputError(f"{self.name} is not whole: {error.encoding} cannot read it ({error.reason}).") from error
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.name} cannot be read: {error}.") from error


def open_plain(path: Path, name: str) -> Callable[[], BinaryIO]:
    """Return what opens the file's content, unpacked when its name ends in .gz; raises InputError when it is not."""
    if path.suffix.lower() != ".gz":
        return lambda: path.open("rb")
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not packed:
            require_text(file, name)
            raise InputError(f"{name} cannot be read: it is not compressed with gzip, as its name says.")
    return lambda: cast("BinaryIO", gzip.open(path))


def open_stdin() -> TextSource:
    """Read standard input to its end into an unnamed temporary file; it is JSON if it begins like rows of it."""
    file = tempfile.TemporaryFile(prefix="cai-stdin-")  # noqa: SIM115 (it lives as long as the source)
    try:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
    except OSError as error:
        with suppress(OSError):
            file.close()
        raise StoreError(f"Standard input needs room for a copy in $TMPDIR: {error.strerror}.") from error

    def reopen() -> BinaryIO:
        copy = os.fdopen(os.dup(file.fileno()), "rb")
        copy.seek(0)
        return copy

    finalize(reopen, file.close)
    _, encoding = survey(reopen)
    try:
        with open_as_utf8(reopen, encoding) as copy:
            first = next((line.data for line in read_lines(copy) if not line.data.isspace()), b"")
    except UnicodeDecodeError as error:
        raise InputError(f"Standard input is not whole: {error.encoding} cannot read it ({error.reason}).") from error
    return TextSource("stdin", "json" if _JSON.match(first) else "text", reopen)


def _text_rows(file: Utf8File, name: str) -> Iterator[RawRow | BrokenRow]:
    """Read a row a line, an empty line too."""
    for line in read_lines(file):
        place = f"{name}:{line.number}"
        fault = line_fault(line)
        if fault is None:
            yield RawRow(place, {TEXT_COLUMN: line.data.decode().rstrip("\r\n")})
        else:
            yield broken(place, fault, line.data)
