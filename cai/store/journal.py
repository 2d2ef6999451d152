"""The journal: finished rows, one JSON line each, until enough of them are sealed into a shard.

A line counts when it ends in a newline and spells a row. Reading stops at the first that does not: a crash leaves
nothing after a torn line, and after a power failure what follows one is no better.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import orjson

from cai.errors import RowError
from cai.identity import key
from cai.records import Row, Usage, row_from_dict
from cai.store.layout import journal_path
from cai.store.lines import LineFile, read_lines
from cai.store.usage import NO_USAGE, add_usage


class Journal(LineFile):
    """The writing end of journal `number`, which holds `rows` whole rows already."""

    def __init__(self, directory: Path, number: int, rows: int = 0) -> None:
        """Open or create the journal; raises StoreError."""
        super().__init__(journal_path(directory, number))
        self.number = number
        self.rows = rows

    def commit(self, row: Row) -> None:
        """Append a row, whole or not at all.

        Raises StoreError when the disk refuses, RowError when a text in the row is no Unicode (a lone surrogate).
        """
        try:
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError as error:
            raise RowError(f"the row cannot be written as UTF-8: {error}", stage="commit") from error
        self.append(line)
        self.rows += 1


class Entry(NamedTuple):
    """A row in a journal, and the bytes it takes there."""

    start: int
    end: int
    row: Row


def read_entries(file: BinaryIO) -> Iterator[Entry]:
    """Yield the rows of a journal up to the first line that is not one."""
    for offset, data in read_lines(file):
        try:
            row = row_from_dict(orjson.loads(data))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return
        yield Entry(offset, offset + len(data) + 1, row)


class JournalReader:
    """The rows that a journal holds now, by ordinal; only their places are in memory.

    The file is held open until `close`, so the rows stay readable when the journal is sealed and removed meanwhile.
    Raises FileNotFoundError when that has happened already.
    """

    def __init__(self, path: Path) -> None:
        """Note where every whole row lies."""
        self._file = path.open("rb")
        entries = ((entry.row.prompt.ordinal, entry.start, entry.end) for entry in read_entries(self._file))
        self._places = sorted(entries)

    @property
    def first_ordinal(self) -> int | None:
        """The smallest ordinal, or None when the journal holds no row."""
        return self._places[0][0] if self._places else None

    def rows(self) -> Iterator[Row]:
        """Yield the rows by ordinal."""
        for _, start, end in self._places:
            self._file.seek(start)
            yield row_from_dict(orjson.loads(self._file.read(end - start)))

    def row(self, prompt_id: str) -> Row | None:
        """Return the row of a prompt, or None when it is not here."""
        return next((row for row in self.rows() if row.prompt.id == prompt_id), None)

    def finished(self) -> tuple["array[int]", Usage]:
        """Return the keys of the prompts whose rows are here, and the tokens that these rows took."""
        keys = array("Q")
        usage = NO_USAGE
        for row in self.rows():
            keys.append(key(row.prompt.id))
            usage = add_usage(usage, row.usage)
        return keys, usage

    @property
    def size(self) -> int:
        """How many bytes the whole rows take from the journal's start."""
        return max((end for _, _, end in self._places), default=0)

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
