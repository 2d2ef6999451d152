"""A text with its words, found once however many look at them."""

import re
from collections.abc import Set

_WORD = re.compile(r"\w+")
_APART = str.maketrans({chr(code): " " for code in range(128) if not _WORD.match(chr(code))})
_TYPOGRAPHY = re.compile("[\u2010-\u2027]+")
"""Quotation marks, dashes and the ellipsis, which are all that keeps most English texts from being ASCII."""

RUN = 4
"""Words in a row by which texts are compared."""


class Text:
    """A text; its words are runs of letters and digits in one case."""

    __slots__ = ("_distinct_runs", "_vocabulary", "_words", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._words: list[str] | None = None
        self._vocabulary: Set[str] | None = None
        self._distinct_runs: Set[tuple[str, ...]] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def words(self) -> list[str]:
        """The words in their order."""
        if self._words is None:
            text = self.text if self.text.isascii() else _TYPOGRAPHY.sub(" ", self.text)
            # The same words, four times as fast.
            self._words = text.lower().translate(_APART).split() if text.isascii() else _WORD.findall(text.casefold())
        return self._words

    @property
    def vocabulary(self) -> Set[str]:
        """The words, each once."""
        if self._vocabulary is None:
            self._vocabulary = frozenset(self.words)
        return self._vocabulary

    @property
    def runs(self) -> list[tuple[str, ...]]:
        """Every run of `RUN` words."""
        words = self.words
        return list(zip(words, words[1:], words[2:], words[3:], strict=False))

    @property
    def distinct_runs(self) -> Set[tuple[str, ...]]:
        """The runs, each once."""
        if self._distinct_runs is None:
            self._distinct_runs = frozenset(self.runs)
        return self._distinct_runs
