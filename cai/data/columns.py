"""Which columns make a prompt, how companions are combined with it, and what is told of columns that nobody reads.

| data set | columns | the prompt |
|---|---|---|
| Alpaca (tatsu-lab/stanford_alpaca, `train.py`) | `instruction`, `input` | the instruction, a blank line, the input |
| Dolly (databricks-dolly-15k; databrickslabs/dolly, `training/consts.py`) | `instruction`, `context` | the same |
| Open-Orca/OpenOrca, Intel/orca_dpo_pairs | `system_prompt` or `system`, `question` | a system turn, the question |

Both templates have a heading over the input, which belongs to the templates and not to the conversation. A system
column stands before whatever holds the prompt. An empty companion adds nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cai.core.errors import InputError
from cai.data.rows import BadRowError, RawSource

PROMPT_COLUMNS = ("prompt", "messages", "instruction", "question", "text", "init_prompt")
"""Columns that hold the prompt when no other is named; the first that is there counts."""

SYSTEM_COLUMNS = ("system", "system_prompt")
"""Columns whose text is the system's turn."""

RUBRIC_COLUMNS = ("rubric", "rubrics")
"""Columns that hold the criteria for a prompt's answers; the second is HealthBench's."""

REFERENCE = "reference"
"""Column that holds an answer that is known to be right, or a list of several."""

METADATA = ("id", "tags", *RUBRIC_COLUMNS, REFERENCE)
"""Columns that say which row it is, what it is about, and what its answers are to meet."""

ABOUT = ("source", "dataset", "subset", "category", "domain", "language")
"""Columns that say more of what a row is about; measures of a whole set count them, nothing else reads them."""

_COMPANIONS = {"instruction": ("input", "context")}
_NAMES_TOLD = 40
_LETTERS_TOLD = 60


@dataclass(frozen=True, slots=True)
class PromptColumns:
    """The column that holds the prompt, the one whose text follows it, and the one that holds the system's turn."""

    main: str
    companion: str | None = None
    system: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns to read."""
        return tuple(name for name in (self.main, self.companion, self.system) if name is not None)

    def value(self, row: Mapping[str, object]) -> object:
        """Return the prompt of a row, which is still to be checked; raises BadRowError where it cannot be combined."""
        value = row.get(self.main)
        if self.main == "messages" and isinstance(value, str):
            raise BadRowError("the column messages is text and no list of turns")
        if self.companion is not None and (more := _text_in(row, self.companion)):
            if not isinstance(value, str):
                raise BadRowError(f"the column {self.companion} has text, and {self.main} is none that it could follow")
            value = f"{value}\n\n{more}" if value else value
        return with_system(value, row, self.system)


def find_prompt(columns: Collection[str], wanted: str | None, name: str) -> PromptColumns:
    """Return the columns that make the prompt; raises InputError with the columns found when there are none."""
    found = f"its columns are {listed(columns)}" if columns else "it has no columns"
    if wanted is not None and wanted not in columns:
        raise InputError(f"{name} has no column {wanted!r} for the prompt: {found}.")
    main = wanted if wanted is not None else next((column for column in PROMPT_COLUMNS if column in columns), None)
    if main is None:
        raise InputError(
            f"{name} has no prompt column: {found}; {_other_parting(columns)}name one with --prompt-column, or call it "
            f"one of {', '.join(PROMPT_COLUMNS)}."
        )
    return prompt_columns(main, columns, name)


def _other_parting(columns: Collection[str]) -> str:
    """Return the hint that a table's one column looks like several."""
    (only,) = columns if len(columns) == 1 else ("",)
    return "CSV parts columns by commas, so save it with these; or " if {";", "\t", "|"} & set(only) else ""


def prompt_columns(main: str, columns: Collection[str], name: str) -> PromptColumns:
    """Return a prompt's column with its companions; raises InputError when it is not clear which is meant."""
    companion = _only(_COMPANIONS.get(main, ()), columns, name)
    return PromptColumns(main, companion, system_column(columns, name) if main not in SYSTEM_COLUMNS else None)


def system_column(columns: Collection[str], name: str) -> str | None:
    """Return the column that holds the system's turn; raises InputError when there are several."""
    return _only(SYSTEM_COLUMNS, columns, name)


def with_system(value: object, row: Mapping[str, object], column: str | None) -> object:
    """Return a prompt or a conversation that begins with the system's turn, if the row has one in the column.

    Raises BadRowError when the conversation has another system turn already.
    """
    if column is None or not (system := _text_in(row, column)):
        return value
    turn = {"role": "system", "content": system}
    if isinstance(value, str):
        return [turn, {"role": "user", "content": value}]
    if not isinstance(value, list):
        return value
    own = [told.get("content") for told in value if isinstance(told, dict) and told.get("role") == "system"]
    if own and own != [system]:
        raise BadRowError(f"the conversation has a system turn that is not the one in the column {column}")
    return value if own else [turn, *value]


def tell_columns(used: Sequence[Collection[str]], sources: Sequence[RawSource], plain: Collection[str]) -> str | None:
    """Return one line on the columns that are read and those that are not, or None when there is nothing to tell.

    `used` are the columns read of each source. A share is of the rows of the sources that have the column; columns of
    which nothing but `plain` ones are read, and all of them, need no word.
    """
    read = list(dict.fromkeys(name for names in used for name in names))
    filled: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    uncounted: set[str] = set()
    for names, source in zip(used, sources, strict=True):
        for column, count in source.columns.items():
            if column not in names and column not in METADATA:
                filled[column] += count or 0
                rows[column] += source.size or 0
                if count is None:
                    uncounted.add(column)
    if not rows and set(read) <= set(plain):
        return None
    told = f"columns used: {listed([name for name in read if name not in METADATA])}"
    if not rows:
        return told
    unused = [
        _printable(column) if column in uncounted else f"{_printable(column)} ({_share(filled[column], rows[column])})"
        for column in rows
    ]
    return f"{told}; not used: {_cut(unused)}"


def listed(columns: Iterable[str]) -> str:
    """Return columns' names as a person reads them: printable, and no more than fit."""
    return _cut([_printable(column) for column in columns])


def _text_in(row: Mapping[str, object], column: str) -> str:
    """Return the text of a companion, empty where there is none; raises BadRowError when it is no text."""
    value = row.get(column)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise BadRowError(f"the column {column} is not text but of type {type(value).__name__}")
    return "" if value.isspace() else value


def _only(names: Sequence[str], columns: Collection[str], name: str) -> str | None:
    found = [candidate for candidate in names if candidate in columns]
    if len(found) > 1:
        raise InputError(f"{name} has both {' and '.join(found)}; rename one, so that it is clear which is meant.")
    return found[0] if found else None


def _share(filled: int, rows: int) -> str:
    """Return a share of rows: what is not all is not called 100 %, and what is something not 0 %."""
    percent = 100 * filled / rows if rows else 0.0
    if 0 < percent < 1:
        return "<1 % of rows"
    return f"{int(percent)} % of rows"


def _cut(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_TOLD
    return ", ".join(names[:_NAMES_TOLD]) + (f" and {more:,} more" if more > 0 else "")


def _printable(column: str) -> str:
    short = column if len(column) <= _LETTERS_TOLD else column[:_LETTERS_TOLD] + "…"
    return short if short.isprintable() and short else ascii(short)
