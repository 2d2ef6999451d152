"""Many sorted sources of rows as one, by ordinal, each opened only when its turn comes."""

import heapq
from collections.abc import Iterator, Sequence
from typing import Protocol

from cai.core.records import Row


class Source(Protocol):
    """Rows sorted by ordinal."""

    @property
    def first_ordinal(self) -> int | None:
        """The smallest ordinal, or None when there is no row."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows by ordinal."""


def merge(sources: Sequence[Source]) -> Iterator[Row]:
    """Yield the rows of all sources by ordinal, of a prompt's the first source's that holds one.

    Sources that do not overlap are read one after the other: what is in memory depends on how many overlap, not on how
    many there are.
    """
    waiting = [(first, place) for place, source in enumerate(sources) if (first := source.first_ordinal) is not None]
    heapq.heapify(waiting)
    front: list[tuple[int, str, int, Row, Iterator[Row]]] = []
    previous: tuple[int, str] | None = None
    while waiting or front:
        while waiting and (not front or waiting[0][0] <= front[0][0]):
            _, place = heapq.heappop(waiting)
            _push(front, place, sources[place].rows())
        ordinal, prompt_id, place, row, rows = heapq.heappop(front)
        if (ordinal, prompt_id) != previous:
            yield row
        previous = ordinal, prompt_id
        _push(front, place, rows)


def _push(front: list[tuple[int, str, int, Row, Iterator[Row]]], place: int, rows: Iterator[Row]) -> None:
    """Put the next row of a source among the foremost ones, if it has one; `place` keeps rows from being compared."""
    row = next(rows, None)
    if row is not None:
        heapq.heappush(front, (row.prompt.ordinal, row.prompt.id, place, row, rows))
