"""A run without a model: the same rows ask the same questions, and answers whose length is left open are counted.

Rows are made by `cai.method.row`, so what is counted here is what a run asks, not a formula beside it. A written answer
is a mark that stands for a text of any length; a request's tokens are then those of its own words, and one length for
each mark in it. One dry run so gives a run's tokens for every length of answer.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cai.core.errors import RowError
from cai.core.records import Message, Prompt, Provenance
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.row import Generation, Judging
from cai.models.base import Choice, Completion, Request
from cai.models.meter import UsageCounter
from cai.models.tokens import TokenCounter

_MARK = "\ufdd0"  # a noncharacter of Unicode: no text that can be a prompt's has it
_ANSWER = re.compile(f"{_MARK}[0-9]+{_MARK}")


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of models; tokens of requests as they are sent, whatever a cache may save."""

    requests: int
    prompt_tokens: int
    completion_tokens: int

    def scaled(self, factor: float) -> "Load":
        """Return so many times the load, rounded."""
        return Load(
            round(factor * self.requests), round(factor * self.prompt_tokens), round(factor * self.completion_tokens)
        )


@dataclass(slots=True)
class Outline:
    """What rows ask, before it is said how long an answer is.

    `quoted` counts the answers that requests show again. `written` counts the answers by the limit on their tokens.
    """

    choices: int = 0
    own_tokens: int = 0
    quoted: int = 0
    written: Counter[int] = field(default_factory=Counter)

    def load(self, length: int) -> Load:
        """Return the load when every answer is `length` tokens, or its limit."""
        return Load(
            requests=self.choices + self.written.total(),
            prompt_tokens=self.own_tokens + self.quoted * length,
            completion_tokens=self.choices + sum(count * min(length, limit) for limit, count in self.written.items()),
        )


@dataclass(frozen=True, slots=True)
class Cast:
    """What a run is made of, models aside: the method, the configuration, and how each side's tokens are counted."""

    method: Method
    judge_configuration: JudgeConfiguration
    samples: int
    counter: TokenCounter
    judge_counter: TokenCounter


@dataclass(slots=True)
class Course:
    """How a rehearsed run goes.

    Every `broken`-th choice says that a principle is broken, counted over all rows (0: none does); `alike` makes all
    answers the same, which a judge is not asked about.
    """

    broken: int
    alike: bool
    choices: int = 0
    answers: int = 0

    def answer(self) -> str:
        """Return the next answer's mark."""
        self.answers += not self.alike
        return f"{_MARK}{self.answers}{_MARK}"

    def choice(self) -> tuple[float, float]:
        """Return the next choice's probabilities, the first option meaning that the principle is broken."""
        self.choices += 1
        return (1.0, 0.0) if self.broken and self.choices % self.broken == 0 else (0.0, 1.0)


class RehearsalEngine:
    """Answers with marks, as its course has it, and notes in the outline what was asked."""

    name = "rehearsal"
    concurrency = 1
    context_length = None

    def __init__(self, counter: TokenCounter, course: Course, outline: Outline) -> None:
        self._counter = counter
        self._course = course
        self._outline = outline

    async def complete(self, request: Request) -> Completion:
        """Return the next mark."""
        self._note(request.messages)
        self._outline.written[request.sampling.max_tokens] += 1
        return Completion(self._course.answer(), "stop", 0, 0, 0)

    async def choose(self, messages: tuple[Message, ...], options: Sequence[str]) -> Choice:  # noqa: ARG002  (always two)
        """Return the next probabilities."""
        self._note(messages)
        self._outline.choices += 1
        return Choice(self._course.choice(), 1.0, 0, 0)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _note(self, messages: Iterable[Message]) -> None:
        own: list[Message] = []
        for message in messages:
            content = message["content"]
            if _MARK in content:
                content, answers = _ANSWER.subn("", content)
                self._outline.quoted += answers
            own.append({"role": message["role"], "content": content})
        self._outline.own_tokens += self._counter.count(own)


def rehearse(prompts: Iterable[Prompt], cast: Cast, course: Course) -> Outline:
    """Return what the prompts' rows ask; a row that the chat template refuses asks nothing.

    It runs an event loop of its own, so a thread that has one already cannot call it.
    """
    return asyncio.run(_rehearse(prompts, cast, course))


async def _rehearse(prompts: Iterable[Prompt], cast: Cast, course: Course) -> Outline:
    outline = Outline()
    judged = Course(0, alike=True)  # what a judge says changes nothing that is asked
    for prompt in prompts:
        asked = Outline()
        judging = Judging(RehearsalEngine(cast.judge_counter, judged, asked), cast.judge_configuration, UsageCounter())
        engine = RehearsalEngine(cast.counter, course, asked)
        try:
            await Generation(engine, cast.method, cast.samples, _NOWHERE, judging).row(prompt)
        except RowError:
            continue
        outline.choices += asked.choices
        outline.own_tokens += asked.own_tokens
        outline.quoted += asked.quoted
        outline.written += asked.written
    return outline


_NOWHERE = Provenance("", "", "", "", "", "", "", 0, 0)
"""Rehearsed rows are thrown away, so nobody asks where they come from."""
