"""What a bench keeps of each item and judge: a `BenchEntry`, from which every number is computed."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cai.core.records import PartFailure, Score, Usage, Verdict, read_part_failures, read_score, read_verdict
from cai.method.verdicts import mean_of_orders


@dataclass(frozen=True, slots=True)
class BenchEntry:
    """What one judge said of one item, in the frame of its first answer; `began` and `ended` are seconds since 1970.

    Without a verdict or options no principle of the constitution applies to the item.
    """

    id: str
    ordinal: int
    verdicts: tuple[Verdict, ...]
    usage: Usage
    failed: tuple[PartFailure, ...]
    """The verdicts that could not be had."""
    began: float
    ended: float
    options: tuple[float, ...] = ()
    """Of a question with options, how likely the judge finds each answer of the item; they sum to 1."""
    mass: float | None = None
    """What the options weigh together before they are normalised."""
    scores: tuple[Score, ...] = ()
    """Of a judge that is asked about each answer by itself, what each is worth, in the item's order."""

    @property
    def values(self) -> tuple[float, ...]:
        """The scores of all answers; none where one of them has none."""
        found = [score.value for score in self.scores]
        return tuple(value for value in found if value is not None) if None not in found else ()

    @property
    def probability(self) -> float | None:
        """How likely the judge finds the first answer better, whether or not its verdicts abstain; None: it is mute.

        The mean over both orders, then over the principles (arXiv 2309.00267, section 2.1.1). Of two scores the higher
        one is preferred, with certainty, and neither of two alike.
        """
        if self.scores:
            return preference(*self.values) if len(self.values) == len("ab") else None
        found = [mean for verdict in self.verdicts if (mean := said(verdict)) is not None]
        return fmean(found) if found else None


def preference(first: float, second: float) -> float:
    """Return 1 where the first score is the higher one, 0 where the second, one half where neither."""
    return 0.5 if first == second else float(first > second)


def said(verdict: Verdict) -> float | None:
    """Return the mean of the orders that a verdict has; None where one that was asked gave no probability."""
    return None if verdict.unreadable else mean_of_orders(verdict.first, verdict.second)


def read_entry(value: dict[str, Any]) -> BenchEntry:
    """Return an entry from what JSON says; raises KeyError or TypeError when it is none."""
    return BenchEntry(
        **{
            **value,
            "verdicts": tuple(map(read_verdict, value["verdicts"])),
            "usage": Usage(**value["usage"]),
            "failed": read_part_failures(value["failed"]),
            "options": tuple(value["options"]),
            "scores": tuple(map(read_score, value["scores"])),
        }
    )
