"""The files of a format: each part's records, in its train and its test file, as they come.

Text is written as it comes and never held; Parquet as `cai.data.export.splits` writes it. The same examples give the
same bytes. What comes in is what the run's datasets give, so `LayoutWriter` stands where a `SplitWriter` would.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import orjson

from cai.data.export.answers import DUPLICATE
from cai.data.export.datasets import DatasetName
from cai.data.export.layouts.descriptor import (
    BOTH_WAYS,
    FROM,
    REASONS,
    ExportLayout,
    Part,
    Place,
    Source,
    ToolRecord,
    UnfitError,
    features,
)
from cai.data.export.splits import SplitWriter, split_of
from cai.data.quality import Record
from cai.data.quality.ledger import whole
from cai.rundir.files import sync_file

Examples = Sequence[Mapping[str, Any]]
"""All that one prompt gave in one dataset."""

LeaveOut: TypeAlias = Callable[[Mapping[str, Any], str, str], None]
"""Hears of an example that is left out: the example, the reason, and the text it is about."""


def _as_they_are(examples: Examples, _leave_out: LeaveOut) -> Iterator[Mapping[str, Any]]:
    yield from examples


def _thumbs(pairs: Examples, leave_out: LeaveOut) -> Iterator[Mapping[str, Any]]:
    """Yield both answers of each pair, the chosen one with the label True.

    An answer that won against one and lost against another is neither good nor bad: it is left out, with its count.
    """
    labels: dict[str, set[bool]] = {}
    for pair in pairs:
        labels.setdefault(pair["chosen"][-1]["content"], set()).add(True)
        labels.setdefault(pair["rejected"][-1]["content"], set()).add(False)
    seen: set[str] = set()
    for pair in pairs:
        for column, label in (("chosen", True), ("rejected", False)):
            text = pair[column][-1]["content"]
            if text in seen:
                leave_out(pair, DUPLICATE, text)
            elif len(labels[text]) > 1:
                leave_out(pair, BOTH_WAYS, text)
            else:
                yield {**pair, "completion": pair[column], "label": label, "chosen": (), "rejected": ()}
            seen.add(text)


def _prompts(examples: Examples, _leave_out: LeaveOut) -> Iterator[Mapping[str, Any]]:
    """Yield the first example of a prompt: its prompt is that of all."""
    yield from examples[:1]


SOURCES: Mapping[Source, Callable[[Examples, LeaveOut], Iterator[Mapping[str, Any]]]] = {
    "sft": _as_they_are,
    "preference": _as_they_are,
    "ranking": _as_they_are,
    "thumbs": _thumbs,
    "prompts": _prompts,
}

_BETWEEN = {"jsonl": ("", "\n", "\n"), "json": ("[\n", ",\n", "\n]\n")}
"""What stands before the first record, between two, and after the last."""


class LayoutWriter:
    """All parts of a format that are made of one of the run's datasets, below `directory`."""

    def __init__(
        self, directory: Path, layout: ExportLayout, dataset: DatasetName, test_share: float, record: Record
    ) -> None:
        """Begin the files; like the other methods, raises OSError when the disk refuses.

        `record` hears of each example that a part cannot hold.
        """
        self.parts = [
            PartWriter(directory, part, test_share, record) for part in layout.parts if FROM[part.source] == dataset
        ]
        self.without = 0
        """Examples that no part of the format is made of."""
        self._dataset = dataset

    def write(self, prompt_id: str, examples: Iterable[dict[str, Any]]) -> None:
        """Add what was made from a prompt."""
        listed = list(examples)
        self.without += 0 if self.parts else len(listed)
        for part in self.parts:
            part.write(prompt_id, listed)

    def finish(self) -> tuple[int, int]:
        """Complete the files durably and return how many records the dataset itself has in each split."""
        for part in self.parts:
            part.finish()
        return next((part.sizes() for part in self.parts if part.folder == self._dataset), (0, 0))

    def abandon(self) -> None:
        """Close files that will not be completed."""
        for part in self.parts:
            part.abandon()


class PartWriter:
    """The files of one part; `not_held` counts what records could not take of their examples."""

    def __init__(self, directory: Path, part: Part, test_share: float, record: Record) -> None:
        self.folder = part.folder
        self.not_held: Counter[str] = Counter()
        self._part = part
        self._test_share = test_share
        self._record = record
        self._numbers: Counter[str] = Counter()
        self._parquet: SplitWriter | None = None
        self._files: dict[str, _TextFile] = {}
        if part.schema is not None:
            self._parquet = SplitWriter(directory, part.folder, part.schema, test_share)
        else:
            (directory / part.folder).mkdir(exist_ok=True)
            names = part.files()
            files = {name: _TextFile(directory / name, part) for name in sorted(set(names.values()))}
            self._files = {split: files[name] for split, name in names.items()}

    def write(self, prompt_id: str, examples: list[dict[str, Any]]) -> None:
        """Add what was made from a prompt in the dataset that this part is made of."""
        split = split_of(prompt_id, self._test_share)
        records: list[ToolRecord] = []
        for example in SOURCES[self._part.source](examples, self._leave_out):
            try:
                record = self._part.convert(example, Place(split, self._numbers[split]))
            except UnfitError as error:
                self._leave_out(example, str(error), "\n\n".join(turn["content"] for turn in example["prompt"]))
                continue
            self._numbers[split] += 1
            self.not_held.update(set(features(example)) - self._part.holds)
            records.append(record)
        if self._parquet is not None:
            self._parquet.write(prompt_id, records)
        else:
            for record in records:
                self._files[split].write(record)

    def _leave_out(self, example: Mapping[str, Any], reason: str, text: str) -> None:
        self._record(whole(self.folder, example["id"], "export format", reason, REASONS[reason], "prompt", text))

    def sizes(self) -> tuple[int, int]:
        """Return how many records there are for training and for testing."""
        return self._numbers["train"], self._numbers["test"]

    def finish(self) -> None:
        """Complete the files durably."""
        if self._parquet is not None:
            self._parquet.finish()
        for file in self._files.values():
            file.finish()

    def abandon(self) -> None:
        """Close files that will not be completed."""
        if self._parquet is not None:
            self._parquet.abandon()
        for file in self._files.values():
            file.close()


class _TextFile:
    """A file of JSON lines, one JSON array, or CSV; without records there is none."""

    def __init__(self, path: Path, part: Part) -> None:
        self._path = path
        self._part = part
        self._file: TextIO | None = None

    def write(self, record: ToolRecord) -> None:
        if self._part.ending == "csv":
            if self._file is None:
                # Spreadsheets know UTF-8 by its mark; lines end as RFC 4180 has it.
                self._file = self._path.open("x", encoding="utf-8-sig", newline="")
                csv.writer(self._file).writerow(self._part.columns)
            csv.writer(self._file).writerow([record[column] for column in self._part.columns])
            return
        before, between, _ = _BETWEEN[self._part.ending]
        line = orjson.dumps(record).decode()
        if self._file is None:
            self._file = self._path.open("x", encoding="utf-8", newline="")
            self._file.write(before + line)
        else:
            self._file.write(between + line)

    def finish(self) -> None:
        if self._file is not None and not self._file.closed:
            if self._part.ending != "csv":
                self._file.write(_BETWEEN[self._part.ending][2])
            self._file.close()
            sync_file(self._path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
