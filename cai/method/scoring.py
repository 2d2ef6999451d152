"""Scores of a row's answers, for choosing among them: every response and every revision is asked about alike.

- `gates`: each principle that applies, by the judge's gate; the mean of how likely they are kept.
- `rubric`: each criterion, of the constitution and of the prompt; the rubric's score.
- `reward`: the score of a reward model.

A question that was not answered is never guessed; an answer of which nothing is known has no value. Choosing is the
export's (`cai.data.export.selecting`), so that the same rows can be chosen from in several ways.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from cai.core.errors import RowError
from cai.core.evidence import of_row
from cai.core.identity import derive_seed
from cai.core.records import SCORE, Finding, Message, Prompt, Row, Score, Trace
from cai.method.judge import JudgeConfiguration
from cai.method.parts import outcome_of, part_failures, together, whole_failure
from cai.method.questions import Asking, CriterionQuestions, PrincipleQuestions, Questions
from cai.method.selectors import SelectorName
from cai.method.steps import answers
from cai.models.asking import Asker
from cai.models.base import Engine
from cai.models.meter import Meter, UsageCounter

Dialogue = tuple[Message, ...]


class Scorer(Protocol):
    """A reward model that is open; what it does blocks."""

    @property
    def name(self) -> str:
        """What provenance records."""

    def score(self, dialogues: Sequence[Sequence[Message]]) -> Sequence[float | None]:
        """Return the score of each dialogue's last turn, None where it cannot be scored."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scores a row's answers: a judge as it is configured, asked in one way, or the reward model where given."""

    by: SelectorName
    engine: Engine
    configuration: JudgeConfiguration
    tally: UsageCounter
    reward: Scorer | None = None

    async def scored(self, row: Row, tally: UsageCounter) -> Row:
        """Return the row with a score for each of its answers; a row of one answer has nothing to choose, and none.

        `tally` counts this row's tokens; a reward model's are not among them. Raises RowError when a question failed
        that may be answered later.
        """
        found = dialogues(row.prompt, row.traces)
        return row if len(found) < 2 else await self.score(row, found, tally)

    async def score(self, row: Row, found: Mapping[str, Dialogue], tally: UsageCounter) -> Row:
        """Return the row with a score for each of the dialogues' last turns, by their sources; as `scored` else."""
        if self.reward is not None:
            values = await asyncio.to_thread(self.reward.score, list(found.values()))
            named = zip(found, values, strict=True)
            scores = tuple(Score(source, self.by, self.reward.name, value) for source, value in named)
            return replace(row, scores=scores)
        asker = Asker(Meter(self.engine, tally, self.tally))
        errors: dict[str, RowError] = {}
        questions = questions_of(self.by, self.configuration, row.prompt)
        scores = tuple(
            await together(
                self._score(asker, row.prompt, questions, source, said, errors) for source, said in found.items()
            )
        )
        scored = replace(row, scores=scores, failed=(*row.failed, *part_failures(errors)))
        if any(error.retryable for error in errors.values()):
            raise whole_failure(errors, of_row(scored).answered)
        return scored

    async def _score(
        self,
        asker: Asker,
        prompt: Prompt,
        questions: Questions,
        source: str,
        dialogue: Dialogue,
        errors: dict[str, RowError],
    ) -> Score:
        """Return what one answer is worth, its questions side by side; what failed goes into `errors`."""
        ask = partial(asker.choose, SCORE)
        seed = derive_seed(self.configuration.seed, prompt.id, SCORE, source)
        outcomes = await together(
            outcome_of(questions.ask(ask, dialogue, place, derive_seed(seed, name)))
            for place, name in enumerate(questions.names)
        )
        findings = []
        for name, outcome in zip(questions.names, outcomes, strict=True):
            if isinstance(outcome, RowError):
                errors[f"score:{source}:{name}"] = outcome
                outcome = Finding(name, None, None)
            findings.append(outcome)
        value = questions.value([finding.probability for finding in findings])
        return Score(source, self.by, self.engine.name, value, tuple(findings))


def dialogues(prompt: Prompt, traces: tuple[Trace, ...]) -> Mapping[str, Dialogue]:
    """Return the prompt with each of its answers, by their sources."""
    return {
        source: (*prompt.messages, Message(role="assistant", content=step.text))
        for source, step in answers(traces).items()
    }


def questions_of(by: SelectorName, configuration: JudgeConfiguration, prompt: Prompt) -> Questions:
    """Return what is asked about each answer to a prompt: the principles that apply, or the criteria."""
    asking = Asking(configuration.templates, configuration.thinking, configuration.sampling)
    if by == "rubric":
        return CriterionQuestions(asking, configuration.constitution.criteria(prompt.rubric))
    return PrincipleQuestions(asking, configuration.constitution.applicable(prompt.tags))
