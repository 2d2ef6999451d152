"""Rows of CSV, as RFC 4180 has it: the first record names the columns, and every cell is text.

Cells may hold line breaks inside quotes; blank lines are no rows.
"""

import csv
from collections.abc import Collection, Iterator

from cai.core.errors import InputError
from cai.data.encodings import TextLine, line_fault
from cai.data.rows import BrokenRow, RawRow, broken

_CELL_LIMIT = 1 << 24
"""Characters in a cell; a quote that is never closed must not draw the rest of a large file into memory."""


def rows(lines: Iterator[TextLine], name: str, columns: Collection[str] | None) -> Iterator[RawRow | BrokenRow]:
    """Read these columns (None: all) of every record; raises InputError when the first names no columns."""
    csv.field_size_limit(_CELL_LIMIT)  # for the whole process: the module has no other place for it
    decoded = _Decoded(lines)
    reader = csv.reader(decoded, strict=True)
    names = _header(reader, decoded, name)
    wanted = [(index, column) for index, column in enumerate(names) if columns is None or column in columns]
    while True:
        decoded.taken.clear()
        decoded.fault = None
        place = f"{name}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield broken(place, f"the row is not valid CSV ({error}; is a quote left open?)", "".join(decoded.taken))
            continue
        if decoded.fault:
            yield broken(place, decoded.fault, "".join(decoded.taken))
        elif cells and len(cells) != len(names):
            cause = f"the row has not as many cells as the header ({len(cells)}, not {len(names)})"
            yield broken(place, cause, "".join(decoded.taken))
        elif cells:
            yield RawRow(place, {column: cells[index] for index, column in wanted})


def header(lines: Iterator[TextLine], name: str) -> list[str]:
    """Return the columns' names; raises InputError when there are none that can be read."""
    decoded = _Decoded(lines)
    return _header(csv.reader(decoded, strict=True), decoded, name)


class _Decoded:
    """Lines as text for the csv module; `taken` and `fault` tell of those read since they were last reset."""

    def __init__(self, lines: Iterator[TextLine]) -> None:
        self._lines = lines
        self.taken: list[str] = []
        self.fault: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        fault = line_fault(line)
        text = line.data.decode("utf-8", "replace")
        self.fault = fault or self.fault
        self.taken.append(text)
        return text if line.whole else "\n"


def _header(reader: Iterator[list[str]], decoded: _Decoded, name: str) -> list[str]:
    try:
        names = next(reader)
    except StopIteration:
        raise InputError(f"{name} is empty; its first line must name the columns.") from None
    except csv.Error as error:
        raise InputError(f"{name} has no readable header: {error}.") from error
    if decoded.fault:
        raise InputError(f"{name}:1 must name the columns, but {decoded.fault}.")
    for column in names:
        if column and names.count(column) > 1:
            raise InputError(f"{name} has the column {column[:100]!r} more than once.")
    return names
