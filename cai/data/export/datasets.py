"""The datasets of a run: which columns each has, how a row gives its examples, and any of them in memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import pyarrow as pa

from cai.core.arrow import THINKING_MESSAGES
from cai.core.records import Row
from cai.data.export import judged_answers, preference, ranking, sft
from cai.data.export.filtering import (
    CLEANED_FROM,
    Example,
    Filter,
    filter_example,
    filter_pair,
    filter_ranking,
    place_of,
)
from cai.data.export.repeated import answer_of, example_key, find_repeated
from cai.data.export.selecting import not_selected, settled
from cai.data.export.splits import ROWS_PER_BATCH, pack, split_of
from cai.data.export.summary import ExportOptions
from cai.data.quality import NOTHING_SHOWN, QualityPass, Record, ShownTexts, count_left_out, shown_in, whole
from cai.data.quality.filters import NEAR_DUPLICATE
from cai.rundir import RunReader

if TYPE_CHECKING:
    import datasets

DatasetName = Literal["sft", "preference", "ranking", "labelled", "scored"]
SplitName = Literal["train", "test"]

Examples: TypeAlias = Callable[[Row, ExportOptions, Record], Iterable[Example]]
"""Yields a row's examples in the columns of the schema; `Record` hears of what gives none."""


@dataclass(frozen=True, slots=True)
class RunDataset:
    """What trainers read of a run; the columns are TRL's where TRL has such. `filter` is what filters make of one."""

    columns: Callable[[ExportOptions], pa.Schema]
    examples: Examples
    filter: Filter

    def schema(self, options: ExportOptions) -> pa.Schema:
        """Return the columns as they are exported, with room for what was cleaned where filters may clean."""
        columns = self.columns(options)
        return columns.append(CLEANED_FROM) if options.quality.cleans else columns


def _with_thinking(columns: pa.Schema, *answers: str) -> Callable[[ExportOptions], pa.Schema]:
    """Return the columns by the options: with `reasoning` the `answers` have room for it."""
    thinking = pa.schema([field.with_type(THINKING_MESSAGES) if field.name in answers else field for field in columns])
    return lambda options: thinking if options.reasoning else columns


def _sft_schema(options: ExportOptions) -> pa.Schema:
    """Return the columns by the options: with a selector it and its score are among them."""
    columns = _with_thinking(sft.SCHEMA, "messages", "completion")(options)
    if options.labels != "judge":
        return pa.schema([*columns, judged_answers.LABELLED_BY])
    return columns if options.selector is None else pa.schema([*columns, *sft.SELECTED])


def _sft_examples(row: Row, options: ExportOptions, record: Record) -> Iterator[Example]:
    every, reasoning = options.all_revisions, options.reasoning
    if options.labels == "judge" or options.people is None:
        return sft.sft_examples(row, every, record, reasoning=reasoning, select=options.selector)
    only = options.labels == "human"
    return judged_answers.sft_with_people(row, every, record, options.people, reasoning=reasoning, only=only)


def _preference_schema(options: ExportOptions) -> pa.Schema:
    columns = _with_thinking(preference.SCHEMA, "chosen", "rejected")(options)
    return columns if options.labels == "judge" else pa.schema([*columns, *preference.LABELLED_BY])


DATASETS: Mapping[DatasetName, RunDataset] = {
    "sft": RunDataset(
        _sft_schema,
        _sft_examples,
        filter_example,
    ),
    "preference": RunDataset(
        _preference_schema,
        lambda row, options, record: preference.preference_pairs(
            row,
            record,
            pairs=options.pairs,
            reasoning=options.reasoning,
            labels=options.labels,
            people=options.people,
        ),
        filter_pair,
    ),
    "ranking": RunDataset(
        lambda options: ranking.ranking_schema(reasoning=options.reasoning, labels=options.labels),
        lambda row, options, record: ranking.ranked_answers(
            row, record, reasoning=options.reasoning, labels=options.labels, people=options.people
        ),
        filter_ranking,
    ),
    "labelled": RunDataset(
        _with_thinking(judged_answers.LABELLED, "messages", "completion"),
        lambda row, options, _: judged_answers.judged_answers(
            row, options.people, "label", reasoning=options.reasoning
        ),
        filter_example,
    ),
    "scored": RunDataset(
        _with_thinking(judged_answers.SCORED, "messages", "completion"),
        lambda row, options, _: judged_answers.judged_answers(
            row, options.people, "score", reasoning=options.reasoning
        ),
        filter_example,
    ),
}
PEOPLES: tuple[DatasetName, ...] = ("labelled", "scored")
"""Made of what people said of single answers, and only where they are asked."""


