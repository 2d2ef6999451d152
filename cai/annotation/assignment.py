"""Which item a person is shown next, and how it was chosen, which every annotation records.

A share of the items, drawn by their keys, is for everybody: what people disagree on is seen there. Every other item is
for one person. Among those the next is the one that the judge is least sure of, one on which people disagree, or one
at random. Only what was drawn (`random`, `overlap`) may stand for all items; the others were chosen for what they are.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple, TypeAlias, get_args

from cai.annotation.index import IndexEntry
from cai.annotation.kinds import KINDS
from cai.annotation.reading import CountingAnnotations
from cai.annotation.records import ChosenBy
from cai.annotation.votes import PrincipleOf, disagreements
from cai.core.errors import UsageError
from cai.core.identity import draw

Strategy: TypeAlias = Literal["random", "uncertainty", "disagreement"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Assigned(NamedTuple):
    """The next item of a person, and how it was chosen."""

    key: str
    chosen_by: ChosenBy


@dataclass(frozen=True, slots=True)
class AnnotatorProgress:
    """How far a person came in a kind: `done` of `owed` items, `overlapping` of these for everybody.

    `seconds` is the median time that one took, None where no time was told.
    """

    annotator: str
    done: int
    overlapping: int
    owed: int
    seconds: float | None


class Assignment:
    """Says what is next in one kind of annotation; all persons of a place have the same one."""

    def __init__(
        self,
        entries: Iterable[IndexEntry],
        kind: str,
        *,
        strategy: Strategy = "random",
        overlap: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Order the items; raises UsageError when the share is none, or no item can be asked about in this kind."""
        if not 0.0 <= overlap <= 1.0:
            raise UsageError(f"the overlap is {overlap}, but must be a share from 0 to 1")
        self.kind, self.strategy, self.overlap = kind, strategy, overlap
        found = [entry for entry in entries if entry.kind == KINDS[kind].item]
        if not found:
            raise UsageError(f"there is no {KINDS[kind].item} to be asked about: {KINDS[kind].about}")
        self._principles = {entry.key: entry.principle for entry in found}
        places = {entry.key: draw(seed, entry.key, "order") for entry in found}
        drawn = sorted(places, key=places.__getitem__)
        self._shared = [key for key in drawn if draw(seed, key, "overlap") < overlap]
        shared = frozenset(self._shared)
        own = [key for key in drawn if key not in shared]
        if strategy == "uncertainty":
            unsure = {entry.key: entry.uncertainty for entry in found}
            own.sort(key=lambda key: -1.0 if (value := unsure[key]) is None else value, reverse=True)
        self._own = own

    def __len__(self) -> int:
        return len(self._principles)

    @property
    def principle_of(self) -> PrincipleOf:
        """Return the principle of an item by its key, None where it has none."""
        return self._principles.get

    def next(self, annotator: str, said: CountingAnnotations, taken: Collection[str] = ()) -> Assigned | None:
        """Return what a person is shown next, None where nothing is left for them.

        `taken` are keys that others are just looking at, and that this person skipped.
        """
        mine, anybodys = self._answered(annotator, said)
        if self.strategy == "disagreement":
            open_ones = disagreements(said, self.kind, self.principle_of)
            split = (key for key in sorted(open_ones, key=lambda key: -open_ones[key]) if key in self._principles)
            return next((Assigned(key, "disagreement") for key in split if key not in mine and key not in taken), None)
        shared = next((key for key in self._shared if key not in mine and key not in taken), None)
        own = next((key for key in self._own if key not in anybodys and key not in taken), None)
        done = sum(key in mine for key in self._shared)
        is_due = own is None or done < self.overlap * (len(mine) + 1)
        if shared is not None and is_due:
            return Assigned(shared, "overlap")
        return None if own is None else Assigned(own, "uncertainty" if self.strategy == "uncertainty" else "random")

    def progress(self, said: CountingAnnotations) -> tuple[AnnotatorProgress, ...]:
        """Return how far each person came; who said nothing yet is not among them."""
        times: defaultdict[str, list[float]] = defaultdict(list)
        for annotation in said.counting:
            if annotation.kind == self.kind and annotation.seconds is not None:
                times[annotation.annotator].append(annotation.seconds)
        told = []
        for annotator in said.annotators:
            mine, anybodys = self._answered(annotator, said)
            overlapping = sum(key in mine for key in self._shared)
            left = len(self._shared) - overlapping + sum(key not in anybodys for key in self._own)
            seconds = median(times[annotator]) if times[annotator] else None
            told.append(AnnotatorProgress(annotator, len(mine), overlapping, len(mine) + left, seconds))
        return tuple(told)

    def _answered(self, annotator: str, said: CountingAnnotations) -> tuple[set[str], set[str]]:
        """Return the items that a person answered, and those that anybody did."""
        counting = [
            line
            for line in said.counting
            if line.kind == self.kind and line.item in self._principles and line.chosen_by != "feedback"
        ]
        return {line.item for line in counting if line.annotator == annotator}, {line.item for line in counting}
