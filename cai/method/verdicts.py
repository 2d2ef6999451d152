"""What verdicts on one comparison come to: one probability, or one reason for having none.

A comparison is judged under one or several principles. Their verdicts are combined as Constitutional AI and RLAIF do:
the mean of the probabilities that were decided (arXiv 2212.08073, section 4.1, samples one principle a comparison;
2309.00267, section 2.1.1, averages the two orders, which every verdict has done). Everything that needs one answer of
several verdicts asks `combine`: the export of preference pairs, and the evaluation of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from cai.core.records import Verdict

IDENTICAL = "identical"
LOW_MASS = "low mass"
UNREADABLE = "unreadable"
CONTRADICTION = "orders contradict"
TIE = "tie"
FAILED = "failed"
"""Why one verdict abstains."""

NO_PRINCIPLE = "no principle applies"
"""Why there is no verdict at all."""

TIE_LEAD = 0.01
"""A probability closer to one half than this prefers nobody; it also absorbs the rounding of two equal views."""


@dataclass(frozen=True, slots=True)
class Combined:
    """The verdicts on one comparison together: the probability that a is better, or why it is not known.

    `decided` are the verdicts that have a probability; where there are some and `probability` is None, it is a tie.
    """

    probability: float | None
    abstained: str | None
    decided: tuple[Verdict, ...]


def combine(verdicts: Sequence[Verdict]) -> Combined:
    """Return what the verdicts on one comparison, all in the same frame, come to.

    Where none is decided the reason is that of the first that did not fail; `FAILED` where all did.
    """
    if not verdicts:
        return Combined(None, NO_PRINCIPLE, ())
    decided = tuple([verdict for verdict in verdicts if verdict.probability is not None])
    if not decided:
        reasons = (verdict.abstained for verdict in verdicts if verdict.abstained != FAILED)
        return Combined(None, next(reasons, FAILED), ())
    probability = fmean([verdict.probability for verdict in decided if verdict.probability is not None])
    if is_tie(probability):
        return Combined(None, TIE, decided)
    return Combined(probability, None, decided)


def ranked_outcome(verdicts: Sequence[Verdict]) -> float | None:
    """Return what the verdicts on one comparison, all in the same frame, tell a ranking; None: nothing.

    To a ranking, a judge that found the answers alike has said something: one half. One that contradicted itself, or
    named no letter, has not.
    """
    combined = combine(verdicts)
    if combined.probability is not None:
        return combined.probability
    alike = combined.decided or any(verdict.abstained in (TIE, IDENTICAL) for verdict in verdicts)
    return 0.5 if alike else None


def mean_of_orders(first: float | None, second: float | None) -> float | None:
    """Return the mean of the orders that were asked; None where neither was."""
    known = [value for value in (first, second) if value is not None]
    return fmean(known) if known else None


def is_tie(probability: float) -> bool:
    """Tell whether a probability prefers nobody."""
    return abs(probability - 0.5) < TIE_LEAD
