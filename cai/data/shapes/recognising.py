"""Which layout a source has, and the source in the canonical columns.

Columns tell most layouts, the form of the first rows the others. Where two layouts are possible that do not mean the
same, nothing is guessed: the error names them, and `--shape NAME` settles it; prompts are then read as they are. A
source of no known layout is read under the columns that it has.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice

from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.data.columns import ABOUT, METADATA, SYSTEM_COLUMNS, listed, with_system
from cai.data.examples.shaping import ExampleKind
from cai.data.rows import BadRowError, BrokenRow, RawRow, RawSource, broken, text_of
from cai.data.shapes import SHAPES
from cai.data.shapes.descriptor import Shape

FIRST_ROWS = 20
"""How many rows are looked at for their form."""

AS_IT_IS = "trl"
"""The layout of our own columns, which are TRL's: a source that is read as it is has it, whatever else it could be."""

_PROMPT = "prompt"


class ShapedSource:
    """The rows of a source in the canonical columns; see `RawSource`. A row may give several, all in its place."""

    def __init__(self, source: RawSource, shape: Shape, *, prompts: bool) -> None:
        """`shape` is the layout that the source has; with `prompts` they alone are read, one of each row."""
        self.name = source.name
        self.fingerprint = fingerprint([source.fingerprint, shape.name, shape.gives])
        self.size = source.size
        self.shape = shape
        self._prompts = prompts
        given = (_PROMPT,) if prompts else shape.gives if shape.whole else (_PROMPT, *shape.gives)
        kept = (*METADATA, *ABOUT, *(SYSTEM_COLUMNS if shape.whole else ()))
        self._kept = [name for name in kept if name in source.columns]
        self.columns: Mapping[str, int | None] = dict.fromkeys((*given, *self._kept))
        self._source = source

    @property
    def remark(self) -> str:
        """What it was taken for, and what of it is not read."""
        source = self._source
        read = [name for name in self.shape.columns if name in source.columns]
        unread = [name for name in source.columns if name not in read and name not in METADATA]
        told = f"is read as {self.shape.title} ({self.shape.name}): {listed(read)}"
        told += "; prompts are what comes before the last answer" if self._prompts and self.shape.whole else ""
        told += f"; not used: {listed(unread)}" if unread else ""
        return f"{told}; it {source.remark}" if source.remark is not None else told

    def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
        """Read every row, in the canonical columns that are asked for."""
        shape = self.shape
        asks, answers = _PROMPT in columns, bool(set(shape.gives) & set(columns))
        needed = {*shape.columns, *self._kept} & set(self._source.columns)
        for row in self._source.rows(needed):
            if isinstance(row, BrokenRow):
                yield row
                continue
            kept = {name: row.values.get(name) for name in self._kept}
            try:
                if asks:
                    kept[_PROMPT] = _after_system(shape.prompt(row.values), row.values)
                for given in shape.rows(row.values) if answers else ({},):
                    yield RawRow(row.place, kept | given)
            except BadRowError as error:
                yield broken(row.place, str(error), text_of(row.values))


def shaped(source: RawSource, wanted: str | None, kind: ExampleKind | None) -> RawSource:
    """Return the source in the canonical columns of the layout it has, or as it is where it has none of the kind.

    `wanted` is a layout's name, or None; `kind` is what examples are needed, None standing for any. Raises InputError
    where several layouts are possible that do not mean the same.
    """
    fitting = [shape for shape in SHAPES if shape.fits(source.columns) and wanted in (None, shape.name)]
    found = [shape for shape in _of_the_form(source, fitting) if kind is None or kind in shape.kinds]
    titles = list(dict.fromkeys(shape.title for shape in found))
    names = list(dict.fromkeys(shape.name for shape in found))
    if kind == "prompts" and len(titles) > 1:
        return source  # who reads prompts can name their column
    # Layouts of one title have the same prompts.
    if len(names) > 1 and kind != "prompts":
        raise InputError(
            f"{source.name} can be read in {len(names)} ways ({', '.join(titles)}); say which with --shape "
            f"{' or --shape '.join(names)}."
        )
    return ShapedSource(source, found[0], prompts=kind == "prompts") if found else source


def check_shape(wanted: str | None, sources: Sequence[RawSource]) -> None:
    """Raise InputError when a layout was asked for that is none, or that no source has."""
    if wanted in (None, AS_IT_IS):
        return
    names = sorted({shape.name for shape in SHAPES})
    if wanted not in names:
        raise InputError(f"There is no shape {wanted!r}; there are {', '.join(names)}.")
    if not any(isinstance(source, ShapedSource) and source.shape.name == wanted for source in sources):
        needs = " or ".join(dict.fromkeys(", ".join(shape.needs) for shape in SHAPES if shape.name == wanted))
        named = ", ".join(dict.fromkeys(source.name for source in sources))
        raise InputError(f"{named} cannot be read as {wanted}, which has the columns {needs}.")


def _of_the_form(source: RawSource, shapes: Sequence[Shape]) -> list[Shape]:
    """Return those layouts of which one of the first rows has the form."""
    if not shapes:
        return []
    columns = {name for shape in shapes for name in shape.columns} & set(source.columns)
    with closing(source.rows(columns)) as rows:  # type: ignore[type-var]
        first = [row.values for row in islice(rows, FIRST_ROWS) if isinstance(row, RawRow)]
    return [shape for shape in shapes if any(shape.form(values) for values in first)]


def _after_system(value: object, row: Mapping[str, object]) -> object:
    """Return a prompt or a conversation after the system's turn, if a column of the row has one."""
    filled = [column for column in SYSTEM_COLUMNS if row.get(column) not in (None, "")]
    if len(filled) > 1:
        raise BadRowError(f"both {' and '.join(filled)} have the system's turn")
    return with_system(value, row, filled[0]) if filled else value
