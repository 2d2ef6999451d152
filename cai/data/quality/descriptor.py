"""What a quality filter is: its name, what it looks at, what is done about what it finds, and how it finds it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.data.quality.items import ReadItem

Action = Literal["drop", "clean", "report", "off"]
"""Leave the item out; put a cleaned text beside the original (where there is none: leave out); only list; ignore."""

Scope = Literal["answer", "text", "pair", "set"]
"""Each answer; each answer and each turn of the prompt; a pair as a whole; what a whole set learns."""

Spans: TypeAlias = Sequence[tuple[int, int]]
"""Where something begins and ends in the field's text, in characters."""

Find: TypeAlias = Callable[[ReadItem, str], Spans]
"""Returns where an item's field has what the filter looks for; nothing where it has not. A pair's field is `chosen`."""

Clean: TypeAlias = Callable[[str, Spans], str | None]
"""Returns a text without what was found, None where nothing would be left."""


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """One filter; `default` and `strict` are its actions under the settings of these names.

    An answer's filter looks at the answer, the last turn before it, its critique, the tags and the shown texts
    alone: what it found is remembered by these (`QualityPass`). `find` is asked only of texts that have one of
    the `words` (in lower case), one of the `marks` in their characters as they are, or what `hint` finds; of all
    texts where a filter has none of these. `reason` goes on from "left out because". With a `mask` what is found is
    private: cleaning puts the mask in its place, and no file repeats what stood there. A filter of a set is asked
    elsewhere, and its `find` finds nothing. `require` raises UsageError where what a filter needs is not installed.
    """

    name: str
    scope: Scope
    reason: str
    find: Find
    default: Action
    strict: Action = "drop"
    words: frozenset[str] = frozenset()
    marks: tuple[str, ...] = ()
    hint: re.Pattern[str] | None = None
    clean: Clean | None = None
    mask: str | None = None
    require: Callable[[], None] | None = None

    @property
    def cleans(self) -> bool:
        """Whether it can make a cleaned text."""
        return self.clean is not None or self.mask is not None

    def cleaned(self, text: str, spans: Spans) -> str | None:
        """Return a text without what was found, None where nothing would be left."""
        if self.mask is None:
            return None if self.clean is None else self.clean(text, spans)
        for start, end in reversed(spans):
            text = text[:start] + self.mask + text[end:]
        return text
