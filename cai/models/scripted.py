"""An engine that is a function: in memory, deterministic, with no model behind it.

Dry runs, tests and memory measurements use it as they use any other engine, so it costs microseconds a request. Tokens
are words between white space. Every answer passes through the event loop once, so that rows interleave as they do with
a real model. `default_script` makes answers up from a hash of the request.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from cai.core.errors import EngineGoneError, ModelError
from cai.core.records import Message
from cai.models.base import Choice, Completion, Request

Answer = Callable[[Request], str | Completion]
Choose = Callable[[tuple[Message, ...], Sequence[str]], Sequence[float]]

_WORDS = (
    "careful", "plain", "honest", "kind", "doctor", "answer", "question", "reason", "thing", "people",
    "right", "always", "never", "maybe", "because", "before", "after", "water", "advice", "safe",
    "clear", "first", "second", "while", "under", "other", "small", "great", "found", "again",
)  # fmt: skip
_SHORTEST, _LONGEST = 8, 40  # words in an answer of the default script


class ScriptedEngine:
    """Answers with `answer(request)` and weighs options with `choose(messages, options)`.

    `answer` returns the text, or a whole Completion when a test needs its finish reason or counts. `choose` returns one
    non-negative weight an option; their sum, at most 1, is the choice's mass. What either of them raises reaches the
    caller as it is: that is how faults are injected. `delay` (seconds) makes every request take that long.
    """

    def __init__(
        self,
        answer: Answer,
        choose: Choose,
        name: str = "scripted",
        concurrency: int = 64,
        context_length: int | None = None,
        delay: float = 0.0,
    ) -> None:
        self._answer = answer
        self._choose = choose
        self._delay = delay
        self._closed = False
        self.name = name
        self.concurrency = concurrency
        self.context_length = context_length

    async def complete(self, request: Request) -> Completion:
        """Return the script's answer; `sampling.max_tokens` words of it at most."""
        await self._pass()
        answer = self._answer(request)
        if isinstance(answer, Completion):
            return answer
        words = answer.split()
        prompt_tokens = _count(request.messages)
        if len(words) <= request.sampling.max_tokens:
            return Completion(answer, "stop", prompt_tokens, 0, len(words))
        kept = words[: request.sampling.max_tokens]
        return Completion(" ".join(kept), "length", prompt_tokens, 0, len(kept))

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Return the script's weights, normalised; with no weight at all, equal probabilities and a mass of 0."""
        await self._pass()
        weights = self._choose(request.messages, options)
        mass = sum(weights)
        if len(weights) != len(options) or min(weights) < 0 or mass > 1 + 1e-9:
            raise ModelError(f"a script weighed {len(options)} options as {list(weights)}; give each one a share of 1")
        probabilities = tuple(w / mass for w in weights) if mass > 0 else (1 / len(options),) * len(options)
        return Choice(probabilities, min(mass, 1.0), _count(request.messages), 0)

    async def close(self) -> None:
        """Refuse every later request."""
        self._closed = True

    async def _pass(self) -> None:
        if self._closed:
            raise EngineGoneError(f"{self.name} was closed")
        await asyncio.sleep(self._delay)


def default_script(delay: float = 0.0, concurrency: int = 64) -> ScriptedEngine:
    """Return the engine that `scripted` names: text and probabilities depend on messages and seed alone."""
    return ScriptedEngine(_hashed_answer, _hashed_weights, concurrency=concurrency, delay=delay)


def _count(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def _digest(messages: Sequence[Message], *parts: str) -> bytes:
    state = hashlib.blake2b(digest_size=64)
    for message in messages:
        state.update(f"{message['role']}\x1f{message['content']}\x1e".encode())
    for part in parts:
        state.update(f"{part}\x1f".encode())
    return state.digest()


def _hashed_answer(request: Request) -> str:
    digest = _digest(request.messages, str(request.seed))
    length = _SHORTEST + digest[0] % (_LONGEST - _SHORTEST + 1)
    return " ".join([_WORDS[byte % len(_WORDS)] for byte in digest[1 : length + 1]])


def _hashed_weights(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
    digest = _digest(messages, *options)
    draws = [1 + int.from_bytes(digest[2 * i : 2 * i + 2], "little") for i in range(len(options))]
    mass = 0.9 + digest[-1] / 2560  # between 0.9 and 1, as a model that keeps to the options
    return [mass * draw / sum(draws) for draw in draws]
