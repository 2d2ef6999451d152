"""Tables of examples from files, directories of files, saved `datasets`, URLs and the hub; none of cai's own runs.

JSONL, JSON, CSV and text are read gzipped too. In a directory, and in a dataset of several splits, what is called test,
validation, dev or eval is held out; with splits of other names the user says which is meant.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, concatenate_datasets, load_dataset, load_from_disk

from cai.errors import InputError
from cai.inputs.remote import fetch
from cai.inputs.rows import PROMPT_COLUMNS
from cai.train.data.conversations import BrokenError
from cai.train.data.shaping import COLUMNS, Layout, Shape
from cai.urls import is_url

BATCH_ROWS = 1000

_BUILDERS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".txt": "text",
    ".jsonl.gz": "json",
    ".json.gz": "json",
    ".csv.gz": "csv",
    ".txt.gz": "text",
    ".parquet": "parquet",
}
# Only an empty cell is a missing value: pandas would also read "None" and "NA" as one.
_OPTIONS: dict[str, dict[str, Any]] = {"csv": {"keep_default_na": False, "na_values": [""]}}
_HELD_OUT = re.compile(r"(test|validation|valid|dev|eval)(?![A-Za-z])")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_KNOWN = {name for names in COLUMNS.values() for name in names} | set(PROMPT_COLUMNS)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to learn from and, where the source itself keeps some apart, rows that are held out."""

    name: str
    rows: Dataset
    held_out: Dataset | None

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows.column_names)


class TableSource:
    """The examples of a table."""

    def __init__(self, table: Table, shape: Shape, *, distinct: bool) -> None:
        """`distinct`: whether the same answer to the same prompt counts once."""
        self.name = table.name
        self.layout: Layout = shape.layout
        self.distinct = distinct
        self._table = table
        self._shape = shape

    def examples(self, left_out: Counter[str]) -> Iterator[tuple[dict[str, Any], bool | None]]:
        """Yield each example and whether it is held out (None: the prompt's hash decides); count what is left out."""
        own_split = self._table.held_out is not None
        for rows, held_out in ((self._table.rows, False), (self._table.held_out, True)):
            if rows is None:
                continue
            for number, row in enumerate(_iterate(rows), start=1):
                place = f"{self.name}, row {number}{' of the rows held out' if held_out else ''},"
                try:
                    for example in self._shape.examples(row, place):
                        yield example, held_out if own_split else None
                except BrokenError as error:
                    left_out[str(error)] += 1


def open_table(source: str, split: str | None) -> Table:
    """Open what `source` names; raises InputError when it cannot be read as a table with rows."""
    path = fetch(source, tuple(_BUILDERS)) if is_url(source) else Path(source).expanduser()
    if path.is_file():
        table = Table(source, _load_files([path], source), None)
    elif (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        with _one_sentence(f"{source} is not a saved dataset that can be loaded"):
            saved = load_from_disk(str(path))
        if split is not None and isinstance(saved, Dataset):
            raise InputError(f"{source} is a single dataset without splits; leave --split out.")
        table = _choose_splits(saved, split, source)
    elif path.is_dir():
        table = _open_directory(path, source)
    elif _HUB_NAME.fullmatch(source) and not source.endswith(tuple(_BUILDERS)):
        with _one_sentence(f"There is no file or directory {source}, and no dataset {source} could be read on the hub"):
            loaded = load_dataset(source)
        table = _choose_splits(loaded, split, source)
    else:
        raise InputError(f"There is no file, directory or run {source} to learn from.")
    if not len(table.rows):
        raise InputError(f"{source} holds no rows to learn from.")
    return table


def has_splits(source: str) -> bool:
    """Return whether --split can mean anything for the source: it is a saved dataset, or no path at all."""
    if is_url(source):
        return not source.endswith(tuple(_BUILDERS))
    path = Path(source).expanduser()
    return not path.exists() or (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _open_directory(directory: Path, name: str) -> Table:
    files: list[Path] = []
    for parent, directories, names in os.walk(directory):
        directories[:] = [inner for inner in directories if not inner.startswith(".")]
        files += [Path(parent, file) for file in names if not file.startswith(".") and _builder(Path(file)) is not None]
    if not files:
        raise InputError(
            f"{name} is neither a run nor a saved dataset, and no file in it can be read ({', '.join(_BUILDERS)})."
        )
    if len({_builder(file) for file in files}) > 1:
        kinds = ", ".join(sorted({file.name.partition(".")[1] + file.name.partition(".")[2] for file in files}))
        raise InputError(f"{name} holds files of several kinds ({kinds}); name those you mean one by one.")
    files.sort()
    held_out = [file for file in files if _HELD_OUT.match(file.name)]
    others = [file for file in files if file not in held_out]
    if not others or not held_out:
        return Table(name, _load_files(files, name), None)
    return Table(name, _load_files(others, name), _load_files(held_out, name))


def _choose_splits(loaded: Dataset | DatasetDict, split: str | None, name: str) -> Table:
    if isinstance(loaded, Dataset):
        return Table(name, loaded, None)
    listed = ", ".join(loaded)
    if split is not None:
        if split not in loaded:
            raise InputError(f"{name} has no split {split!r}; it has {listed}.")
        return Table(name, loaded[split], None)
    if len(loaded) == 1:
        return Table(name, next(iter(loaded.values())), None)
    held_out = [rows for known, rows in loaded.items() if _HELD_OUT.match(known)]
    others = [rows for known, rows in loaded.items() if not _HELD_OUT.match(known)]
    if len(others) != 1:
        raise InputError(f"{name} has the splits {listed}; say which with --split.")
    with _one_sentence(f"The splits of {name} do not have the same columns"):
        return Table(name, others[0], concatenate_datasets(held_out))


def _load_files(files: list[Path], name: str) -> Dataset:
    builder = _builder(files[0])
    if builder is None:
        raise InputError(f"{name} is of no kind that can be read; data comes as {', '.join(_BUILDERS)}.")
    if not any(file.stat().st_size for file in files):
        raise InputError(f"{name} is empty.")
    with _one_sentence(f"{name} cannot be read"):
        paths = [str(file.absolute()) for file in files]
        # What is made of a copy that goes when the process ends goes with it.
        cache = str(files[0].parent) if is_url(name) else None
        options = _OPTIONS.get(builder, {})
        return load_dataset(builder, data_files={"train": paths}, split="train", cache_dir=cache, **options)


def _builder(path: Path) -> str | None:
    return next((builder for suffix, builder in _BUILDERS.items() if path.name.endswith(suffix)), None)


def _iterate(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Yield the rows with the columns that any kind of example could want."""
    wanted = [name for name in dataset.column_names if name in _KNOWN]
    for batch in dataset.select_columns(wanted).with_format(None).iter(batch_size=BATCH_ROWS):
        for values in zip(*(batch[name] for name in wanted), strict=True):
            yield dict(zip(wanted, values, strict=True))


@contextmanager
def _one_sentence(fault: str) -> Iterator[None]:
    """Turn whatever the library raises into an InputError; its own wrappers say nothing, so the first cause is told."""
    try:
        yield
    except Exception as error:
        # datasets does not list what it raises: OSError, ValueError, and those of pyarrow, pandas and HTTP clients.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0].rstrip(".:")
        raise InputError(f"{fault}: {reason or type(cause).__name__}.") from error
