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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

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


def _fits(_answer: KindAnswer, _answers: int) -> str | None:
    return None


def _has_a_rank_each(answer: KindAnswer, answers: int) -> str | None:
    ranks = answer.ranks if isinstance(answer, RankingAnswer) else ()
    return None if len(ranks) == answers else f"it ranks {len(ranks)} answers of {answers}"


@dataclass(frozen=True, slots=True)
class AnnotationKind:
    """A kind: `item` says what it is about, `answer` what is said; `misfit` why an answer is none to so many answers.

    `counted`: whether it says something that agreement is computed of.
    """

    name: str
    item: ItemKind
    answer: type[KindAnswer]
    about: str
    counted: bool = True
    misfit: Callable[[KindAnswer, int], str | None] = _fits


KINDS: Mapping[str, AnnotationKind] = {
    kind.name: kind
    for kind in (
        AnnotationKind("comparison", "pair", ComparisonAnswer, "which of two answers is better"),
        AnnotationKind("adherence", "gate", AdherenceAnswer, "whether an answer keeps a principle"),
        AnnotationKind("ranking", "ranking", RankingAnswer, "several answers, the best first", misfit=_has_a_rank_each),
        AnnotationKind("rating", "answer", RatingAnswer, "how good an answer is, 1 to 5"),
        AnnotationKind("thumb", "answer", ThumbAnswer, "whether an answer is good"),
        AnnotationKind("edit", "answer", EditAnswer, "a better response", counted=False),
        AnnotationKind("comment", "answer", CommentAnswer, "words about an answer", counted=False),
    )
}
