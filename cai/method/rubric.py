"""Rubrics: criteria with points, each asked about a response as the gate is, and the score that they come to.

The score is HealthBench's (arXiv 2505.08775): the points achieved by the points that could be, which are the sum of
those above zero; points below zero are lost where their criterion is met. Instead of a grader's yes or no a criterion
counts by how likely it is met. A response's score may be below zero; HealthBench clips the mean over all to [0, 1], and
so does `clipped`.

A criterion that was not answered is neither met nor missed: its points are on neither side, and it is counted. Where
no criterion with points above zero was answered there is no score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cai.core.records import Criterion, Message
from cai.method.choosing import Choose
from cai.method.gate import GateAnswer, YesOrNo, ask_yes_or_no
from cai.method.templates import Templates
from cai.models.base import NOT_THINKING, Sampling, Thinking


@dataclass(frozen=True, slots=True)
class RubricScore:
    """What a rubric's answers come to; `value` is None where there is no score; so many criteria were not answered."""

    value: float | None
    unanswered: int


def rubric_score(criteria: Sequence[Criterion], met: Sequence[float | None]) -> RubricScore:
    """Return the score of a response that meets each of the criteria with such a probability, None: not answered."""
    achieved = possible = 0.0
    unanswered = 0
    for criterion, probability in zip(criteria, met, strict=True):
        if probability is None:
            unanswered += 1
            continue
        achieved += criterion.points * probability
        possible += max(0.0, criterion.points)
    return RubricScore(achieved / possible if possible else None, unanswered)


def clipped(score: float) -> float:
    """Return a score that is a share."""
    return min(1.0, max(0.0, score))


async def ask_criterion(
    choose: Choose,
    templates: Templates,
    dialogue: tuple[Message, ...],
    criterion: Criterion,
    *,
    thinking: Thinking = NOT_THINKING,
    sampling: Sampling = Sampling(),
    seed: int = 0,
) -> GateAnswer:
    """Return how likely the dialogue's last response meets the criterion; takes and raises what `ask_gate` does."""
    text = templates.criterion(criterion.criterion)
    question = YesOrNo(text, templates.criterion_options, templates.criterion_prefill)
    return await ask_yes_or_no(choose, question, dialogue, thinking=thinking, sampling=sampling, seed=seed)
