"""Writing examples as Parquet, each prompt in the train or the test split by the hash of its id alone.

All that is made from a prompt lies on one side, in both datasets and in every run that has the prompt. The same
examples give the same bytes: row groups have a fixed size and nothing in the files tells the time. Each file carries
its digest (`cai.core.digest`), which whoever trains on it compares.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cai.core.arrow import table_from_json
from cai.core.digest import add_digest
from cai.core.identity import draw
from cai.rundir.files import sync_file
from cai.rundir.layout import SPLITS, split_path

ROWS_PER_BATCH = 500
"""Examples that wait as Python objects; more of them wait as Arrow tables, which are smaller."""

ROWS_PER_GROUP = 4000
"""A multiple of the batch. Large, because a writer keeps a description of every group until the file is complete."""

SALT = 0
"""The seed of the split; one for all runs, so that a prompt is a test prompt everywhere."""


_FURTHER = re.compile(r" pair \d+$")


def further_pair(prompt_id: str, number: int) -> str:
    """Return the id of the second, third, … row that a data set has of one prompt."""
    return f"{prompt_id} pair {number}"


@lru_cache(maxsize=16)
def place_of(prompt_id: str) -> float:
    """Return where in [0, 1) a prompt is drawn to; further pairs of a prompt stay beside the first.

    It is asked for again soon: a prompt gives examples in several datasets.
    """
    return draw(SALT, "split", _FURTHER.sub("", prompt_id) if " pair " in prompt_id else prompt_id)


def split_of(prompt_id: str, test_share: float) -> Literal["train", "test"]:
    """Return which split all that is made from a prompt lies in."""
    return "test" if place_of(prompt_id) < test_share else "train"


def pack(examples: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return one example at least as a table of this schema."""
    return table_from_json(b"\n".join(map(orjson.dumps, examples)), schema)


class SplitWriter:
    """The train and test files of one dataset, below `directory`."""

    def __init__(self, directory: Path, kind: str, schema: pa.Schema, test_share: float) -> None:
        """Begin both files; like the other methods, raises OSError when the disk refuses."""
        self._schema = schema
        self._test_share = test_share
        self._paths = {split: split_path(directory, kind, split) for split in SPLITS}
        for path in self._paths.values():
            path.parent.mkdir(exist_ok=True)
        self._files = {
            split: pq.ParquetWriter(
                path,
                schema,
                compression="zstd",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            )
            for split, path in self._paths.items()
        }
        self._waiting: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self._batches: dict[str, list[pa.Table]] = {split: [] for split in SPLITS}
        self._counts: Counter[str] = Counter()

    def write(self, prompt_id: str, examples: Iterable[dict[str, Any]]) -> None:
        """Add what was made from a prompt."""
        split = split_of(prompt_id, self._test_share)
        for example in examples:
            self._waiting[split].append(example)
            self._counts[split] += 1
            if len(self._waiting[split]) == ROWS_PER_BATCH:
                self._pack(split)
                if len(self._batches[split]) == ROWS_PER_GROUP // ROWS_PER_BATCH:
                    self._write_group(split)

    def _pack(self, split: str) -> None:
        if self._waiting[split]:
            self._batches[split].append(pack(self._waiting[split], self._schema))
            self._waiting[split] = []

    def _write_group(self, split: str) -> None:
        if self._batches[split]:
            table = pa.concat_tables(self._batches[split])
            self._files[split].write_table(table, row_group_size=ROWS_PER_GROUP)
            self._batches[split] = []

    def finish(self) -> tuple[int, int]:
        """Complete the files durably and return how many examples are in them; a split without examples has no file.

        `datasets` refuses to load a split that is empty.
        """
        for split in SPLITS:
            self._pack(split)
            self._write_group(split)
            self._files[split].close()
            if self._counts[split]:
                add_digest(self._paths[split])
                sync_file(self._paths[split])
            else:
                self._paths[split].unlink()
        return self._counts["train"], self._counts["test"]

    def abandon(self) -> None:
        """Close files that will not be completed."""
        for file in self._files.values():
            file.close()
