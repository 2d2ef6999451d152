"""A text with its words, found once however many look at them."""

import re
from collections.abc import Set
from functools import cached_property

_WORD = re.compile(r"\w+")

RUN = 4
"""Words in a row by which texts are compared."""


class Text:
    """A text; its words are runs of letters and digits in one case."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """The words in their order."""
        return _WORD.findall(self.text.casefold())

    @cached_property
    def vocabulary(self) -> Set[str]:
        """The words, each once."""
        return frozenset(self.words)

    @cached_property
    def runs(self) -> list[tuple[str, ...]]:
        """Every run of `RUN` words."""
        words = self.words
        return list(zip(words, words[1:], words[2:], words[3:], strict=False))

    @cached_property
    def distinct_runs(self) -> Set[tuple[str, ...]]:
        """The runs, each once."""
        return frozenset(self.runs)
