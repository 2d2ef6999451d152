"""Rows of JSON: an object a line (blank lines are no rows), or the objects of one array, whatever its layout.

The array is the file, or what a file that is one object has under one of the keys of WRAPPERS. It is read piece by
piece: the ends of its elements are found by their brackets, then each is parsed alone, so that a broken one is told and
the others are read.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import orjson

from cai.core.errors import InputError
from cai.data import encodings
from cai.data.encodings import TextLine, Utf8File, line_fault, read_lines
from cai.data.rows import BrokenRow, RawRow, broken

WRAPPERS = (
    *("data", "rows", "examples", "items", "records", "samples", "instances", "prompts", "train", "test"),
    "comparisons",  # ICAI's
)
"""Keys under which a file that is one object may have its rows; a row's own lists have other names."""

_CHUNK = 1 << 18

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
"""A whole string, a quote that is not closed yet, or what parts elements."""


def rows(lines: Iterator[TextLine], name: str, columns: Collection[str] | None) -> Iterator[RawRow | BrokenRow]:
    """Read these columns (None: all) of the object in every line."""
    for line in lines:
        if line.data.isspace():
            continue
        place = f"{name}:{line.number}"
        yield _row(place, line.data, columns) if line.whole else broken(place, str(line_fault(line)), line.data)


def is_array(file: Utf8File) -> bool:
    """Tell whether a file is one array, and not lines of which the first happens to be a list."""
    lines = (line for line in read_lines(file) if not line.data.isspace())
    first = next(lines, None)
    if first is None or not first.data.lstrip().startswith(b"["):
        return False
    try:
        orjson.loads(first.data)
    except orjson.JSONDecodeError:
        return True
    return next(lines, None) is None


def find_wrapped(open_file: Callable[[], AbstractContextManager[Utf8File]], name: str) -> int | None:
    """Return at which byte the array of rows begins in a file that is one object, or None where it is none.

    Raises InputError when it has several.
    """
    with open_file() as file:
        lines = (line for line in read_lines(file) if not line.data.isspace())
        first = next(lines, None)
        if first is None or not first.data.lstrip().startswith(b"{"):
            return None
        if next(lines, None) is not None and isinstance(loads(first.data), dict):
            return None
    with open_file() as file:
        found = {key: start for key, start in _arrays_of_objects(file) if key in WRAPPERS}
    if len(found) > 1:
        raise InputError(f"{name} has rows under {' and '.join(map(repr, found))}; make a file of each.")
    return next(iter(found.values()), None)


def elements(
    file: Utf8File, name: str, columns: Collection[str] | None, start: int | None = None
) -> Iterator[RawRow | BrokenRow]:
    """Read these columns (None: all) of every object in the array that is the file, or begins at a byte of it.

    Raises InputError when an element is too long to be read, and when something follows the array.
    """
    for number, (element, closed) in zip(count(1), _slices(file, name, start), strict=False):
        place = f"{name}:{number}"
        if closed:
            yield _row(place, element, columns)
        else:
            yield broken(place, "the array is not closed", element)


