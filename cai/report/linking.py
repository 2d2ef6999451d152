"""Numbers as they are written, each with a link to the rows it comes from, and the list of these rows at the end.

Only what is linked is listed. A number that no row gives, a zero, is not linked.
"""

import shlex
from collections.abc import Sequence
from copy import copy

from cai.core.corrected import CorrectedShare
from cai.core.shares import Interval95
from cai.report.catalogue import Catalogue
from cai.report.document import Cell, LinkedRows
from cai.report.shares import PromptShare
from cai.report.tallies import Tallies, Tally


class Linker:
    """Writes numbers for one report in one language, and remembers which rows they are linked to.

    `directory` is what a section is about, as it is typed: the report's, or of a loop a stage's. `options` are typed
    behind it.
    """

    def __init__(self, texts: Catalogue, directory: str, options: str = "") -> None:
        self.texts = texts
        self.options = options
        self.directory = directory
        self.stage = ""
        self._home = directory
        self._linked: dict[str, Tally] = {}
        self._places: dict[str, str] = {}

    def inside(self, stage: str) -> "Linker":
        """Return a linker for a loop's stage, whose rows are listed among this one's under the stage's name."""
        inner = copy(self)
        inner.stage, inner.directory = stage, f"{self._home.rstrip('/')}/{stage}"
        return inner

    def of_the_whole(self) -> "Linker":
        """Return a linker for rows that are no stage's own."""
        outer = copy(self)
        outer.stage, outer.directory = "", self._home
        return outer

    def command(self) -> str:
        """Return the command line that makes a report of what the section is about."""
        return f"cai report {shlex.quote(self.directory)}{self.options}"

    def anchor(self, name: str) -> str:
        """Return an anchor, or a drawing's name, that no other stage has."""
        return f"{self.stage}-{name}" if self.stage else name

    def title(self, key: str) -> str:
        """Return a section's title, of a stage with the stage's name."""
        return f"{self.stage}: {self.texts(key)}" if self.stage else self.texts(key)

    def count(self, name: str, tallies: Tallies) -> Cell:
        """Return how many things a tally has."""
        tally = tallies[name]
        return Cell(f"{tally.count:,}", self.link(name, tally), "number")

    def of(self, text: str, name: str, tally: Tally) -> Cell:
        """Return a number, or a sentence with one, that comes from the rows of a tally."""
        return Cell(text, self.link(name, tally), "number")

    def recorded(self, text: str, place: str) -> Cell:
        """Return a number that a document of the directory records; `place` says which, and under which entry."""
        place = f"{self.stage}/{place}" if self.stage else place
        self._places[place] = place
        return Cell(text, self._anchor(list(self._places).index(place), "record"), "number")

    def share(self, found: PromptShare, name: str, tally: Tally) -> list[Cell]:
        """Return a share, its interval, and its denominators: prompts, answered and unanswered questions."""
        told = "" if found.interval is None else percent(found.interval.value)
        ends = "" if found.interval is None else interval(found.interval)
        if found.interval is None:
            told = self.texts("too-few")
        return [
            self.of(told, name, tally),
            Cell(ends, None, "number"),
            Cell(f"{found.prompts:,}", None, "number"),
            Cell(f"{found.answered:,}", None, "number"),
            Cell(f"{found.asked - found.answered:,}", None, "number"),
        ]

    def corrected(self, found: CorrectedShare | None) -> list[Cell]:
        """Return a share as people's labels correct it, with its interval, and how many labels; or why it is not."""
        if found is None:
            return [Cell(self.texts("well.not-validated"), None, "open"), Cell("0", None, "number")]
        labels = self.recorded(f"{found.labels:,}", "annotations/")
        if found.value is None or found.low is None or found.high is None:
            why = self.texts.term(found.refused or "")
            return [Cell(f"{self.texts('well.not-validated')} ({why})", None, "open"), labels]
        told = f"{percent(found.value)} {interval(Interval95(found.value, found.low, found.high))}"
        return [self.recorded(told, "annotations/"), labels]

    def link(self, name: str, tally: Tally) -> str | None:
        """Return the anchor of the rows of a tally; None where there are none."""
        if not tally.rows:
            return None
        name = tally_name(self.stage, name)
        self._linked[name] = tally
        return self._anchor(list(self._linked).index(name), "rows")

    def appendix(self) -> Sequence[LinkedRows]:
        """Return what all links lead to."""
        texts = self.texts
        found = [
            LinkedRows(
                self._anchor(place, "rows"),
                name,
                texts("rows.count", count=f"{tally.count:,}", rows=f"{tally.rows:,}"),
                tally.ids,
                texts("rows.more", count=f"{more:,}") if (more := tally.rows - len(tally.ids)) else "",
                f"cai report {shlex.quote(self._home)}{self.options} --rows {shlex.quote(name)}",
            )
            for place, (name, tally) in enumerate(self._linked.items())
        ]
        found += [
            LinkedRows(self._anchor(place, "record"), name, texts("rows.recorded"), (), "", "")
            for place, name in enumerate(self._places)
        ]
        return found

    @staticmethod
    def _anchor(place: int, kind: str) -> str:
        return f"{kind}-{place + 1}"


def tally_name(stage: str, name: str) -> str:
    """Return the name that a tally has in a whole report."""
    return f"{stage}/{name}" if stage else name


def percent(share: float) -> str:
    """Return a share as a person reads it; one digit more where whole percents say nothing."""
    return f"{share:.1%}" if 0 < share < 0.0995 or 0.9905 < share < 1 else f"{share:.0%}"


def interval(found: Interval95) -> str:
    """Return the ends of an interval, in percent."""
    return f"[{100 * found.low:.0f}, {100 * found.high:.0f}]"


def text_cells(*texts: str) -> list[Cell]:
    """Return cells without a number."""
    return [Cell(text) for text in texts]
