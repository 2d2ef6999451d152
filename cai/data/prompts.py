"""From rows to prompts: their order, names, duplicates and limit.

Shuffling is a permutation of any number of rows in bounded memory: they are written to a temporary file (in $TMPDIR)
and read back in the order drawn from the seed, so that every kind of source is shuffled as a whole and alike.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import orjson

from cai.core.errors import InputError, StoreError
from cai.core.identity import derive_seed, fingerprint, key
from cai.core.keyset import KeySet
from cai.core.records import Failure, Prompt, read_criterion
from cai.data.columns import METADATA, PROMPT_COLUMNS, RUBRIC_COLUMNS, PromptColumns, tell_columns
from cai.data.drafts import BROKEN, Draft, parse
from cai.data.public_sets.descriptor import SET, PublicSet, of_prefix
from cai.data.public_sets.reading import PublicSource
from cai.data.rows import BrokenRow, RawSource, broken
from cai.data.shapes.recognising import ShapedSource


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How to read prompts; `split` is for `datasets` datasets only, `limit` counts usable prompts."""

    prompt_column: str | None = None
    limit: int | None = None
    shuffle: bool = False
    seed: int = 0
    split: str | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit must be at least 1, not {self.limit}.")


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A source and which of its columns make the prompt."""

    source: RawSource
    columns: PromptColumns
    prefix: str = ""
    """What stands before the ids that rows have, so that those of several sources differ."""

    @property
    def public(self) -> PublicSet | None:
        """The public set whose file it is, if it was named."""
        return self.source.public if isinstance(self.source, PublicSource) else None

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([*self.columns.names, *METADATA]))


class Prompts:
    """The prompts of one place in a fixed order: that of its sources, or one drawn from the seed.

    `fingerprint` names the content (not the options), `size` is the number of rows to expect, or None, and `remarks`
    are the lines that a person must see: columns that are not used, encodings.

    Every row counts for the ordinal: failures and duplicates too. A prompt without an id of its own is named by the
    fingerprint of its messages; a failure is named by its place (`broken row prompts.jsonl:12`), because its id may be
    at fault or belong to another row. Prompts with the same messages are one prompt: the first is yielded, the others
    count as `duplicates`, but for those with criteria or references that the first has not, which are failures; every
    other row is yielded, as a prompt or as a failure, under a name that no other has. Each public set has its prompts
    for itself, so that its scores are over all of them.
    Memory is about 16 bytes a prompt, and 16 more when they are shuffled, which copies the prompts into a temporary
    file first.
    """

    def __init__(
        self,
        parts: Sequence[PromptSource],
        content: str,
        options: InputOptions,
        *,
        shuffle: bool,
        left_out: tuple[str, ...] = (),
    ) -> None:
        """Read the parts one after the other, shuffling their rows here if `shuffle`; `content` is the fingerprint.

        `left_out` are lines about files beside the parts that are not read.
        """
        self._left_out = left_out
        self.fingerprint = content
        sizes = [part.source.size for part in parts]
        self.size = None if None in sizes else sum(size for size in sizes if size is not None)
        if options.limit is not None and self.size is not None:
            self.size = min(self.size, options.limit)
        self.duplicates = 0
        self._parts = parts
        self._options = options
        self._shuffle = shuffle

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person must know of how the prompts are read, a line each."""
        sources = [part.source for part in self._parts]
        told = [f"{source.name} {source.remark}" for source in sources if source.remark is not None]
        # Those of a known layout say themselves what they do not read.
        own = [part for part in self._parts if not isinstance(part.source, ShapedSource | PublicSource)]
        names, plain = [part.used for part in own], [part.source for part in own]
        columns = tell_columns(names, plain, (*PROMPT_COLUMNS, *METADATA))
        return (*told, *([] if columns is None else [columns]), *self._left_out)

    @property
    def public_sets(self) -> tuple[PublicSet, ...]:
        """The public sets among the sources, each once."""
        return tuple({part.public.name: part.public for part in self._parts if part.public is not None}.values())

    @property
    def may_have_rubrics(self) -> bool:
        """Whether there is a column for them."""
        return any(name in part.source.columns for part in self._parts for name in RUBRIC_COLUMNS)

    def __iter__(self) -> Iterator[Prompt | Failure]:
        """Read from the beginning, one iteration at a time; raises InputError when the source breaks off."""
        self.duplicates = 0
        for item in self._read(self._options.limit):
            if item is None:
                self.duplicates += 1
            else:
                yield item

    def whole(self) -> Iterator[Prompt | Failure]:
        """Read all that `fingerprint` names, beyond the limit too, also beside an iteration; raises as that does."""
        return (item for item in self._read(None) if item is not None)

    def _read(self, limit: int | None) -> Iterator[Prompt | Failure | None]:
        """Yield the prompts up to the limit, the rows that are none, and None for each duplicate."""
        rows: Iterator[Draft | BrokenRow] = self._drafts()
        if self._shuffle:
            rows = _shuffled(rows, self._options.seed)
        contents, ids, demands = KeySet(), KeySet(), KeySet()
        remaining = limit
        for ordinal, row in enumerate(rows):
            if isinstance(row, Draft):
                row = _other_demand(row, contents, demands) or row
            item = _failure(ordinal, row) if isinstance(row, BrokenRow) else _name(ordinal, row, contents, ids)
            yield item
            if remaining is not None and isinstance(item, Prompt):
                remaining -= 1
                if not remaining:
                    return

    def _drafts(self) -> Iterator[Draft | BrokenRow]:
        for part in self._parts:
            for row in part.source.rows(part.used):
                draft = parse(row, part.columns)
                if part.prefix and isinstance(draft, Draft) and draft.id is not None:
                    draft = draft._replace(id=part.prefix + draft.id)
                yield draft


