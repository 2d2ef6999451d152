"""The datasets of a run: which columns each has, how a row gives its examples, and any of them in memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

from cai.core.arrow import THINKING_MESSAGES
from cai.core.records import Row
from cai.data.export import preference, ranking, sft
from cai.data.export.splits import ROWS_PER_BATCH, pack, split_of
from cai.data.export.summary import ExportOptions
from cai.rundir import RunReader

if TYPE_CHECKING:
    import datasets

DatasetName = Literal["sft", "preference", "ranking"]
SplitName = Literal["train", "test"]

Examples: TypeAlias = Callable[[Row, ExportOptions, Counter[str]], Iterator[dict[str, Any]]]
"""Yields a row's examples in the columns of the schema; what gives none is counted by reason."""


@dataclass(frozen=True, slots=True)
class RunDataset:
    """What trainers read of a run; the columns are TRL's where TRL has such."""

    schema: Callable[[ExportOptions], pa.Schema]
    examples: Examples


def _with_thinking(columns: pa.Schema, *answers: str) -> Callable[[ExportOptions], pa.Schema]:
    """Return the columns by the options: with `reasoning` the `answers` have room for it."""
    thinking = pa.schema([field.with_type(THINKING_MESSAGES) if field.name in answers else field for field in columns])
    return lambda options: thinking if options.reasoning else columns


DATASETS: Mapping[DatasetName, RunDataset] = {
    "sft": RunDataset(
        _with_thinking(sft.SCHEMA, "messages", "completion"),
        lambda row, options, out: sft.sft_examples(row, options.all_revisions, out, reasoning=options.reasoning),
    ),
    "preference": RunDataset(
        _with_thinking(preference.SCHEMA, "chosen", "rejected"),
        lambda row, options, out: preference.preference_pairs(
            row, out, pairs=options.pairs, reasoning=options.reasoning
        ),
    ),
    "ranking": RunDataset(
        lambda options: ranking.ranking_schema(reasoning=options.reasoning),
        lambda row, options, out: ranking.ranked_answers(row, out, reasoning=options.reasoning),
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
