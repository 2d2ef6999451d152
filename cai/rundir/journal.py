"""The journal: finished rows, one JSON line each, until enough of them are sealed into a shard.

A line counts when it is whole (`lines.py`) and spells a row. One that does not harms no other: who opens the run to
write sets it aside, and its prompt is owed again; who only reads refuses, because something is missing.
"""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from cai.core.errors import DamageError, RowError
from cai.core.identity import key
from cai.core.paths import open_file
from cai.core.records import Prompt, Row, Usage, row_from_dict
from cai.rundir.layout import journal_path
from cai.rundir.lines import LineFile, check_line, mend, read_lines, salt


def journal_salt(run: str) -> int:
    """Return the salt of the journals of a run, whose identity has this fingerprint."""
    return salt(f"journal of {run}")


class Journal(LineFile):
    """The writing end of journal `number`, which holds `rows` whole rows already."""

    def __init__(self, directory: Path, number: int, run: str, rows: int = 0) -> None:
        """Open or create the journal; `run` is the fingerprint of the run's identity. Raises StoreError."""
        super().__init__(journal_path(directory, number), journal_salt(run))
        self.number = number
        self.rows = rows

    def commit(self, row: Row) -> None:
        """Append a row, whole or not at all.

        Raises StoreError when the disk refuses, RowError when a text in the row is no Unicode (a lone surrogate).
        """
        try:
            value = orjson.dumps(row)
        except orjson.JSONEncodeError as error:
            raise RowError(f"the row cannot be written as UTF-8: {error}", stage="commit") from error
        self.append(value)
        self.rows += 1


def mend_journal(path: Path, run: str) -> int:
    """Leave in a journal nothing but rows, each prompt's once; return how many lines were set aside.

    Raises StoreError.
    """
    seen: set[str] = set()

    def keep(data: bytes) -> bool:
        row = _row(data)
        is_new = row is not None and row.prompt.id not in seen
        if row is not None:
            seen.add(row.prompt.id)
        return is_new

    return mend(path, journal_salt(run), keep)


def _row(data: bytes | None) -> Row | None:
    """Return the row that a line spells, or None when it is damaged or spells something else."""
    try:
        return None if data is None else row_from_dict(orjson.loads(data))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None


class JournalReader:
    """The rows that a journal holds now, by ordinal; only their places are in memory.

    The file is held open until `close`, so the rows stay readable when the journal is sealed and removed meanwhile.
    `damaged` are the lines that are no row, or a second one of a prompt. Raises FileNotFoundError when the journal has
    been removed already.
    """

    def __init__(self, path: Path, run: str) -> None:
        """Note where every whole row lies."""
        self.path = path
        self.damaged = 0
        self._salt = journal_salt(run)
        self._file = open_file(path)
        self._places = sorted(self._entries())

    def _entries(self) -> Iterator[tuple[int, int, int]]:
        seen: set[str] = set()
        for line in read_lines(self._file, self._salt):
            row = _row(line.data)
            if row is None or row.prompt.id in seen:
                self.damaged += 1
            else:
                seen.add(row.prompt.id)
                yield row.prompt.ordinal, line.start, line.end

    @property
    def first_ordinal(self) -> int | None:
        """The smallest ordinal, or None when the journal holds no row."""
        return self._places[0][0] if self._places else None

    def rows(self) -> Iterator[Row]:
        """Yield the rows by ordinal."""
        for _, start, end in self._places:
            self._file.seek(start)
            row = _row(check_line(self._file.read(end - start)[:-1], self._salt))
            if row is None:
                raise DamageError(f"{self.path} was damaged while it was read")
            yield row

    def row(self, prompt_id: str) -> Row | None:
        """Return the row of a prompt, or None when it is not here."""
        return next((row for row in self.rows() if row.prompt.id == prompt_id), None)

    def prompts(self) -> Iterator[Prompt]:
        """Yield the rows' prompts."""
        return (row.prompt for row in self.rows())

    def finished(self, is_asked: Callable[[Prompt], bool] | None = None) -> tuple["array[int]", Usage]:
        """Return the keys of the prompts whose rows are here, and the tokens that all rows took.

        The prompts are all, or those of which `is_asked` says so.
        """
        keys = array("Q")
        usage = Usage()
        for row in self.rows():
            if is_asked is None or is_asked(row.prompt):
                keys.append(key(row.prompt.id))
            usage += row.usage
        return keys, usage

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
