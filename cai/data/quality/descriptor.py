"""What a quality filter is: its name, what it looks at, what is done about what it finds, and how it finds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.data.quality.items import ReadItem

Action = Literal["drop", "clean", "report", "off"]
"""Leave the item out; put a cleaned text beside the original (where there is none: leave out); only list; ignore."""

Scope = Literal["answer", "text", "pair"]
"""Each answer; each answer and each turn of the prompt; a pair as a whole."""

Spans: TypeAlias = Sequence[tuple[int, int]]
"""Where something begins and ends in the field's text, in characters."""

Find: TypeAlias = Callable[[ReadItem, str], Spans]
"""Returns where an item's field has what the filter looks for; nothing where it has not. A pair's field is `chosen`."""

Clean: TypeAlias = Callable[[str, Spans], str | None]
"""Returns a text without what was found, None where nothing would be left."""


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """One filter; `default` and `strict` are its actions under the settings of these names.

    `find` is asked only of texts that have one of the `words` (in lower case), or one of the `marks` in their
    characters as they are; of all texts where a filter has neither. `reason` goes on from "left out because".
    """

    name: str
    scope: Scope
    reason: str
    find: Find
    default: Action
    strict: Action = "drop"
    words: frozenset[str] = frozenset()
    marks: tuple[str, ...] = ()
    clean: Clean | None = None
