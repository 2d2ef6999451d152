"""The constitution's judge as a reward: how far a response keeps the principles, from 0 to 1.

The judge is asked, principle by principle, the question of `cai generate`'s gate: does this response break it? It
answers by log-probability with one token, and the reward is the mean of 1 - P(breaks) over the principles, each
weighing its weight times its severity (critical 4, major 2, minor 1). An answer whose two options weigh less than half
together is no answer: that principle is left out of that response's mean, and a response without any is not scored at
all (None: TRL then leaves it out of the group's baseline). What cannot be answered is never guessed. A question that
failed is one without an answer, and counted beside them; after `SUSPICIOUS` of them since the last batch with an answer
in it, training stops: a judge that answers nothing rewards nothing. `require_answers` tells of a shorter training that
got no answer at all, or in which there was nothing to ask.

The same judge rewards by a rubric, criterion by criterion, where that is asked for (`cai.method.rubric`).

Constitutional AI trains on a preference model's scores (arXiv 2212.08073, section 4.1); asking the judge directly, each
response on its own, is RLAIF's "direct" reward (2309.00267, section 2.2.2).

Beware of collapse: whoever says nothing breaks nothing. A response that is empty, or that the token limit cut, is worth
0 without asking; against gibberish stand the KL term (`--kl-penalty`), principles against needless refusal and
vagueness, and `cai evaluate`.
"""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from cai.constitution import Constitution
from cai.core.counts import counted
from cai.core.errors import CaiError, ContextError, EngineGoneError, RequestError, UsageError
from cai.core.records import Criterion, Message
from cai.method.questions import Asking, CriterionQuestions, PrincipleQuestions, Questions
from cai.method.rubric import clipped
from cai.method.templates import Templates
from cai.models.base import Engine
from cai.pipeline.breaker import SUSPICIOUS

Answer = TypeVar("Answer")
LogMetric = Callable[[str, float], None]