def _name(ordinal: int, draft: Draft, contents: KeySet, ids: KeySet) -> Prompt | Failure | None:
    """Return the draft as a prompt, as a failure when its id is taken, or None when the prompt was seen before."""
    content, content_key = fingerprint(draft.messages), _content_key(draft)
    name = content if draft.id is None else draft.id
    if not ids.add(key(name)):
        if content_key in contents:
            return None
        cause = f"duplicate id {name!r}: an earlier row with other content has it"
        return _failure(ordinal, broken(draft.place, cause, draft.messages[-1]["content"]))
    if not contents.add(content_key):
        return None
    return Prompt(name, ordinal, draft.messages, draft.tags, draft.rubric, draft.references)


def _content_key(draft: Draft) -> int:
    """Return what prompts have in common that are one: their messages, within one public set or outside all of them."""
    public = of_prefix(draft.tags, SET)
    return key(fingerprint(draft.messages) + ("" if public is None else f" {SET}{public}"))


def _other_demand(draft: Draft, contents: KeySet, demands: KeySet) -> BrokenRow | None:
    """Return why a draft with criteria or references is none: an earlier row asked the same, without just these."""
    demand = [draft.messages, draft.rubric, draft.references]
    if not (draft.rubric or draft.references) or not demands.add(key(fingerprint(demand))):
        return None
    if _content_key(draft) not in contents:
        return None
    what = "rubric" if draft.rubric else "reference"
    return broken(
        draft.place,
        f"an earlier row has the same prompt with another {what}, or without one",
        draft.messages[-1]["content"],
    )


def _failure(ordinal: int, row: BrokenRow) -> Failure:
    return Failure(BROKEN + row.place, ordinal, "input", row.cause, row.raw, retryable=False)


def _shuffled(rows: Iterable[Draft | BrokenRow], seed: int) -> Iterator[Draft | BrokenRow]:
    """Yield every row once, in an order that depends on the seed and the number of rows only."""
    import numpy as np  # noqa: PLC0415  (those who do not shuffle do not wait for it)

    try:
        with tempfile.TemporaryFile(prefix="cai-shuffle-") as file:
            ends = _write(rows, file)
            # RandomState, because numpy promises its stream for good: an update in mid-run changes no order.
            order = np.random.RandomState(derive_seed(seed, "shuffle")).permutation(len(ends) - 1)
            for index in order:
                file.seek(ends[index])
                yield _read(file, ends[index + 1] - ends[index])
    except OSError as error:
        raise StoreError(f"--shuffle needs room for a copy of the prompts in $TMPDIR: {error.strerror}.") from error


def _write(rows: Iterable[Draft | BrokenRow], file: BinaryIO) -> "array[int]":
    """Append the rows to the file and return where each begins, and where the last ends."""
    ends = array("Q", [0])
    for row in rows:
        data = orjson.dumps((isinstance(row, Draft), tuple(row)))
        file.write(data)
        ends.append(ends[-1] + len(data))
    return ends


def _read(file: BinaryIO, length: int) -> Draft | BrokenRow:
    usable, fields = orjson.loads(file.read(length))
    if not usable:
        return BrokenRow(*fields)
    place, name, messages, tags, rubric, references = fields
    criteria = tuple(map(read_criterion, rubric))
    return Draft(place, name, tuple(messages), tuple(tags), criteria, tuple(references))
