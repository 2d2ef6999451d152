"""What a layout of a public data set is: the columns that tell it, and what its rows are in the canonical columns.

| canonical column | what it holds |
|---|---|
| `prompt` | text, or a conversation that ends with the user's turn |
| `messages` | a conversation in which the assistant speaks |
| `completion` | the answer to the prompt; with `label` (is it good?) or `score` (how good?) what somebody says of it |
| `chosen`, `rejected` | two answers; `chosen_probability`, where it is there, is 0.5 for a tie |
| `answers` | several answers to the prompt, a list of {text or messages, rank or score, perhaps model}; see `ranked` |
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from cai.data.columns import SYSTEM_COLUMNS
from cai.data.examples.shaping import ExampleKind
from cai.data.rows import BadRowError

Row = Mapping[str, object]
Canonical = dict[str, object]

TIE = 0.5
"""The probability that the chosen answer is better where neither is."""


def _any_row(_row: Row) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Shape:
    """One layout.

    A source has it when all columns of `needs` are there, none of `without`, and one of its first rows has the `form`.
    `prompt` and `rows` read one row and raise BadRowError where it cannot be used; `rows` gives the columns of `gives`.
    Where these are `whole` conversations, `prompt` is only read for those who need no more. `reads` are the columns
    that both look at, if they are there; a system's column is read in every layout. Several descriptors may share a
    name: they are one layout with other columns. Those of one `title` differ in what is taken from a data set, and not
    in its prompts.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    gives: tuple[str, ...]
    prompt: Callable[[Row], object]
    rows: Callable[[Row], Iterator[Canonical]]
    reads: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    form: Callable[[Row], bool] = _any_row
    whole: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read where they are there."""
        return tuple(dict.fromkeys((*self.needs, *self.reads, *SYSTEM_COLUMNS)))

    @property
    def kinds(self) -> frozenset[ExampleKind]:
        """What examples it gives; answers that somebody labelled are no examples of what to answer."""
        given: dict[ExampleKind, bool] = {
            "supervised": bool({"completion", "messages"} & set(self.gives)) and "label" not in self.gives,
            "pairs": bool({"chosen", "answers"} & set(self.gives)),
            "labelled": bool({"chosen", "label"} & set(self.gives)),
            "ranked": "answers" in self.gives,
            "prompts": True,
        }
        return frozenset(kind for kind, is_given in given.items() if is_given)

    def fits(self, columns: Collection[str]) -> bool:
        """Tell whether a source with these columns may have the layout."""
        return set(self.needs) <= set(columns) and not set(self.without) & set(columns)


def text(row: Row, column: str) -> str:
    """Return the text in a column; raises BadRowError where there is none."""
    value = row.get(column)
    if value is None or value == "":
        raise BadRowError(f"there is no {column}")
    if not isinstance(value, str):
        raise BadRowError(f"the column {column} is not text but of type {type(value).__name__}")
    return value


def items(row: Row, column: str) -> list[object]:
    """Return the list in a column; raises BadRowError where there is none."""
    value = row.get(column)
    if value is None:
        raise BadRowError(f"there is no {column}")
    if not isinstance(value, list):
        raise BadRowError(f"the column {column} is not a list but of type {type(value).__name__}")
    return value


def pair(first: object, second: object, preferred: int | None) -> Canonical:
    """Return two answers of which the first (0), the second (1) or neither (None: a tie) is preferred."""
    chosen, rejected = (second, first) if preferred == 1 else (first, second)
    return {"chosen": chosen, "rejected": rejected, "chosen_probability": TIE if preferred is None else 1.0}
