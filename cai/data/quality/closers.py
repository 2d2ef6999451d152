"""Closers: a last sentence that many answers of a set share, as collapsed data has it.

Models that learn from uncleaned revisions end every answer alike ("Constitution or Collapse", arXiv 2504.04918). Memory
is bounded: of many different endings those that were seen once are forgotten, and counts may be too low by as many as
there were such clearings.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from cai.core.shares import FEWEST

_END = re.compile(r"[.!?\u3002][\"'\u201d)]*\s+|\n+")
_WORDS = 3
"""Words below which an ending is no sentence: "Thank you." may end many answers."""
_TAIL = 300
"""Characters at the end of an answer in which its last sentence is looked for."""
_KEPT = 100_000
"""Endings that are counted at once."""
SHARE = 0.05
"""Share of a set's answers from which an ending is repeated."""


@lru_cache(maxsize=64)
def _closer_of(text: str) -> str | None:
    """Return an answer's last sentence, None where it is the only one; the datasets of a run have the same answers."""
    sentences = _END.split(text[-_TAIL:].rstrip())
    return None if len(sentences) == 1 else " ".join(sentences[-1].split())


class Closers:
    """Counts how answers end."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._seen = 0

    def look(self, text: str) -> None:
        """Take in an answer; one of a single sentence has no closer."""
        self._seen += 1
        closer = _closer_of(text)
        if closer is None:
            return
        self._counts[closer] += 1
        if len(self._counts) > _KEPT:
            self._counts = Counter({closer: count for closer, count in self._counts.items() if count > 1})

    def repeated(self) -> Iterator[tuple[str, int, int]]:
        """Yield each ending that is repeated, how often, and of how many answers; the most frequent first."""
        for closer, count in self._counts.most_common():
            if count < max(FEWEST, SHARE * self._seen):
                return
            if len(closer.split()) >= _WORDS:
                yield closer, count, self._seen
