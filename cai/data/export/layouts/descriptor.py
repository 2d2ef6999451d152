"""What a format of `cai export --format` is: files of records, and the settings with which a tool reads them.

An `ExportLayout` has parts. A part is one dataset in a folder of its own, made of one of the run's datasets an example
at a time. Whatever an example has that the part has no place for is counted (`not_held`), and an example that the part
cannot hold at all is left out by reason (`UnfitError`): nothing is dropped in silence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa

from cai.data.export.answers import DUPLICATE
from cai.data.export.summary import SplitCounts
from cai.rundir.layout import SPLITS

Source = Literal["sft", "preference", "ranking", "thumbs", "prompts"]
"""A dataset of the run; the thumbs that pairs give, each answer good or bad; or the prompts that SFT examples have."""

FROM: Mapping[Source, str] = {
    "sft": "sft",
    "preference": "preference",
    "ranking": "ranking",
    "thumbs": "preference",
    "prompts": "sft",
}
"""The run's dataset that a source is made of."""

Ending = Literal["jsonl", "json", "csv", "parquet"]
ToolRecord: TypeAlias = dict[str, Any]

SOFT_LABELS = "soft labels"
REASONING = "reasoning"
ORIGIN = "where answers come from"
"""Principles, rounds, samples, and what the judge said in each order."""
SCORES = "scores"

SEVERAL_TURNS = "several turns"
SYSTEM_TURN = "a system turn"
EMPTY_SYSTEM_TURN = "an empty system turn"
NUL = "a NUL character"
ORDER_OF_TURNS = "turns that do not alternate"
BOTH_WAYS = "better than one answer, worse than another"


REASONS: Mapping[str, str] = {
    SEVERAL_TURNS: "the format holds one question and its answer, and there was talk before",
    SYSTEM_TURN: "the format has no place for a system turn",
    EMPTY_SYSTEM_TURN: "the format has a column for the system turn, in which an empty one would be none",
    NUL: "readers of the format end or refuse a text at a NUL character",
    ORDER_OF_TURNS: "the format wants user and assistant by turns, after one system turn at most",
    BOTH_WAYS: "the answer is the better of one pair and the worse of another, so it is neither good nor bad",
    DUPLICATE: "the answer has its label already",
}
"""What an example is left out for, in a sentence of the ledger."""


class UnfitError(Exception):
    """The format cannot hold an example; the message is the reason it is counted under."""


class Place(NamedTuple):
    """Where a record lies: its split, and its number in it from 0."""

    split: str
    number: int


Convert: TypeAlias = Callable[[Mapping[str, Any], Place], ToolRecord]
"""Returns the record of an example; raises UnfitError."""


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset of a format: in which folder, made of what, in which files; `holds`: what of `features` it keeps.

    `columns` name the cells of CSV, `schema` the columns of Parquet. With `file` there are no splits, and all records
    lie in that one file.
    """

    folder: str
    source: Source
    convert: Convert
    ending: Ending = "jsonl"
    holds: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    schema: pa.Schema | None = None
    file: str | None = None

    def files(self) -> Mapping[str, str]:
        """Return the name of each split's file, below the format's folder."""
        return {split: f"{self.folder}/{self.file or f'{split}.{self.ending}'}" for split in SPLITS}


Counts: TypeAlias = Mapping[str, SplitCounts]
"""How many records each part has, by its folder."""


@dataclass(frozen=True, slots=True)
class ExportLayout:
    """A format: `title` is the tool's name or what the format is, `loads` how it is read, in Markdown.

    `fragments` returns the texts of the files that tell the tool about parts that hold something, by their names.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    loads: str
    fragments: Callable[[Counts], Mapping[str, str]] = lambda _: {}
    fragment_names: tuple[str, ...] = ()


def features(example: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an example has beside prompt, answers, and which is the better."""
    if "chosen_probability" in example:
        yield SOFT_LABELS
    if {"principles", "sample", "chosen_source", "comparisons"} & example.keys():
        yield ORIGIN
    if any("score" in answer for answer in example.get("answers", ())):
        yield SCORES
    if any(_thoughts(example)):
        yield REASONING


def _thoughts(example: Mapping[str, Any]) -> Iterator[str | None]:
    for column in ("completion", "chosen", "rejected", "answers"):
        yield from (turn.get("thinking") for turn in example.get(column, ()))


def split_names(counts: SplitCounts) -> Sequence[str]:
    """Return the splits that have a file."""
    return [split for split, size in zip(SPLITS, (counts.train, counts.test), strict=True) if size]