class EngineThread:
    """An engine for code that has no event loop, as a trainer is: it lives on a thread with a loop of its own.

    A context manager: opens the engine on entering, closes it on leaving, whatever happened in between.

    Entering raises what `opening` raises, such as ModelError. It can be entered again after it was left.
    """

    def __init__(self, opening: Callable[[], Awaitable[Engine]]) -> None:
        self._opening = opening
        self._ready: Future[tuple[Engine, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread()

    def __enter__(self) -> Self:
        self._ready = Future()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()
        self._ready.result()
        return self

    def ask(self, question: Callable[[Engine], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run `question(engine)` on the engine's loop, wait for it, and return or raise what it does."""
        engine, loop, _ = self._ready.result()
        return asyncio.run_coroutine_threadsafe(question(engine), loop).result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _, loop, leaving = self._ready.result()
        loop.call_soon_threadsafe(leaving.set)
        self._thread.join()

    def _serve(self) -> None:
        try:
            asyncio.run(self._live())  # on its way out it cancels what is still being asked
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _live(self) -> None:
        engine = await self._opening()
        leaving = asyncio.Event()
        self._ready.set_result((engine, asyncio.get_running_loop(), leaving))
        try:
            await leaving.wait()
        finally:
            await engine.close()


RewardName = Literal["adherence", "rubric"]

_NOTHING_TO_ASK: Mapping[RewardName, tuple[str, str]] = {
    "adherence": ("no principle for their prompt's tags", "the constitution a principle without `applies_to`"),
    "rubric": ("no criterion", "the constitution a `rubric`"),
}
"""What a whole answer lacked that nothing was asked about, and what mends it."""


class AdherenceReward:
    """A TRL reward function; a context manager that keeps the judge open.

    `log_metric`, which TRL passes, is given `kept/<principle>` or `met/<criterion>` (the mean probability, where half
    of the batch's questions or more were answered; of criteria only the constitution's), `judge/unanswered` (a share)
    and `judge/failed` (the share of those whose request failed).
    The columns `tags` and `rubric` of the prompts, where there are such, select principles and add criteria as
    everywhere. A rubric's score is clipped to [0, 1]: a response that is worth nothing is not worth less when it ends.
    """

    def __init__(
        self,
        constitution: Constitution,
        templates: Templates,
        judge: EngineThread,
        ends: Collection[int],
        reward: RewardName = "adherence",
    ) -> None:
        """Take the token ids that end a response; raises UsageError when there is no principle to ask about."""
        if reward == "adherence" and not constitution.principles:
            raise UsageError(f"the constitution {constitution.name} has no principles, so nothing can be rewarded")
        self.__name__ = reward  # TRL logs rewards under it
        self._constitution = constitution
        self._asking = Asking(templates)
        self._reward = reward
        self._judge = judge
        self._ends = ends
        self._failures = 0  # since the last batch with an answer in it
        self._asked = self._answered = 0  # questions, since this was opened
        self._given = self._cut = self._empty = 0  # responses, likewise
        self._said = "Yes and No weigh too little in its answers"

    def __enter__(self) -> Self:
        self._judge.__enter__()
        self._asked = self._answered = 0
        self._given = self._cut = self._empty = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._judge.__exit__(kind, error, traceback)

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        completions: Sequence[Sequence[Message]],
        completion_ids: Sequence[Sequence[int]],
        log_metric: LogMetric,
        tags: Sequence[Sequence[str]] | None = None,
        rubric: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        **_columns: Any,
    ) -> list[float | None]:
        """Return one reward a completion, None where the judge gave no answer.

        Raises what the judge raises when it cannot be asked any more, or when all it was asked fails.
        """
        dialogues = [(*prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)]
        cut = [ids[-1] not in self._ends for ids in completion_ids]
        empty = [not dialogue[-1]["content"].strip() for dialogue in dialogues]
        worthless = [short or nothing for short, nothing in zip(cut, empty, strict=True)]
        self._given += len(worthless)
        self._cut += sum(cut)
        self._empty += sum(worthless) - sum(cut)
        asked = [
            self._questions(own, criteria, nothing=nothing)
            for nothing, own, criteria in zip(
                worthless, tags or [()] * len(prompts), rubric or [()] * len(prompts), strict=True
            )
        ]
        errors: list[RequestError] = []
        found = self._judge.ask(lambda engine: self._ask(engine, dialogues, asked, errors))
        self._log(found, asked, errors, log_metric)
        self._stop_if_all_fail(found, errors)
        return [
            0.0 if nothing else _clipped(questions.value(answers))
            for nothing, answers, questions in zip(worthless, found, asked, strict=True)
        ]

    def _questions(self, tags: Sequence[str], rubric: Sequence[Mapping[str, Any]], *, nothing: bool) -> Questions:
        """Return what is asked about a response: of one that is worth nothing, nothing."""
        if self._reward == "adherence":
            return PrincipleQuestions(self._asking, () if nothing else self._constitution.applicable(tags))
        own = tuple(Criterion(one["criterion"], one["points"]) for one in rubric)
        return CriterionQuestions(self._asking, () if nothing else self._constitution.criteria(own))

    def _stop_if_all_fail(self, kept: Sequence[Sequence[float | None]], errors: Sequence[RequestError]) -> None:
        answered = sum(value is not None for row in kept for value in row)
        self._asked += sum(len(row) for row in kept)
        self._answered += answered
        self._said = str(errors[-1]) if errors else self._said
        self._failures = 0 if answered else self._failures + len(errors)
        if self._failures >= SUSPICIOUS:
            raise EngineGoneError(f"the last {self._failures} questions to the judge failed: {errors[-1]}")

    def require_answers(self) -> None:
        """Raise EngineGoneError when the judge answered nothing since this was opened, CaiError when nothing was asked.

        Before a response was given, neither.
        """
        if self._given and not self._asked:
            lacking, mend = _NOTHING_TO_ASK[self._reward]
            rest = self._given - self._cut - self._empty
            raise CaiError(
                f"the judge was asked about none of {counted(self._given, 'answer')}, so nothing was learned: "
                f"{self._cut} did not end within --max-tokens, {self._empty} were empty, and {rest} had {lacking}; "
                f"give more --max-tokens, a model that ends its answers, or {mend}"
            )
        if self._asked and not self._answered:
            raise EngineGoneError(
                f"the judge answered none of {self._asked} questions, so nothing was learned: {self._said}"
            )

    async def _ask(
        self,
        engine: Engine,
        dialogues: Sequence[tuple[Message, ...]],
        asked: Sequence[Questions],
        errors: list[RequestError],
    ) -> list[list[float | None]]:
        """Return how each question about each dialogue's last turn is answered; gather what failed.

        A dialogue's questions are asked side by side, so that an engine finds their common beginning cached.
        """
        room = asyncio.Semaphore(engine.concurrency)

        async def ask(dialogue: tuple[Message, ...], questions: Questions, place: int) -> float | None:
            async with room:
                try:
                    return (await questions.ask(engine.choose, dialogue, place, 0)).probability
                except ContextError as error:
                    self._said = str(error)
                except RequestError as error:
                    errors.append(error)
                return None

        rows = (
            asyncio.gather(*(ask(dialogue, questions, place) for place in range(len(questions.names))))
            for dialogue, questions in zip(dialogues, asked, strict=True)
        )
        return await asyncio.gather(*rows)

    def _log(
        self,
        found: Sequence[Sequence[float | None]],
        about: Sequence[Questions],
        errors: Sequence[RequestError],
        log_metric: LogMetric,
    ) -> None:
        answers: defaultdict[str, list[float]] = defaultdict(list)
        known: Counter[str] = Counter()
        asked = unanswered = 0
        for row, questions in zip(found, about, strict=True):
            for value, name in zip(row, questions.names, strict=True):
                asked += 1
                known[name] += 1
                if value is None:
                    unanswered += 1
                else:
                    answers[name].append(value)
        shared = {one.criterion for one in self._constitution.rubric}
        for name, values in answers.items():
            if 2 * len(values) < known[name] or (self._reward == "rubric" and name not in shared):
                continue
            log_metric(f"{'kept' if self._reward == 'adherence' else 'met'}/{name}", sum(values) / len(values))
        if asked:
            log_metric("judge/unanswered", unanswered / asked)
            log_metric("judge/failed", len(errors) / asked)


def _clipped(value: float | None) -> float | None:
    return None if value is None else clipped(value)
