"""Numbers and the rows that they come from: every number in a report is a `Tally`, or is computed from some.

A tally knows how many things there are, in how many rows, and the first of these rows by id; memory does not grow with
the rows. Its name is what `cai report --rows NAME` lists all of it by.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

LISTED = 12
"""Rows that a report lists of each number; the command beside them lists all."""


@dataclass(slots=True)
class Tally:
    """So many things, in so many rows; `ids` are the first of these, in their order."""

    count: int = 0
    rows: int = 0
    ids: list[str] = field(default_factory=list)


NONE = Tally()


class Tallies:
    """Tallies by name; rows come one after the other, so that a row is counted once in each."""

    def __init__(self, whole: str | None = None) -> None:
        """Keep all rows of the tally of the name `whole`, and the first of the others."""
        self._whole = whole
        self._found: dict[str, Tally] = {}
        self._row = 0
        self._newest: dict[str, int] = {}

    def begin_row(self) -> None:
        """Count what comes from now on as of another row."""
        self._row += 1

    def add(self, name: str, row: str, count: int = 1) -> None:
        """Count so many things of a row; none of them change nothing."""
        if not count:
            return
        tally = self._found.setdefault(name, Tally())
        tally.count += count
        if self._newest.get(name) != self._row:
            self._newest[name] = self._row
            tally.rows += 1
            if len(tally.ids) < LISTED or name == self._whole:
                tally.ids.append(row)

    def __getitem__(self, name: str) -> Tally:
        """Return a tally, an empty one where nothing was counted under the name."""
        return self._found.get(name, NONE)

    def below(self, beginning: str) -> Iterator[tuple[str, Tally]]:
        """Yield what follows `beginning` in names that begin so, with the tallies, the largest first."""
        found = [(name, tally) for name, tally in self._found.items() if name.startswith(beginning)]
        for name, tally in sorted(found, key=lambda item: (-item[1].count, item[0])):
            yield name.removeprefix(beginning), tally

    def names(self) -> list[str]:
        """Return all names, in the order in which they were first counted."""
        return list(self._found)