def loads(data: bytes) -> dict[str, Any] | str:
    """Return the JSON object in the data, or what is wrong with it.

    Numbers that no double holds are infinite, and NaN is a number, as Python's own writer has it: where they stand in a
    column that nobody reads they do no harm.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(data.decode(), parse_int=_whole)
        except UnicodeDecodeError as wrong:
            return f"the line is not UTF-8 (byte {wrong.start + 1})"
        except (ValueError, RecursionError):
            return f"the line is not valid JSON ({error})"
    if isinstance(value, dict):
        return value
    return f"the line is not a JSON object but of type {type(value).__name__}"


def _whole(digits: str) -> int | float:
    """Return a whole number as orjson reads it: beyond 64 bits as a double, which may be infinite."""
    number = float(digits)
    return int(digits) if -(2**63) <= number < 2**64 else number


def _row(place: str, data: bytes, columns: Collection[str] | None) -> RawRow | BrokenRow:
    value = loads(data)
    if not isinstance(value, dict):
        return broken(place, value, data)
    if columns is None:
        return RawRow(place, value)
    for column in columns:
        if data.count(b'"%b"' % column.encode("utf-8", "replace")) > 1:
            fault = _find_repeated(data, column)
            if fault is not None:
                return broken(place, fault, data)
    return RawRow(place, {column: value.get(column) for column in columns})


def _find_repeated(data: bytes, column: str) -> str | None:
    """Return what is wrong when the object itself has the key twice: parsers keep the last without a word."""
    repeated = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        # The outermost object is looked at last.
        repeated = sum(key == column for key, _ in pairs) > 1

    try:
        json.loads(data.decode(), object_pairs_hook=look, parse_int=_whole)
    except RecursionError:
        return "the line is nested too deeply"
    return f"the line has {column[:100]!r} twice" if repeated else None


def _slices(file: Utf8File, name: str, begin: int | None) -> Iterator[tuple[bytes, bool]]:
    """Yield the text of every element, and whether something ended it; the last, empty one is none."""
    held, start, place, depth, number = b"" if begin is None else _skip(file, begin), 0, 0, 0, 1
    while True:
        more = file.read(max(_CHUNK, len(held) - start))
        held, place, start = held[start:] + more, place - start, 0
        scanned = len(held)
        for token in _TOKEN.finditer(held, place):
            mark = token[0]
            if mark == b'"' and more:
                scanned = token.start()  # the string goes on in what is still to be read
                break
            if mark in (b"[", b"{"):
                depth += 1
                start = token.end() if depth == 1 else start
            elif mark in (b"]", b"}"):
                depth -= 1
            if depth == 0 or (depth == 1 and mark == b","):
                element = held[start : token.start()]
                if depth or number > 1 or element.strip():
                    yield element, True
                start, number = token.end(), number + 1
            if depth == 0:
                if begin is None:
                    _require_end(held[token.end() :], file, name)
                return
        place = scanned
        if not more:
            if depth:
                yield held[start:], False
            return
        if len(held) - start > encodings.LINE_LIMIT:
            raise InputError(f"{name}, row {number}, is longer than {encodings.LINE_LIMIT >> 20} MiB.")


def _skip(file: Utf8File, size: int) -> bytes:
    """Read so many bytes, and return those that were read beyond them."""
    while size and (more := file.read(min(size, _CHUNK))):
        if len(more) > size:
            return more[size:]
        size -= len(more)
    return b""


def _arrays_of_objects(file: Utf8File) -> Iterator[tuple[str, int]]:
    """Yield the keys of the object that is the file whose values are arrays of objects, and where each array begins."""
    held, offset, depth, key, begun = b"", 0, 0, b"", None
    while more := file.read(_CHUNK):
        held += more
        place = 0
        for token in _TOKEN.finditer(held):
            mark = token[0]
            if mark == b'"':
                break  # the string goes on in what is still to be read
            if begun is not None and mark == b"{":
                yield begun
            # A key stands right before its value: a string that is a value is followed by a comma or the end.
            begun = (
                (key.strip(b'"').decode("utf-8", "replace"), offset + token.start())
                if mark == b"[" and depth == 1 and key
                else None
            )
            depth += (mark in (b"[", b"{")) - (mark in (b"]", b"}"))
            key = mark if mark.startswith(b'"') and depth == 1 else b""
            place = token.end()
        offset += place
        held = held[place:]
        if len(held) > encodings.LINE_LIMIT:
            return


def _require_end(rest: bytes, file: Utf8File, name: str) -> None:
    while rest.isspace() or not rest:
        rest = file.read(_CHUNK)
        if not rest:
            return
    raise InputError(
        f"{name} begins with a JSON array and goes on after its end; a file is one array, or an object a line."
    )
