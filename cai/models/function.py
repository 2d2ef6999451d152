"""A model that is a Python object: an engine of somebody's own, or a function from messages to text.

`engine_from` takes any object with the `Engine` protocol as it is. A function gets a list of messages (mappings with
`role` and `content`, the last one the user's) and returns the assistant's text. A plain function runs in one thread of
its own, one call at a time, and need not be safe for threads; of an `async def`, 64 calls run at once on the loop.

A function sees neither sampling nor seed, and how many tokens it used is not known: counts are 0. It gives no
log-probabilities, so it can be a judge by text only. What it raises is a RequestError of that exception's name, except
an EngineError, which passes as it is; so a function may itself say that nobody can be asked any more (EngineGoneError).
"""

import asyncio
import functools
import hashlib
import inspect
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeGuard, cast

from cai.core.errors import EngineError, EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models.asking import NO_LOGPROBS, NO_TEXT, WITHOUT_LOGPROBS
from cai.models.base import Choice, Completion, Engine, Request
from cai.models.places import Slots

PlainFunction = Callable[[list[Message]], str]
AsyncFunction = Callable[[list[Message]], Awaitable[str]]

_CONCURRENCY = 64  # calls of a coroutine function at once
_ENGINE = ("name", "concurrency", "context_length", "complete", "choose", "close")
"""What an object has that is an engine."""

_NO_STR = "not a text"
_MOST_RAW = 4_000  # characters of what a function returned or raised that a failure keeps


def engine_from(model: Engine | PlainFunction | AsyncFunction, name: str | None = None) -> Engine:
    """Return the engine that answers with `model`; raises ModelError when it is neither engine nor function.

    `name` is what provenance records of a function, in place of its own name and the hash of its source: whoever calls
    something that changes (a server, a prompt in a file) says by it what is the same model and what is another.
    """
    if isinstance(model, type):
        raise ModelError(f"{model.__name__} is a class: a model is an engine that was made of it, or a function")
    if _is_engine(model):
        if name is not None:
            raise ModelError(f"{model.name} is an engine, which has a name; only a function is given one")
        return model
    if not callable(model):
        missing = [name for name in _ENGINE if not hasattr(model, name)]
        without = f"; as an engine it lacks {', '.join(missing)}" if len(missing) < len(_ENGINE) else ""
        kind = type(model).__name__
        raise ModelError(
            f"an object of type {kind} is no model: give a name, an engine or a function from messages to text{without}"
        )
    return FunctionEngine(model, name)


class FunctionEngine:
    """A function as an engine. Made by `engine_from`; needs a running event loop when it is asked."""

    def __init__(self, function: PlainFunction | AsyncFunction, name: str | None = None) -> None:
        self.name = _name(function) if name is None else name
        self.context_length: int | None = None
        self.function = function
        self._thread = None if _is_async(function) else ThreadPoolExecutor(1, thread_name_prefix="cai-function")
        self.concurrency = _CONCURRENCY if self._thread is None else 1
        self._slots = Slots(self.concurrency)
        self._closed = False

    async def complete(self, request: Request) -> Completion:
        """Return what the function says to the messages; that it ended by itself is taken for granted."""
        messages = [Message(**message) for message in request.messages]  # the function may change what it is given
        async with self._slots:
            if self._closed:
                raise EngineGoneError(f"{self.name} was closed")
            if self._thread is None:
                answer = await self._await(messages)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(self._thread, self._call, messages)
        return Completion(_text(self.name, answer), "stop", 0, 0, 0)

    async def choose(self, _request: Request, _options: Sequence[str]) -> Choice:
        """Raise RequestError: a function gives no log-probabilities."""
        raise RequestError(
            f"{self.name} gives no log-probabilities{WITHOUT_LOGPROBS}", retryable=True, kind=NO_LOGPROBS
        )

    async def close(self) -> None:
        """Refuse every later request; a call that runs is not waited for."""
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _await(self, messages: list[Message]) -> Any:
        try:
            return await cast("AsyncFunction", self.function)(messages)
        except Exception as error:  # a function can raise whatever Python can
            raise _failure(self.name, error) from error

    def _call(self, messages: list[Message]) -> Any:
        # Not outside the thread, which a StopIteration could not leave.
        try:
            return self.function(messages)
        except Exception as error:
            raise _failure(self.name, error) from error


def _is_engine(model: object) -> TypeGuard[Engine]:
    return all(hasattr(model, name) for name in _ENGINE)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name(function: Callable[..., Any]) -> str:
    """Return what provenance records: the function's full name, and a hash of its source where that can be read.

    What it calls and what it closes over is not seen: after a change there, the run is a new one.
    """
    while isinstance(function, functools.partial):
        function = function.func
    told = function if hasattr(function, "__qualname__") else type(function)
    try:
        digest = "#" + hashlib.blake2b(inspect.getsource(told).encode(), digest_size=6).hexdigest()
    except (OSError, TypeError):
        digest = ""
    return f"function:{told.__module__}.{told.__qualname__}{digest}"


def _text(name: str, answer: Any) -> str:
    """Return the answer; raises RequestError when it is no text, or an empty one."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise RequestError(f"{name} returned a coroutine: write it with async def", retryable=False, kind=_NO_STR)
    if not isinstance(answer, str):
        message = f"{name} returned {type(answer).__name__} instead of a text"
        raise RequestError(message, retryable=False, kind=_NO_STR, raw=repr(answer)[:_MOST_RAW])
    if not answer.strip():
        raise RequestError(f"{name} returned an empty text", retryable=False, kind=NO_TEXT, raw=answer)
    try:
        answer.encode()
    except UnicodeEncodeError as error:
        message = f"{name} returned half a character, which is no text"
        raise RequestError(message, retryable=False, kind=_NO_STR, raw=ascii(answer)[:_MOST_RAW]) from error
    return answer


def _failure(name: str, error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    kind = type(error).__name__
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    raw = "".join(traceback.format_exception(error))[-_MOST_RAW:]
    return RequestError(f"{name} raised {kind}" + (f": {said}" if said else ""), retryable=True, kind=kind, raw=raw)
