"""Rows drawn by chance as examples. Personal data in their texts is masked and counted, as quality filters find it."""

import heapq
from dataclasses import dataclass, field, replace

from cai.core.records import Message, Row, Trace
from cai.data.quality.personal import mask_text
from cai.report.tallies import Tallies

EXAMPLES = 3
"""Rows drawn of each kind of example."""

MASKED = "masked in examples"
"""The tally of what looks like personal data in the rows drawn as examples, and is not shown."""


@dataclass(slots=True)
class DrawnRows:
    """The rows of one kind whose number, drawn from the seed and the prompt's id, is smallest; `of` so many."""

    of: int = 0
    _heap: list[tuple[int, int, Row]] = field(default_factory=list)

    def offer(self, number: int, row: Row) -> None:
        """Take in a row, which is kept if its number is among the smallest."""
        self.of += 1
        entry = (-number, -self.of, row)  # of equal numbers the earlier row stays
        if len(self._heap) < EXAMPLES:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    @property
    def rows(self) -> list[Row]:
        """The rows, in the order of their numbers."""
        return [row for _, _, row in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]

    def mask(self, tallies: Tallies) -> None:
        """Put masks in the place of personal data in the rows, and count them."""
        masked = [(number, place, *mask_row(row)) for number, place, row in self._heap]
        self._heap = [(number, place, row) for number, place, row, _ in masked]
        for *_, row, count in masked:
            tallies.begin_row()
            tallies.add(MASKED, row.prompt.id, count)


def mask_row(row: Row) -> tuple[Row, int]:
    """Return a row whose prompt, responses, critiques and revisions are masked, and in how many places."""
    counts: list[int] = []

    def masked(text: str) -> str:
        shown, count = mask_text(text)
        counts.append(count)
        return shown

    def masked_trace(trace: Trace) -> Trace:
        rounds = tuple(
            replace(
                turn,
                critique=None if turn.critique is None else masked(turn.critique),
                revision=None if turn.revision is None else masked(turn.revision),
            )
            for turn in trace.rounds
        )
        return replace(trace, response=masked(trace.response), rounds=rounds)

    messages = tuple(Message(role=turn["role"], content=masked(turn["content"])) for turn in row.prompt.messages)
    traces = tuple(map(masked_trace, row.traces))
    return replace(row, prompt=replace(row.prompt, messages=messages), traces=traces), sum(counts)
