"""Counting junk while a run is exported: how many revisions and examples are no answers, as far as their words tell.

Nothing is left out for it: the counts say what a model's revisions are worth before anybody trains on them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cai.core.records import Row
from cai.data.export.summary import JunkCounts
from cai.method.junk import KINDS, Asked, find_junk


class JunkCounter:
    """Looks at every revision of the rows that it is given, and at the examples that were made of them."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._revisions = self._junk = self._examples = self._junk_examples = 0

    def count(self, row: Row, examples: Sequence[Mapping[str, Any]]) -> None:
        """Count a row and its SFT examples."""
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        for trace in row.traces:
            found[trace.sample, 0] = find_junk(trace.response, Asked(row.prompt.messages), truncated=trace.truncated)
            for number, turn in enumerate(trace.rounds, start=1):
                if turn.revision is not None:
                    asked = Asked(row.prompt.messages, critique=turn.critique or "")
                    kinds = find_junk(turn.revision, asked, truncated=turn.truncated)
                    found[trace.sample, number] = kinds
                    self._kinds.update(kinds)
                    self._revisions += 1
                    self._junk += bool(kinds)
        self._examples += len(examples)
        self._junk_examples += sum(bool(found[example["sample"], example["round"]]) for example in examples)

    def counts(self) -> JunkCounts:
        """Return what was counted."""
        kinds = {kind: self._kinds[kind] for kind in KINDS if self._kinds[kind]}
        return JunkCounts(self._revisions, self._junk, self._examples, self._junk_examples, kinds)
