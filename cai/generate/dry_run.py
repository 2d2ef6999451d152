"""A dry run: what rows would ask of models, counted without a model, whatever these would answer.

Rows are made by `cai.method`, so what is counted here is what a run asks, not a formula beside it. A written answer is
a mark that stands for a text of any length; a request's tokens are then those of its own words, and one length for each
mark in it. Every principle is broken and no two answers are alike, so that all is asked that can be; and because what a
round asks does not depend on the rounds before it, one pass tells what is asked where fewer principles are broken.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from cai.core.errors import RowError
from cai.core.records import SCORE, Comparison, Message, Prompt, Trace
from cai.method.comparing import comparisons
from cai.method.critique import REVISION_TRIES, Method, respond_and_revise
from cai.method.judge import JudgeConfiguration, judge
from cai.method.row import to_be_judged
from cai.method.scoring import dialogues, questions_of
from cai.method.selectors import Selection
from cai.method.settings import RankingSettings
from cai.models.asking import Asker
from cai.models.base import Choice, Completion, Request
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
class Demand:
    """What is asked, before it is said how long an answer is.

    `quoted` counts the answers that requests show again. `written` counts the answers by the limit on their tokens.
    `thoughts` are the tokens that could be thought beside those of the answers.
    """

    choices: int = 0
    own_tokens: int = 0
    quoted: int = 0
    thoughts: int = 0
    written: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Demand") -> None:
        """Ask for all of this too."""
        self.choices += other.choices
        self.own_tokens += other.own_tokens
        self.quoted += other.quoted
        self.thoughts += other.thoughts
        self.written.update(other.written)

    def load(self, length: int, *, thinking: bool = False) -> Load:
        """Return the load when every answer is `length` tokens, or its limit, and with `thinking` all is thought."""
        written = sum(count * min(length, limit) for limit, count in self.written.items())
        return Load(
            requests=self.choices + self.written.total(),
            prompt_tokens=self.own_tokens + self.quoted * length,
            completion_tokens=self.choices + written + (self.thoughts if thinking else 0),
        )


@dataclass(slots=True)
class Demands:
    """What rows ask: at least, where some gates find their principle broken, and at most: each choice twice."""

    least: Demand = field(default_factory=Demand)
    expected: Demand = field(default_factory=Demand)
    most: Demand = field(default_factory=Demand)


class _CountingEngine:
    """Answers everything, and counts what it is asked: `always`, and in `rounds` what each choice brings about.

    A choice takes the first option: of a gate, that the principle is broken. `again` are the choices that would be
    asked once more if the answer had to be begun for the model (`cai.method.choosing`), and the further tries at every
    second text behind the first, which is a revision, where `tries` is more than one.
    """

    name = "dry run"
    concurrency = 1
    context_length = None

    def __init__(self, counter: TokenCounter, sample: int = 0, tries: int = 1) -> None:
        self.always = Demand()
        self.again = Demand()
        self.rounds: list[Demand] = []
        self._counter = counter
        self._sample = sample
        self._tries = tries
        self._answers = 0

    async def complete(self, request: Request) -> Completion:
        """Return the next mark, which no other sample's is."""
        demand = self.rounds[-1] if self.rounds else self.always
        tries = self._tries - 1 if self._answers and self._answers % 2 == 0 else 0
        for asked in (demand, *[self.again] * tries):
            self._count(request.messages, asked)
            asked.written[request.sampling.max_tokens] += 1
            if request.thinking.mode != "off":
                asked.thoughts += request.thinking.budget or 0
        self._answers += 1
        return Completion(f"{_MARK}{self._sample}{self._answers:09}{_MARK}", "stop", 0, 0, 0)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:  # noqa: ARG002  (always two)
        """Choose the first option."""
        for demand in (self.always, self.again):
            self._count(request.messages, demand)
            demand.choices += 1
            if request.thinking.mode != "off":
                demand.thoughts += request.thinking.budget or request.sampling.max_tokens
        self.rounds.append(Demand())
        return Choice((1.0, 0.0), 1.0, 0, 0)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _count(self, messages: Iterable[Message], demand: Demand) -> None:
        own: list[Message] = []
        for message in messages:
            content = message["content"]
            if _MARK in content:
                content, answers = _ANSWER.subn("", content)
                demand.quoted += answers
            own.append({"role": message["role"], "content": content})
        demand.own_tokens += self._counter.count(own)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run is made of, models aside: its method, its judge's configuration, and what counts each one's tokens."""

    method: Method
    judge_configuration: JudgeConfiguration
    samples: int
    counter: TokenCounter
    judge_counter: TokenCounter
    ranking: RankingSettings = RankingSettings()
    responders: tuple[TokenCounter, ...] = ()
    select: Selection | None = None
    jurors: int = 1

    def demands(self, prompts: Iterable[Prompt], broken: int) -> Demands:
        """Return what the prompts' rows ask, `expected` with every `broken`-th gate finding its principle broken.

        At least: no gate does, and no two answers differ, so that none are judged. At most: every gate does, and every
        choice is asked twice, every revision as often as one that is junk. What the chat template refuses asks nothing.
        """
        try:
            self._demands(prompts, broken).send(None)
        except StopIteration as ended:  # at once, and so without an event loop: nothing here is waited for
            demands: Demands = ended.value
            return demands
        raise AssertionError("a dry run waits for something")

    async def _demands(self, prompts: Iterable[Prompt], broken: int) -> Demands:
        demands, gates = Demands(), 0
        for prompt in prompts:
            traces, revised = [], set()
            counters = (self.counter, *self.responders)
            for sample in range(self.samples * len(counters)):
                engine = _CountingEngine(counters[sample // self.samples], sample, REVISION_TRIES)
                try:
                    traces.append(await respond_and_revise(engine, self.method, prompt, sample))
                except RowError:
                    continue
                for demand in (demands.least, demands.expected, demands.most):
                    demand.add(engine.always)
                demands.most.add(engine.again)
                if not self.method.plan.gate:
                    revised.add(f"final:{sample}")
                for asked in engine.rounds:
                    gates += 1
                    demands.most.add(asked)
                    if gates % broken == 0:
                        demands.expected.add(asked)
                        revised.add(f"final:{sample}")
            await self._judge(prompt, tuple(traces), revised, demands)
            await self._score(prompt, tuple(traces), revised, demands)
        return demands

    async def _judge(
        self, prompt: Prompt, traces: tuple[Trace, ...], revised: Collection[str], demands: Demands
    ) -> None:
        """Count what the judge is asked about the row; a final text is expected only where one is in `revised`.

        Which comparisons a budget allows, verdicts decide: at most the longest, and as many of those that are expected.
        """
        compared = []
        for comparison in comparisons(prompt, traces, every=self.ranking.rank):
            asked = await self._verdicts(prompt, comparison)
            finals = {source for source in (comparison.a_source, comparison.b_source) if source.startswith("final:")}
            compared.append((asked, finals <= {*revised}))
        budget = self.ranking.rank_budget
        compared.sort(key=lambda one: one[0].most.own_tokens, reverse=budget is not None)
        for asked, _ in compared[:budget]:
            demands.most.add(asked.most)
        for asked in [asked for asked, is_expected in compared if is_expected][:budget]:
            demands.expected.add(asked.expected)

    async def _score(
        self, prompt: Prompt, traces: tuple[Trace, ...], revised: Collection[str], demands: Demands
    ) -> None:
        """Count what is asked about each answer for selection, at least nothing, where no two answers differ.

        A text between the first and the last is expected of no sample.
        """
        if self.select is None or self.select.asks != "judge":
            return
        questions = questions_of(self.select.name, self.judge_configuration, prompt)
        for source, dialogue in dialogues(prompt, traces).items():
            engine = _CountingEngine(self.judge_counter)
            ask = partial(Asker(engine).choose, SCORE)
            for place in range(len(questions.names)):
                with suppress(RowError):
                    await questions.ask(ask, dialogue, place, 0)
            demands.most.add(engine.again)
            for asked in (engine.always, *engine.rounds):
                demands.most.add(asked)
                if source.startswith("response:") or source in revised:
                    demands.expected.add(asked)

    async def _verdicts(self, prompt: Prompt, comparison: Comparison) -> Demands:
        """Return what the judge is asked about one comparison."""
        demands = Demands()
        configuration = replace(self.judge_configuration, calibrations=None)  # which asks for nothing
        for shown, principle in list(to_be_judged(configuration, prompt, [comparison])) * self.jurors:
            engine = _CountingEngine(self.judge_counter)
            try:
                await judge(engine, configuration, shown, principle, prompt.id)
            except RowError:
                continue
            demands.most.add(engine.again)
            for asked in (engine.always, *engine.rounds):
                demands.most.add(asked)
                demands.expected.add(asked)
        return demands
