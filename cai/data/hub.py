"""Rows of what the `datasets` library keeps: a dataset saved on disk, or one on the hub. Imports datasets.

The types are those that the dataset has; nothing is inferred of a saved one.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import datasets

from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.data.rows import BrokenRow, RawRow, RawSource
from cai.data.tables import BATCH_ROWS, count_filled, hash_files, require_distinct, table_rows

_SHUFFLE_BUFFER = 10_000
"""Rows of a hub dataset that are in memory while it is shuffled: a stream has no end to permute to."""

Splits = Mapping[str, Callable[[], RawSource]]
"""How each split is opened, by its name; a dataset without splits has one, the empty name."""


def saved_splits(path: Path, shown: str) -> Splits:
    """Load what describes a dataset written by `save_to_disk`; `shown` is what messages call it."""
    with _one_sentence(f"{shown} is not a saved dataset that can be loaded"):
        saved = datasets.load_from_disk(str(path))
    name = path.name
    if isinstance(saved, datasets.DatasetDict):
        return {split: partial(_saved, rows, f"{name}/{split}", path / split) for split, rows in saved.items()}
    return {"": partial(_saved, saved, name, path)}


def hub_splits(name: str, *, seed: int | None) -> Splits:
    """Ask the hub for a dataset's splits, to be streamed; with a seed they are shuffled through a buffer."""
    fault = f"There is no file or directory {name}, and no dataset {name} could be opened on the hub"
    with _without_retries_shown(), _one_sentence(fault):
        builder = datasets.load_dataset_builder(name)
        splits = builder.as_streaming_dataset()
    return {split: partial(HubSource, name, split, stream, builder, seed) for split, stream in splits.items()}


def downloaded_splits(name: str) -> Splits:
    """Download a dataset of the hub into the library's own cache."""
    with _one_sentence(f"There is no file or directory {name}, and no dataset {name} could be read on the hub"):
        loaded = datasets.load_dataset(name)
    return {split: partial(DatasetSource, rows, f"{name}/{split}", "") for split, rows in loaded.items()}


class DatasetSource:
    """A dataset (or one split of a dataset dictionary) of which the rows are mapped, not read; see `RawSource`."""

    remark = None

    def __init__(self, dataset: datasets.Dataset, name: str, content: str) -> None:
        """`content` is the fingerprint."""
        require_distinct(dataset.column_names, name)
        self.name = name
        self.fingerprint = content
        self.size = len(dataset)
        self._dataset = dataset.with_format("arrow")
        with _one_sentence(f"{name} cannot be read"):
            self.columns: dict[str, int | None] = {column: self._count(column) for column in dataset.column_names}

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read these columns of every row; the places count rows from 1."""
        wanted = [column for column in self.columns if column in columns]
        start = 1
        with _one_sentence(f"{self.name} cannot be read"):
            for table in self._dataset.select_columns(wanted).iter(batch_size=BATCH_ROWS):
                yield from table_rows(table, self.name, start)
                start += len(table)

    def _count(self, column: str) -> int | None:
        batches = self._dataset.select_columns([column]).iter(batch_size=1000)
        return count_filled(table.column(column) for table in batches)


class HubSource:
    """A dataset on the hub, streamed; its fingerprint is the repository's revision and the split."""

    remark = None

    def __init__(
        self,
        name: str,
        split: str,
        stream: datasets.IterableDataset,
        builder: datasets.DatasetBuilder,
        seed: int | None,
    ) -> None:
        """Ask for the split's columns, if need be for its first row."""
        with (
            _without_retries_shown(),
            _one_sentence(f"There is no file or directory {name}, and no dataset {name} could be opened on the hub"),
        ):
            columns = stream.column_names or list(next(iter(stream), {}))
        self.name = name
        self.columns: dict[str, int | None] = dict.fromkeys(columns)
        self.fingerprint = fingerprint(["hub", name, builder.hash, split])
        described = (builder.info.splits or {}).get(split)
        self.size: int | None = (described.num_examples or None) if described else None
        self._stream = stream
        self._seed = seed

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read these columns of every row; the places count rows from 1, in the order of the stream."""
        stream = self._stream.select_columns([column for column in self.columns if column in columns])
        if self._seed is not None:
            stream = stream.shuffle(seed=self._seed, buffer_size=_SHUFFLE_BUFFER)
        with _one_sentence(f"The stream of the hub dataset {self.name} broke off"):
            for number, row in enumerate(stream, start=1):
                yield RawRow(f"{self.name}:{number}", row)


def _saved(rows: datasets.Dataset, name: str, path: Path) -> DatasetSource:
    return DatasetSource(rows, name, hash_files(sorted(path.glob("*.arrow"))))


@contextmanager
def _one_sentence(fault: str) -> Iterator[None]:
    """Turn whatever the library raises into an InputError; its own wrappers say nothing, so the first cause is told."""
    try:
        yield
    except Exception as error:
        # Neither library lists what it raises: OSError, ValueError, and those of pyarrow and the HTTP clients beneath.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0].rstrip(".:")
        raise InputError(f"{fault}: {reason or type(cause).__name__}.") from error


@contextmanager
def _without_retries_shown() -> Iterator[None]:
    """Keep the library's warnings about each of its retries from the terminal: the error at the end says it all."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