def names_for(options: ExportOptions) -> tuple[DatasetName, ...]:
    """Return the datasets that are exported with these options."""
    return tuple(name for name in DATASETS if options.labels != "judge" or name not in PEOPLES)


class ExampleMaker:
    """Makes the examples of one dataset, row by row, filtered as the options say; `record` hears of the rest.

    `shown` are the constitution's texts, of which answers may be copies. Near-duplicates are left to `of_run`.
    """

    def __init__(
        self, name: DatasetName, options: ExportOptions, record: Record, shown: ShownTexts = NOTHING_SHOWN
    ) -> None:
        self._name = name
        self._made = DATASETS[name]
        self._shown = shown
        self._options = options
        self._record = record
        self._quality = QualityPass(options.quality, name, record)
        self._cleans = options.quality.cleans
        self._repeated: Mapping[int, int] = {}
        self._firsts: dict[int, str] = {}

    @classmethod
    def of_run(
        cls, run: RunReader, name: DatasetName, options: ExportOptions, record: Record, shown: ShownTexts
    ) -> Self:
        """Return a maker that knows a run's near-duplicates if these matter, for which all rows are read once more.

        `shown` is what `shown_in` says of the run: one object for all of its datasets, which look at the same texts.
        """
        maker = cls(name, options, record, shown)
        if options.quality.actions[NEAR_DUPLICATE.name] != "off":
            first = cls(name, options, lambda _entry: None, shown)
            made = ((row.prompt.id, number, one) for row in run for number, one in enumerate(first.examples(row)))
            maker._repeated = find_repeated((example_key(prompt, number), one) for prompt, number, one in made)
            maker._firsts = dict.fromkeys(maker._repeated.values(), "")
        return maker

    def examples(self, row: Row) -> Iterator[Example]:
        """Yield the examples of a row; of those that are selected from, the first that filters leave."""
        return self._not_repeated(row) if self._repeated else self._filtered(row)

    def _not_repeated(self, row: Row) -> Iterator[Example]:
        for number, example in enumerate(self._filtered(row)):
            if self._is_kept(example, example_key(row.prompt.id, number)):
                yield example

    def _is_kept(self, example: Example, key: int) -> bool:
        """Tell whether an example stays; one that is nearly as an earlier one is recorded with that one's place."""
        if key in self._firsts:
            self._firsts[key] = f"{example['id']}, {place_of(example)}"
        if key not in self._repeated:
            return True
        action = self._options.quality.actions[NEAR_DUPLICATE.name]
        reason = f"{NEAR_DUPLICATE.reason}: {self._firsts[self._repeated[key]]}"
        field, text = answer_of(example)
        entry = whole(self._name, example["id"], place_of(example), NEAR_DUPLICATE.name, reason, field, text)
        self._record(entry if action == "drop" else replace(entry, outcome="reported"))
        return action != "drop"

    def _filtered(self, row: Row) -> Iterator[Example]:
        made = iter(self._made.examples(row, self._options, self._record))
        for example in made:
            kept = example if self._quality.is_off else self._made.filter(self._quality, self._shown, row, example)
            if kept is None:
                continue
            if self._cleans:
                kept.setdefault("cleaned_from", [])
            yield kept
            if "selected_by" in kept:
                for other in made:
                    self._record(not_selected(other))

    def finish(self) -> None:
        """Report what only a whole set shows."""
        self._quality.finish()


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

    options = settled(options or ExportOptions(), run.manifest)
    record = count_left_out(Counter() if left_out is None else left_out)
    maker = ExampleMaker.of_run(run, name, options, record, shown_in(run.manifest.settings))
    schema = DATASETS[name].schema(options)
    waiting: list[dict[str, Any]] = []
    tables = [schema.empty_table()]
    for row in run:
        is_wanted = split is None or split_of(row.prompt.id, options.test_share) == split
        examples = list(maker.examples(row))
        waiting += examples if is_wanted else ()
        if len(waiting) >= ROWS_PER_BATCH:
            tables.append(pack(waiting, schema))
            waiting = []
    if waiting:
        tables.append(pack(waiting, schema))
    return Dataset(pa.concat_tables(tables))
