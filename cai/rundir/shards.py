"""Sealed shards: Parquet files of rows in the schema `arrow.ROW`, sorted by ordinal, never changed.

A shard is sealed from a whole journal and takes its number. It carries the digest of its bytes (`cai.core.digest`) and
says whose shard it is, so that nothing is read from one that is damaged, or that lies where another belongs. Row groups
are small, so that a reader holds a few hundred rows of a shard at a time, and only the ordinals carry statistics:
readers look for nothing else.
"""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields as dataclass_fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cai.core.arrow import ROW, table_from_json
from cai.core.digest import add_digest, is_whole
from cai.core.errors import DamageError, RunError, StoreError
from cai.core.identity import key
from cai.core.paths import open_file
from cai.core.records import Prompt, Row, Usage, read_prompt, row_from_dict
from cai.rundir.files import refusal, sync_file, sync_folder
from cai.rundir.journal import journal_salt
from cai.rundir.layout import TEMPORARY
from cai.rundir.lines import read_lines

ROWS_PER_GROUP = 512
ROWS_PER_BATCH = 64
ORDINAL = "prompt.ordinal"
USAGE_FIELDS = tuple(field.name for field in dataclass_fields(Usage))
_NAME = b"cai shard"


def shard_name(run: str, number: int) -> str:
    """Return what shard `number` of a run says it is; `run` is the fingerprint of the run's identity."""
    return f"{run} {number}"


def seal(journal: Path, shard: Path, run: str, number: int) -> None:
    """Write the shard of a journal that holds at least one row, durably, then remove the journal.

    All heavy work is Arrow's and leaves the interpreter to other threads. Raises StoreError; the journal is kept then.
    """
    temporary = shard.with_name(shard.name + TEMPORARY)
    try:
        table = table_from_json(_whole_lines(journal, run), ROW)
        order = pc.sort_indices(pc.struct_field(table.column("prompt"), "ordinal"))
        pq.write_table(
            table.take(order).replace_schema_metadata({_NAME: shard_name(run, number)}),
            temporary,
            compression="zstd",
            row_group_size=ROWS_PER_GROUP,
            use_dictionary=False,
            write_statistics=[ORDINAL],
            write_page_checksum=True,
        )
        add_digest(temporary)
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


def _whole_lines(journal: Path, run: str) -> bytes:
    """Return the JSON lines of a journal without their checksums; raises StoreError when one was damaged since."""
    with open_file(journal) as file:
        lines = [line.data for line in read_lines(file, journal_salt(run))]
    if None in lines:
        raise StoreError(f"{journal} was damaged while its rows were made; the same command sets the lines aside.")
    return b"\n".join(line for line in lines if line is not None)


class Shard:
    """A sealed shard to be read; no file is held open between calls.

    Every method raises DamageError for one that is not as it was sealed, RunError for one that cannot be read.
    """

    def __init__(self, path: Path, run: str, number: int) -> None:
        """Check the shard's digest, once in a process, and read its footer."""
        self.path = path
        try:
            if not is_whole(path):
                raise DamageError(f"{path} is damaged")
        except OSError as error:
            raise _unreadable(path, error) from error
        with self._open() as file:
            metadata, schema = file.metadata, file.schema_arrow
            if (schema.metadata or {}).get(_NAME) != shard_name(run, number).encode():
                raise DamageError(f"{path} is a shard of another run or of another place in this one")
            if not schema.equals(ROW):
                raise RunError(f"{path} was written by another version of cai; use that one to read the run.")
            column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == ORDINAL)
            self._groups = metadata.num_row_groups
            self._count: int = metadata.num_rows
            self.first_ordinal: int = metadata.row_group(0).column(column).statistics.min

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                yield file
        except pa.ArrowException as error:
            raise DamageError(f"{self.path} is damaged") from error
        except OSError as error:
            # Arrow says OSError, without a number, also of pages whose checksums do not fit.
            raise (_unreadable(self.path, error) if error.errno else DamageError(f"{self.path} is damaged")) from error

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
            return file.read_row_group(group, columns=columns, use_threads=False)

    def prompts(self) -> Iterator[Prompt]:
        """Yield the rows' prompts, holding those of one row group at a time."""
        for group in range(self._groups):
            for value in self._group(group, ["prompt"]).column("prompt").to_pylist():
                yield read_prompt(value)

    def finished(self, is_asked: Callable[[Prompt], bool] | None = None) -> tuple["array[int]", Usage]:
        """Return the keys of the prompts whose rows are here, and the tokens that all rows took.

        The prompts are all, or those of which `is_asked` says so, for which their texts have to be read.
        """
        with self._open() as file:
            table = file.read(columns=["prompt.id", *(f"usage.{name}" for name in USAGE_FIELDS)], use_threads=False)
        if is_asked is None:
            ids = pc.struct_field(table.column("prompt"), "id").to_pylist()
        else:
            ids = [prompt.id for prompt in self.prompts() if is_asked(prompt)]
        usage = table.column("usage")
        sums = (pc.sum(pc.struct_field(usage, name)).as_py() for name in USAGE_FIELDS)
        return array("Q", map(key, ids)), Usage(*sums)


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH):
        for value in batch.to_pylist():
            yield row_from_dict(value)


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be read: {error.strerror or error}; mend that, and the same command goes on.")
