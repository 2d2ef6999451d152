"""Which of some filters have to look at a text: most texts have few of their words and marks."""

import re
from collections import defaultdict
from collections.abc import Iterable

from cai.core.words import Text
from cai.data.quality.descriptor import QualityFilter


class Lookup:
    """Finds the filters that may find something in a text."""

    def __init__(self, filters: Iterable[QualityFilter]) -> None:
        filters = list(filters)
        self._order = {one.name: number for number, one in enumerate(filters)}
        self._always = [one for one in filters if not (one.words or one.marks)]
        self._by_word: defaultdict[str, list[QualityFilter]] = defaultdict(list)
        for one in filters:
            for word in one.words:
                self._by_word[word].append(one)
        self._words = frozenset(self._by_word)
        marks = [(mark, one) for one in filters for mark in one.marks]
        self._marks = _Marks((mark, one) for mark, one in marks if mark.isascii())
        self._other_marks = _Marks((mark, one) for mark, one in marks if not mark.isascii())

    def of(self, text: Text) -> list[QualityFilter]:
        """Return the filters that have to look, in their order."""
        found = [one for word in self._words & text.vocabulary for one in self._by_word[word]]
        found += self._marks.of(text.text)
        if not text.text.isascii():
            found += self._other_marks.of(text.text)
        if not found:
            return self._always
        order = self._order
        return sorted({one.name: one for one in (*self._always, *found)}.values(), key=lambda one: order[one.name])


class _Marks:
    """Marks and whose they are. One search for a sign that each of some has spares looking for every one of them."""

    def __init__(self, marks: Iterable[tuple[str, QualityFilter]]) -> None:
        self._signed: defaultdict[str, list[QualityFilter]] = defaultdict(list)
        self._unsigned: defaultdict[str, list[QualityFilter]] = defaultdict(list)
        signs: set[str] = set()
        for mark, one in marks:
            sign = next((letter for letter in mark if not (letter.isalpha() or letter in " -_")), None)
            (self._unsigned if sign is None else self._signed)[mark].append(one)
            signs |= set() if sign is None else {sign}
        self._signs = re.compile(f"[{re.escape(''.join(sorted(signs)))}]" if signs else "(?!)")

    def of(self, text: str) -> list[QualityFilter]:
        """Return whose marks a text has."""
        found = [one for mark, filters in self._unsigned.items() if mark in text for one in filters]
        if self._signs.search(text):
            found += [one for mark, filters in self._signed.items() if mark in text for one in filters]
        return found
