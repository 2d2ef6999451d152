"""What is asked about one answer, question by question, and what the answers come to: principles kept, criteria met.

Whatever scores answers asks here: selection, evaluation, and the rewards of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cai.constitution import Principle, Severity
from cai.core.identity import steady
from cai.core.records import Criterion, Finding, Message
from cai.method.choosing import Choose
from cai.method.gate import ask_gate
from cai.method.rubric import ask_criterion, rubric_score
from cai.method.templates import Templates
from cai.models.base import NOT_THINKING, Sampling, Thinking

SEVERITY_WEIGHTS = {Severity.CRITICAL: 4.0, Severity.MAJOR: 2.0, Severity.MINOR: 1.0}


@dataclass(frozen=True, slots=True)
class Asking:
    """How each question is asked: in which words, and what is thought before; see `gate.ask_gate`."""

    templates: Templates
    thinking: Thinking = NOT_THINKING
    sampling: Sampling = Sampling()


class Questions(Protocol):
    """Questions about a response; `names` are the principles' ids, or the criteria's words."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each question is about."""

    async def ask(self, choose: Choose, dialogue: tuple[Message, ...], place: int, seed: int) -> Finding:
        """Return the answer to the question at `place` about the dialogue's last turn; raises what `choose` raises."""

    def value(self, answers: Sequence[float | None]) -> float | None:
        """Return what the answers come to, in the questions' order, None for each that was not answered."""


@dataclass(frozen=True, slots=True)
class PrincipleQuestions:
    """Whether each principle is kept; the value is the mean by weight and severity, in [0, 1]."""

    asking: Asking
    principles: tuple[Principle, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The principles' ids."""
        return tuple(principle.id for principle in self.principles)

    async def ask(self, choose: Choose, dialogue: tuple[Message, ...], place: int, seed: int) -> Finding:
        """Return how likely the principle at `place` is kept."""
        principle, how = self.principles[place], self.asking
        found = await ask_gate(
            choose, how.templates, dialogue, principle, thinking=how.thinking, sampling=how.sampling, seed=seed
        )
        kept = None if found.probability is None else steady(1.0 - found.probability)
        return Finding(principle.id, kept, found.mass)

    def value(self, answers: Sequence[float | None]) -> float | None:
        """Return the mean of what was answered."""
        return weighted_mean(answers, self.principles)


@dataclass(frozen=True, slots=True)
class CriterionQuestions:
    """Whether each criterion of a rubric is met; the value is the rubric's score, at most 1."""

    asking: Asking
    criteria: tuple[Criterion, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The criteria's words."""
        return tuple(criterion.criterion for criterion in self.criteria)

    async def ask(self, choose: Choose, dialogue: tuple[Message, ...], place: int, seed: int) -> Finding:
        """Return how likely the criterion at `place` is met."""
        criterion, how = self.criteria[place], self.asking
        found = await ask_criterion(
            choose, how.templates, dialogue, criterion, thinking=how.thinking, sampling=how.sampling, seed=seed
        )
        return Finding(criterion.criterion, found.probability, found.mass)

    def value(self, answers: Sequence[float | None]) -> float | None:
        """Return the score of what was answered."""
        return rubric_score(self.criteria, answers).value


def weighted_mean(kept: Sequence[float | None], principles: Sequence[Principle]) -> float | None:
    """Return the mean of what was answered, by weight times severity; None when nothing was."""
    total = weights = 0.0
    for value, principle in zip(kept, principles, strict=True):
        if value is not None:
            weight = principle.weight * SEVERITY_WEIGHTS[principle.severity]
            total += weight * value
            weights += weight
    return total / weights if weights else None
