"""The kinds of annotation, each a descriptor in one table: which items it is about, and what an answer of it holds.

| kind | item | answer |
|---|---|---|
| comparison | pair | which of two answers is better, overall and by criterion |
| adherence | gate | whether an answer keeps a principle |
| ranking | ranking | a rank for each of k answers |
| rating | answer | 1 to 5 |
| thumb | answer | up or down |
| edit | answer | a better response in the annotator's words |
| comment | answer | words alone |

An answer is in the item's own frame: `a` is the item's first answer, wherever it was shown.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints

ItemKind = Literal["pair", "gate", "ranking", "answer"]
Choice = Literal["a", "b", "tie", "cannot say"]
Adheres = Literal["keeps", "breaks", "cannot say"]

LONGEST_TEXT = 100_000
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TEXT)]
CriterionName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class KindAnswer(BaseModel):
    """What an annotation of some kind says."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparisonAnswer(KindAnswer):
    """Which of two answers is better; `criteria` by the id of a principle, or what else answers are compared by."""

    overall: Choice
    criteria: Mapping[CriterionName, Choice] = Field(default_factory=dict)


class AdherenceAnswer(KindAnswer):
    """Whether an answer keeps the item's principle."""

    says: Adheres


class RankingAnswer(KindAnswer):
    """A rank for each of the item's answers in the item's order; 1 is the best, equally good answers share one."""

    ranks: Annotated[tuple[Annotated[StrictInt, Field(ge=1, le=1000)], ...], Field(min_length=2)]


class RatingAnswer(KindAnswer):
    """How good an answer is: 1 (bad) to 5 (good)."""

    rating: Annotated[StrictInt, Field(ge=1, le=5)]


class ThumbAnswer(KindAnswer):
    """Whether an answer is good."""

    up: StrictBool


class EditAnswer(KindAnswer):
    """A better response to the same prompt, as a whole."""

    text: Words


class CommentAnswer(KindAnswer):
    """Words about an answer that say nothing countable."""

    text: Words


class VotePart(NamedTuple):
    """One thing that an answer says: of which `part` of the item ("": all of it), by which criterion, what."""

    part: str
    criterion: str
    value: str


OVERALL = "overall"
PRINCIPLE = ""
"""The criterion that is the item's principle, and not said again in the answer."""

CANNOT_SAY = "cannot say"
"""The value of who looked and does not decide; it is no vote."""


def _no_votes(_answer: Any) -> Iterable[VotePart]:
    return ()


def _of_comparison(answer: ComparisonAnswer) -> Iterable[VotePart]:
    yield VotePart("", OVERALL, answer.overall)
    yield from (VotePart("", name, choice) for name, choice in answer.criteria.items())


def _of_ranking(answer: RankingAnswer) -> Iterable[VotePart]:
    """Yield the C(k, 2) pairs that a ranking of k answers is (arXiv 2203.02155, section 3.5)."""
    for (one, rank), (other, next_rank) in combinations(enumerate(answer.ranks), 2):
        value = "tie" if rank == next_rank else "a" if rank < next_rank else "b"
        yield VotePart(f"{one}-{other}", "ranking", value)


def _misfit_of_ranking(answer: Any, answers: int) -> str | None:
    return None if len(answer.ranks) == answers else f"it ranks {len(answer.ranks)} answers of {answers}"


def _fits(_answer: Any, _answers: int) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class AnnotationKind:
    """A kind: `item` says what it is about, `answer` what is said; `misfit` why an answer is none to so many answers.

    `votes` are what an answer says, in `values`, from the one end to the other where these are in an order. A kind
    without values says nothing countable.
    """

    name: str
    item: ItemKind
    answer: type[KindAnswer]
    about: str
    values: tuple[str, ...] = ()
    votes: Callable[[Any], Iterable[VotePart]] = _no_votes
    misfit: Callable[[Any, int], str | None] = _fits


_SIDES = ("a", "tie", "b")

KINDS: Mapping[str, AnnotationKind] = {
    kind.name: kind
    for kind in (
        AnnotationKind(
            "comparison", "pair", ComparisonAnswer, "which of two answers is better", _SIDES, _of_comparison
        ),
        AnnotationKind(
            "adherence",
            "gate",
            AdherenceAnswer,
            "whether an answer keeps a principle",
            ("breaks", "keeps"),
            lambda answer: [VotePart("", PRINCIPLE, answer.says)],
        ),
        AnnotationKind(
            "ranking",
            "ranking",
            RankingAnswer,
            "several answers, the best first",
            _SIDES,
            _of_ranking,
            _misfit_of_ranking,
        ),
        AnnotationKind(
            "rating",
            "answer",
            RatingAnswer,
            "how good an answer is, 1 to 5",
            ("1", "2", "3", "4", "5"),
            lambda answer: [VotePart("", "rating", str(answer.rating))],
        ),
        AnnotationKind(
            "thumb",
            "answer",
            ThumbAnswer,
            "whether an answer is good",
            ("down", "up"),
            lambda answer: [VotePart("", "thumb", "up" if answer.up else "down")],
        ),
        AnnotationKind("edit", "answer", EditAnswer, "a better response"),
        AnnotationKind("comment", "answer", CommentAnswer, "words about an answer"),
    )
}
