"""What a model can do and how fast: it is opened, asked for a text and for log-probabilities, and timed in bursts."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models import EngineOptions, open_engine
from cai.models.base import NOT_THINKING, Choice, Completion, Engine, Request, Sampling, Thinking
from cai.models.spec import ModelSpec

Result = TypeVar("Result")

Habit = Literal["never", "when told", "by default", "always"]
"""When a model thinks before it answers. What is always can only think; what is never may be too short to be seen."""

_TOLD_EVERY = 8.0  # seconds of waiting after which a person is told, and told again, what for
_QUESTION = "Can I take ibuprofen with a cold?"
_THOUGHT_TOKENS = 256
BURST_REQUESTS, BURST_TOKENS = 32, 64
BURST_SECONDS = 20.0
_PROMPT_BURST_REPEATS = 40
"""So often the question stands in a prompt of the second burst: 300 to 400 tokens, which fit every model."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found; speeds are in tokens a second over a burst of requests.

    `tokens_per_second` counts the tokens generated after a short prompt, `prompt_tokens_per_second` those of prompts
    that are read anew for a single token. They are None when no request of the burst ended, when one failed (`failure`
    says how; its retries would count as work), and where a server does not count tokens. `choices` is None when the
    model gives log-probabilities, else why it does not.

    `thinks` is None when a request to find it out failed. The masses are what the letters of a verdict weigh together:
    as the model answers by itself, and with its answer begun up to them. A verdict needs a half at least.
    """

    name: str
    opened_in: float
    answer: str
    answered_in: float
    thinks: Habit | None
    choices: str | None
    letters_mass: float | None
    begun_letters_mass: float | None
    context_length: int | None
    concurrency: int
    tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class _Burst:
    """What ended of requests made at once, in how many seconds, and why one of them failed, if one did."""

    ended: list[Completion]
    seconds: float
    failure: str | None

    def rate(self, tokens: Callable[[Completion], int]) -> float | None:
        """Return the tokens a second; None when they say nothing about the model."""
        return None if self.failure else sum(map(tokens, self.ended)) / self.seconds or None


async def check_model(spec: ModelSpec, options: EngineOptions, verdict: Request, letters: Sequence[str]) -> Findings:
    """Open a model and ask it something; `verdict` asks for one of the `letters`, its prefill begins the answer.

    Raises ModelError when the model cannot be opened, EngineError when it is silent.
    """
    say = options.say or (lambda _line: None)
    began = time.perf_counter()
    engine = await _patiently(say, "opening it", open_engine(spec, options))
    try:
        opened = time.perf_counter()
        completion = await _patiently(say, "waiting for its first answer", engine.complete(_request(0)))
        answered = time.perf_counter()
        thinks = await _patiently(say, "seeing when it thinks", _habit(engine))
        choices, plain = await _patiently(
            say, "waiting for its log-probabilities", _choose(engine, replace(verdict, prefill=""), letters)
        )
        _, begun = await _patiently(say, "seeing how it goes on with an answer", _choose(engine, verdict, letters))
        writing = await _patiently(say, "measuring how fast it writes", _burst(engine, _request))
        long_request = partial(_long_request, secrets.token_hex(4))
        reading = await _patiently(say, "measuring how fast it reads", _burst(engine, long_request))
        return Findings(
            name=engine.name,
            opened_in=opened - began,
            answer=completion.text or completion.reasoning,
            answered_in=answered - opened,
            thinks=thinks,
            choices=choices,
            letters_mass=plain.mass if plain else None,
            begun_letters_mass=begun.mass if begun else None,
            context_length=engine.context_length,
            concurrency=engine.concurrency,
            tokens_per_second=writing.rate(lambda completion: completion.completion_tokens),
            prompt_tokens_per_second=reading.rate(
                lambda completion: completion.prompt_tokens - completion.cached_tokens
            ),
            failure=writing.failure or reading.failure,
        )
    finally:
        await _patiently(say, "closing it", engine.close())


async def _patiently(say: Callable[[str], None], what: str, work: Awaitable[Result]) -> Result:
    """Return what `work` returns, and `say` every few seconds what is waited for."""
    task = asyncio.ensure_future(work)
    waited = 0.0
    while not (await asyncio.wait({task}, timeout=_TOLD_EVERY))[0]:
        waited += _TOLD_EVERY
        say(f"{what}, for {waited:.0f} s so far")
    return task.result()


def _request(seed: int) -> Request:
    question: Message = {"role": "user", "content": _QUESTION}
    return Request((question,), Sampling(max_tokens=BURST_TOKENS), seed)


def _long_request(check: str, seed: int) -> Request:
    """Return a request that is nearly all prompt, and begins like no other, so that no cache has read it before.

    `check` is different in every check: a server still has in its cache what the last one asked.
    """
    question: Message = {"role": "user", "content": f"{check} {seed}. {_QUESTION * _PROMPT_BURST_REPEATS}"}
    return Request((question,), Sampling(max_tokens=1), seed)


async def _habit(engine: Engine) -> Habit | None:
    """Return when the model thinks; None when a request failed."""
    try:
        if await _thinks(engine, Thinking()):
            return "always" if await _thinks(engine, NOT_THINKING) else "by default"
        return "when told" if await _thinks(engine, Thinking("on")) else "never"
    except (RequestError, ModelError):
        return None


async def _thinks(engine: Engine, thinking: Thinking) -> bool:
    question: Message = {"role": "user", "content": _QUESTION}
    request = Request((question,), Sampling(temperature=0.0, max_tokens=_THOUGHT_TOKENS), thinking=thinking)
    return bool((await engine.complete(request)).reasoning)


async def _choose(engine: Engine, verdict: Request, letters: Sequence[str]) -> tuple[str | None, Choice | None]:
    """Return how likely the letters are; or why that is not known."""
    try:
        return None, await engine.choose(verdict, letters)
    except (RequestError, ModelError) as error:
        return str(error), None


async def _burst(engine: Engine, request: Callable[[int], Request]) -> _Burst:
    """Make requests at once; what has not ended after 20 seconds is given up. Raises EngineGoneError."""
    began = time.perf_counter()
    tasks = [asyncio.create_task(engine.complete(request(1 + i))) for i in range(BURST_REQUESTS)]
    done, late = await asyncio.wait(tasks, timeout=BURST_SECONDS)
    seconds = time.perf_counter() - began
    for task in late:
        task.cancel()
    ended = await asyncio.gather(*done, *late, return_exceptions=True)
    gone = [result for result in ended if isinstance(result, EngineGoneError)]
    if gone:
        raise gone[0]
    failed = (RequestError, asyncio.CancelledError)
    for result in ended:
        if isinstance(result, BaseException) and not isinstance(result, failed):
            raise result
    failures = [str(result) for result in ended if isinstance(result, RequestError)]
    answers = [result for result in ended if not isinstance(result, BaseException)]
    return _Burst(answers, seconds, failures[0] if failures else None)
