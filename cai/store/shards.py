"""Sealed shards: Parquet files of rows in the schema `arrow.ROW`, sorted by ordinal, never changed.

A shard is sealed from a whole journal and takes its number. Row groups are small, so that a reader holds a few
hundred rows of a shard at a time, and only the ordinals carry statistics: readers look for nothing else.
"""

from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cai.arrow import ROW, table_from_json
from cai.errors import RunError, StoreError
from cai.identity import key
from cai.records import Row, Usage, row_from_dict
from cai.store.files import refusal, sync_file, sync_folder
from cai.store.layout import TEMPORARY

ROWS_PER_GROUP = 512
ROWS_PER_BATCH = 64
ORDINAL = "prompt.ordinal"
USAGE_FIELDS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


def seal(journal: Path, shard: Path) -> None:
    """Write the shard of a journal that holds at least one row, durably, then remove the journal.

    All heavy work is Arrow's and leaves the interpreter to other threads. Raises StoreError; the journal is kept then.
    """
    temporary = shard.with_name(shard.name + TEMPORARY)
    try:
        table = table_from_json(journal.read_bytes(), ROW)
        order = pc.sort_indices(pc.struct_field(table.column("prompt"), "ordinal"))
        pq.write_table(
            table.take(order),
            temporary,
            compression="zstd",
            row_group_size=ROWS_PER_GROUP,
            use_dictionary=False,
            write_statistics=[ORDINAL],
        )
        sync_file(temporary)
        temporary.replace(shard)
        sync_folder(shard.parent)
        journal.unlink()
    except pa.ArrowInvalid as error:
        raise StoreError(f"{journal} cannot be sealed: {error}") from error
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise refusal(shard, error) from error


class Shard:
    """A sealed shard to be read; no file is held open between calls. A damaged one raises RunError."""

    def __init__(self, path: Path) -> None:
        """Read the shard's footer."""
        self.path = path
        with self._open() as file:
            metadata = file.metadata
            column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == ORDINAL)
            self._groups = metadata.num_row_groups
            self._count: int = metadata.num_rows
            self.first_ordinal: int = metadata.row_group(0).column(column).statistics.min

    def __len__(self) -> int:
        return self._count

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(self.path, error) from error

    def rows(self) -> Iterator[Row]:
        """Yield the rows by ordinal, holding one row group at a time."""
        for group in range(self._groups):
            yield from _rows(self._group(group))

    def row(self, prompt_id: str) -> Row | None:
        """Return the row of a prompt, or None when it is not here."""
        for group in range(self._groups):
            ids = self._group(group, ["prompt.id"]).column("prompt")
            place = pc.index(pc.struct_field(ids, "id"), prompt_id).as_py()
            if place >= 0:
                return next(_rows(self._group(group).slice(place, 1)))
        return None

    def _group(self, group: int, columns: list[str] | None = None) -> pa.Table:
        with self._open() as file:
            try:
                return file.read_row_group(group, columns=columns, use_threads=False)
            except (pa.ArrowInvalid, OSError) as error:
                raise _damaged(self.path, error) from error

    def finished(self) -> tuple["array[int]", Usage]:
        """Return the keys of the prompts whose rows are here, and the tokens that these rows took."""
        with self._open() as file:
            try:
                table = file.read(columns=["prompt.id", *(f"usage.{name}" for name in USAGE_FIELDS)], use_threads=False)
            except (pa.ArrowInvalid, OSError) as error:
                raise _damaged(self.path, error) from error
        ids = pc.struct_field(table.column("prompt"), "id").to_pylist()
        usage = table.column("usage")
        sums = (pc.sum(pc.struct_field(usage, name)).as_py() for name in USAGE_FIELDS)
        return array("Q", map(key, ids)), Usage(*sums)


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH):
        for value in batch.to_pylist():
            yield row_from_dict(value)


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path} cannot be read: {error}; restore it, or move it away and start the command again to redo its rows."
    )
