"""What an export asks of people's judgements; `cai.annotation.labels` answers.

An export is the judge's, people's, or both. `human` takes what people said and nothing else: pairs that they compared,
answers that they ranked, wrote, found good or rated. `both` takes the judge's word where people said nothing. Where
both spoke of a pair, people's label stands and the judge's is not averaged in: a vote that may be biased against what
it is to be corrected by would only draw the label back towards the bias. How far the judge's other labels can be
trusted is told by its agreement with people and corrected in shares, not in single labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cai.core.records import Message, Row

Labels = Literal["judge", "human", "both"]

NOT_LABELLED = "no person labelled it"
PEOPLE_TIE = "people prefer neither answer"
FOUND_BAD = "people found it bad"
REASONS = {
    NOT_LABELLED: "only what people labelled was asked for",
    PEOPLE_TIE: "people's votes on both answers are equal",
    FOUND_BAD: "people gave it a thumb down",
}
"""What is left out because of people, in words for the ledger."""

LABEL_BY, VOTES = "label_by", "votes"
"""Columns of who a label is from, `people` or `judge`, and of how many people; only where people were asked."""


@dataclass(frozen=True, slots=True)
class PairLabel:
    """What people said of two answers: how likely the first is the better, by so many votes.

    A tie is half a vote for each. Where they were `settled`, one adjudication said it.
    """

    probability: float
    votes: int
    settled: bool


class People(Protocol):
    """What people said of a run, asked by content; None where they said nothing."""

    def pair(self, messages: Sequence[Message], a: str, b: str, among: Sequence[str] = ()) -> PairLabel | None:
        """Return the soft label of a pair; who ranked these answers, `among` others, said something of it too."""

    def rankings(self, messages: Sequence[Message], texts: Sequence[str]) -> Sequence[Mapping[str, int]]:
        """Return the rank of each of these answers, 1 being the best, once for each person who ranked them."""

    def thumb(self, messages: Sequence[Message], text: str) -> bool | None:
        """Tell whether an answer was found good."""

    def rating(self, messages: Sequence[Message], text: str) -> float | None:
        """Return the mean rating of an answer, from 1 to 5."""

    def edits(self, messages: Sequence[Message], text: str) -> tuple[str, ...]:
        """Return what people wrote in the place of an answer."""

    def breaks(self, messages: Sequence[Message], text: str, principle: str) -> bool | None:
        """Tell whether an answer breaks a principle, of items drawn at random."""

    def rows(self) -> Iterable[Row]:
        """Yield what people spoke of that is in no row of the run (feedback), a row a prompt, without verdicts."""
