"""The two datasets of a run: which columns each has, how a row gives its examples, and either of them in memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

from cai.core.arrow import THINKING_MESSAGES
from cai.core.records import Row
from cai.data.export import preference, sft
from cai.data.export.splits import ROWS_PER_BATCH, pack, split_of
from cai.data.export.summary import ExportOptions
from cai.rundir import RunReader

if TYPE_CHECKING:
    import datasets

DatasetName = Literal["sft", "preference"]
SplitName = Literal["train", "test"]

Examples: TypeAlias = Callable[[Row, ExportOptions, Counter[str]], Iterator[dict[str, Any]]]
"""Yields a row's examples in the columns of the schema; what gives none is counted by reason."""


@dataclass(frozen=True, slots=True)
class RunDataset:
    """What trainers read of a run; the columns are TRL's. `answers` are those that hold what the model said."""

    columns: pa.Schema
    answers: tuple[str, ...]
    examples: Examples

    def schema(self, options: ExportOptions) -> pa.Schema:
        """Return the columns as they are exported: with `reasoning` the answers have room for it."""
        if not options.reasoning:
            return self.columns
        return pa.schema(
            [field.with_type(THINKING_MESSAGES) if field.name in self.answers else field for field in self.columns]
        )


DATASETS: Mapping[DatasetName, RunDataset] = {
    "sft": RunDataset(
        sft.SCHEMA,
        ("messages", "completion"),
        lambda row, options, out: sft.sft_examples(row, options.all_revisions, out, reasoning=options.reasoning),
    ),
    "preference": RunDataset(
        preference.SCHEMA,
        ("chosen", "rejected"),
        lambda row, options, out: preference.preference_pairs(row, out, reasoning=options.reasoning),
    ),
}


def dataset(
    run: RunReader,
    name: DatasetName,
    options: ExportOptions | None = None,
    *,
    split: SplitName | None = None,
    left_out: Counter[str] | None = None,
) -> "datasets.Dataset":
    """Return one of a run's datasets as `cai export` would write it now: the same rows, columns and order.

    It lies in memory and no file is read but the run's. `split` is the part to return (None: all, in the run's order);
    what gave no example is counted in `left_out` by reason, whatever the split. Raises as `RunReader.rows` does.
    """
    from datasets import Dataset  # noqa: PLC0415  (it takes seconds to import)

    options = options or ExportOptions()
    wanted, out = DATASETS[name], Counter[str]() if left_out is None else left_out
    schema = wanted.schema(options)
    waiting: list[dict[str, Any]] = []
    tables = [schema.empty_table()]
    for row in run:
        is_wanted = split is None or split_of(row.prompt.id, options.test_share) == split
        examples = list(wanted.examples(row, options, out))
        waiting += examples if is_wanted else ()
        if len(waiting) >= ROWS_PER_BATCH:
            tables.append(pack(waiting, schema))
            waiting = []
    if waiting:
        tables.append(pack(waiting, schema))
    return Dataset(pa.concat_tables(tables))
