"""Rows of Arrow tables and Parquet files. Imports pyarrow."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from cai.core.digest import check_digest
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.data.encodings import SIGNATURE_BYTES, foreign_kind
from cai.data.rows import BrokenRow, RawRow, broken, changed, file_state

BATCH_ROWS = 256

Batch: TypeAlias = pyarrow.Table | pyarrow.RecordBatch
Column: TypeAlias = pyarrow.Array | pyarrow.ChunkedArray

_UNREADABLE = (ValueError, OverflowError, pyarrow.ArrowException)
"""What Arrow raises of values that it, or Python, cannot hold."""


class ParquetSource:
    """One Parquet file, read by batches of the columns that matter; see `RawSource`."""

    remark = None

    def __init__(self, path: Path, name: str) -> None:
        """Read the file's footer, and count what its columns hold."""
        self.name = name
        self._path = path
        try:
            with path.open("rb") as beginning:
                kind = foreign_kind(beginning.read(SIGNATURE_BYTES))
            if kind is not None and not kind.startswith("is a Parquet"):
                raise InputError(f"{name} {kind}.")
            if check_digest(path) == "damaged":
                raise InputError(f"{name} is not as cai wrote it, so it is damaged; write it again with `cai export`.")
            with pyarrow.parquet.ParquetFile(path) as file:
                schema = file.schema_arrow
                self.size: int = file.metadata.num_rows
        except (OSError, *_UNREADABLE) as error:
            raise InputError(f"{name} is not a Parquet file that can be read: {_first_line(error)}.") from error
        require_distinct(schema.names, name)
        self._state = file_state(path.stat())
        self.fingerprint = hash_files([path])
        self.columns = self._count(schema)

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read these columns of every row; the places count rows from 1. Raises InputError as `TextSource` does."""
        start = 1
        wanted = [column for column in self.columns if column in columns]
        try:
            self._require_unchanged()
            for batch in self._batches(wanted):
                yield from table_rows(batch, self.name, start)
                start += len(batch)
            self._require_unchanged()
        except (OSError, *_UNREADABLE) as error:
            raise InputError(f"{self.name} cannot be read beyond row {start - 1}: {_first_line(error)}.") from error

    def _require_unchanged(self) -> None:
        if file_state(self._path.stat()) != self._state and hash_files([self._path]) != self.fingerprint:
            raise changed(self.name)

    def _batches(self, columns: list[str]) -> Iterator[pyarrow.RecordBatch]:
        # Buffered, or whole column chunks of a row group would enter memory.
        with pyarrow.parquet.ParquetFile(self._path, buffer_size=1 << 20, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)

    def _count(self, schema: pyarrow.Schema) -> dict[str, int | None]:
        """Count what each column holds, but for those with bytes: they may be pictures, and would have to be read."""
        counted = [field.name for field in schema if "binary" not in str(field.type)]
        filled = Counter(dict.fromkeys(counted, 0))
        try:
            for batch in self._batches(counted):
                filled.update({column: count_filled([batch.column(column)]) for column in counted})
        except (OSError, KeyError, *_UNREADABLE):
            filled.clear()  # who reads a damaged column is told; who does not need not know
        return {column: filled.get(column) for column in schema.names}


def require_distinct(columns: Collection[str], name: str) -> None:
    """Raise InputError when two columns have one name."""
    names = list(columns)
    for column in names:
        if names.count(column) > 1:
            raise InputError(f"{name} has the column {column[:100]!r} more than once.")


def count_filled(parts: Iterable[Column]) -> int:
    """Return in how many rows a column has something."""
    return sum(map(_filled, parts))


def table_rows(table: Batch, name: str, start: int) -> Iterator[RawRow | BrokenRow]:
    """Yield the rows of one batch; `start` is the number of the first.

    A batch is validated before it is read, because a damaged file that is mapped has lengths that lead anywhere.
    """
    try:
        table.validate(full=True)
        rows = table.to_pylist()
    except _UNREADABLE:
        yield from _rows_one_by_one(table, name, start)
        return
    for number, row in enumerate(rows, start=start):
        yield RawRow(f"{name}:{number}", row)


def _rows_one_by_one(table: Batch, name: str, start: int) -> Iterator[RawRow | BrokenRow]:
    """Tell the rows that Python has no value for (text that is not UTF-8, a date of year 12000) from the others."""
    for index in range(len(table)):
        place = f"{name}:{start + index}"
        values = {}
        for column in table.column_names:
            value = table.column(column).slice(index, 1)
            try:
                value.validate(full=True)
                values[column] = value.to_pylist()[0]
            except _UNREADABLE as error:
                yield _broken(value, place, error)
                break
        else:
            yield RawRow(place, values)


def _broken(value: Column, place: str, error: Exception) -> BrokenRow:
    if pyarrow.types.is_string(value.type) or pyarrow.types.is_large_string(value.type):
        try:
            value.validate()  # its length, if not its letters
            raw: bytes = value.cast(pyarrow.large_binary()).to_pylist()[0]
            raw.decode()
        except UnicodeDecodeError as wrong:
            return broken(place, f"the text is not UTF-8 (byte {wrong.start + 1})", raw)
        except pyarrow.ArrowException:
            pass  # what made it unreadable is said below
    return broken(place, f"the row has a value that cannot be read ({_first_line(error)})", "")


def _filled(column: Column) -> int:
    column.validate()
    kind = column.type
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        lengths = pyarrow.compute.binary_length(column)
    elif pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        lengths = pyarrow.compute.list_value_length(column)
    else:
        return len(column) - int(column.null_count)
    filled: int | None = pyarrow.compute.sum(pyarrow.compute.greater(lengths, 0)).as_py()
    return filled or 0


def hash_files(paths: list[Path]) -> str:
    """Return a fingerprint of the files' contents in the order given, read piece by piece."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest())
    return fingerprint(["tables", digests])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
