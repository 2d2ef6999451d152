"""The one door to examples: a run directory, a file, a directory of files, a saved dataset, a URL, a hub dataset.

`open_examples(DataSource.parse("pairs.jsonl"))` returns what has a `kind`, a `layout` (whose columns
`shaping.COLUMNS` names), `remarks`, and `examples()`: an iterator of `Example(place, values, held_out)`, and of
`BrokenRow(place, cause, raw)` for all that gives none, which nobody may leave out without a word. Each call of
`examples()` reads from the beginning, in the same order, and holds a row at a time.
"""

from collections.abc import Sequence
from dataclasses import replace

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.data.columns import listed
from cai.data.examples.runs import RunChoices, RunExamples
from cai.data.examples.shaping import NEEDS, ExampleKind, RowShape, as_completion, choose_shape
from cai.data.examples.tables import ExampleTable, TableExamples, open_table
from cai.data.shapes.recognising import check_shape
from cai.rundir.checkout import is_run

_RICHEST: tuple[ExampleKind, ...] = ("pairs", "scored", "labelled", "supervised", "prompts")
"""The kinds, those that say most first; ranked answers give pairs, if nobody asks for them as they are."""


def open_examples(
    source: DataSource,
    kind: ExampleKind | None = None,
    *,
    split: str | None = None,
    shape: str | None = None,
    choices: RunChoices | None = None,
    purpose: str | None = None,
) -> TableExamples | RunExamples:
    """Open what `source` names; without a kind it is read as the one that says most of what its columns hold.

    `shape` names the layout where it cannot be told (`cai.data.shapes`). A run gives pairs, if it is not asked for
    others. Raises InputError or RunError, in one sentence, when it cannot be read, or does not hold what the kind
    needs; `purpose` is what it is needed for (None: training).
    """
    if is_run(source):
        return RunExamples(source, kind or "pairs", choices or RunChoices())
    table = open_table(source, split, kind, shape)
    check_shape(shape, table.sources)
    return open_parts([source], kind or _kind_of(table), {source: table}, choices or RunChoices(), purpose)[0]


def open_parts(
    sources: Sequence[DataSource],
    kind: ExampleKind,
    tables: dict[DataSource, ExampleTable],
    choices: RunChoices,
    purpose: str | None = None,
) -> list[TableExamples | RunExamples]:
    """Return the examples of each source, in one layout; those that are not among the tables are runs.

    Raises InputError when one of them does not hold what the kind needs, or they cannot have one layout.
    """
    shapes = {
        source: [choose_shape(kind, opened.columns, opened.name, purpose) for opened in table.sources]
        for source, table in tables.items()
    }
    layouts = [(source, shape.layout) for source in sources for shape in shapes.get(source, ())]
    layouts += [(source, "completion") for source in sources if source not in tables]
    _require_same_layout([source for source, _ in layouts], [layout for _, layout in layouts])
    if {"completion", "messages"} <= {layout for _, layout in layouts}:
        shapes = {source: [_converted(shape) for shape in each] for source, each in shapes.items()}
    return [
        TableExamples(tables[source], kind, shapes[source]) if source in tables else RunExamples(source, kind, choices)
        for source in sources
    ]


def can_give(table: ExampleTable, kind: ExampleKind) -> bool:
    """Tell whether every source of a table has the columns that the kind needs."""
    try:
        return all(choose_shape(kind, opened.columns, opened.name) for opened in table.sources)
    except InputError:
        return False


def _kind_of(table: ExampleTable) -> ExampleKind:
    found = next((kind for kind in _RICHEST if can_give(table, kind)), None)
    if found is None:
        columns = listed(dict.fromkeys(column for source in table.sources for column in source.columns))
        needs = "; or ".join(NEEDS[kind] for kind in _RICHEST)
        raise InputError(f"{table.name} has the columns {columns}; examples have {needs}.")
    return found


def _require_same_layout(names: Sequence[DataSource], layouts: Sequence[str]) -> None:
    """Raise InputError unless plain text stands alone: conversations and text have no columns in common."""
    if "text" in layouts and len(set(layouts)) > 1:
        text = names[layouts.index("text")]
        other = next(name for name, layout in zip(names, layouts, strict=True) if layout != "text")
        raise InputError(f"{text} is plain text and {other} is conversations; train on one of them, then on the other.")


def _converted(shape: RowShape) -> RowShape:
    """Return a shape of conversations as one of prompts and completions, and any other as it is."""
    if shape.layout != "messages":
        return shape
    return replace(
        shape,
        layout="completion",
        examples=lambda row, place: (as_completion(example, place) for example in shape.examples(row, place)),
    )
