"""Turns that do not begin at their beginning: behind a thought of the model, behind what the request gives, or both.

A model that thinks before it chooses, or before it goes on with what is given, is asked twice: for its thought, and for
the rest of the turn that begins with it. A thought that its budget ended is closed there. Where a server continues no
turn, letters are read without its beginning; a text is not written, for without its beginning it would be another, and
behind a thought letters cannot be read.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from cai.core.errors import RequestError
from cai.models.asking import NO_LOGPROBS, WITHOUT_LOGPROBS
from cai.models.base import NOT_THINKING, Choice, Completion, Request, Thinking
from cai.models.openai.bodies import Manner
from cai.models.openai.dialect import Dialect
from cai.models.streaming import Heard

Answer = TypeVar("Answer", Completion, Choice)

FindManner = Callable[[Dialect], Awaitable[Manner]]
"""Returns how a server is asked, which it may have to be asked for itself."""


class ThinksFirstError(Exception):
    """The model thinks before it answers, so that what it says first is no answer."""


class NotBegunError(RequestError):
    """The server cannot go on behind what a text is to begin with."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} does not continue a turn that is begun, so it cannot write a text with a given beginning; open "
            "the model as transformers:MODEL or vllm:MODEL",
            retryable=False,
        )


class NotContinuedError(RequestError):
    """The server cannot go on behind a thought."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the model of {host} thinks before it answers, and the server does not continue a turn that begins with "
            f"a thought{WITHOUT_LOGPROBS}, or open the model as transformers:MODEL or vllm:MODEL",
            retryable=False,
            kind=NO_LOGPROBS,
        )


class Servers(Protocol):
    """Asks one of several servers once more and more, each in its own manner."""

    async def ask_completion(self, request: Request, manner: FindManner, heard: Heard | None = None) -> Completion:
        """Return the assistant's turn, or the rest of it; `heard` is given what is streamed."""

    async def ask_choice(self, request: Request, options: Sequence[str], manner: FindManner) -> Choice:
        """Return how likely each option is as the next token."""


async def stream(servers: Servers, request: Request, heard: Heard) -> Completion:
    """Return the turn, heard while it comes; where it is begun, or the server refuses to stream, it is not heard."""
    if not request.prefill:
        try:
            return await servers.ask_completion(request, lambda dialect: dialect.manner(request.thinking), heard)
        except RequestError as error:
            if not error.kind.startswith("http 4"):
                raise
    return await complete(servers, request)


async def settle(request: Request, dialect: Dialect, manner: Manner, completion: Completion) -> Completion:
    """Return a completion as it is, or as the thought that the limit ended where nothing showed that it is one."""
    cut = completion.finish_reason == "length" and completion.text and not completion.reasoning
    if cut and not manner.begun and (await dialect.way(request.thinking.mode)).unopened:
        return replace(completion, text="", reasoning=completion.text.strip())
    return completion


async def complete(servers: Servers, request: Request) -> Completion:
    """Return the text behind the request's prefill; raises NotBegunError where the server continues no turn."""
    if not request.prefill:
        return await servers.ask_completion(request, lambda dialect: dialect.manner(request.thinking))
    if request.thinking.mode != "on":
        try:
            return await servers.ask_completion(request, lambda dialect: _at_once(dialect, request, begun=True))
        except ThinksFirstError:
            pass
    thought = await _think(servers, request)
    if _is_cut(thought) and request.thinking.budget is None:
        return thought
    rest = await servers.ask_completion(
        request, lambda dialect: _behind(dialect, request, thought.reasoning, begun=True)
    )
    return _together(thought, rest)


async def choose(servers: Servers, request: Request, options: Sequence[str]) -> Choice:
    """Return how likely each option is behind the request's prefill, and behind a thought if the model has one."""
    if request.thinking.mode != "on":
        try:
            return await servers.ask_choice(request, options, lambda dialect: _at_once(dialect, request))
        except ThinksFirstError:
            pass
    thought = await _think(servers, request)
    choice = await servers.ask_choice(request, options, lambda dialect: _behind(dialect, request, thought.reasoning))
    return _together(thought, choice)


async def _at_once(dialect: Dialect, request: Request, *, begun: bool = False) -> Manner:
    """Return how to ask for what follows the prefill; raises ThinksFirstError where a thought comes before it.

    With `begun` it is needed: raises NotBegunError where the server continues no turn.
    """
    mode = request.thinking.mode
    if (mode == "off" or request.prefill) and (await dialect.way(mode)).thinks:
        raise ThinksFirstError
    continuing = await dialect.continuing() if request.prefill else None
    manner = await dialect.manner(NOT_THINKING if continuing else request.thinking)
    if begun and continuing is None:
        raise NotBegunError(manner.host)
    return continuing.manner(manner, "", request.prefill) if continuing else manner


async def _behind(dialect: Dialect, request: Request, thought: str, *, begun: bool = False) -> Manner:
    """Return how to ask for what follows a thought and the prefill; `begun` is as in `_at_once`."""
    manner = await dialect.manner(NOT_THINKING)
    if thought:
        continuing = await dialect.continuing_thought()
        if continuing is None:
            raise NotBegunError(manner.host) if begun else NotContinuedError(manner.host)
        return continuing.manner(manner, thought, request.prefill)
    continuing = await dialect.continuing() if request.prefill else None
    if begun and continuing is None:
        raise NotBegunError(manner.host)
    return continuing.manner(manner, "", request.prefill) if continuing else manner


async def _think(servers: Servers, request: Request) -> Completion:
    """Let the model think, and answer as far as the limit of its thought goes: its budget, or that of a text."""
    budget = request.thinking.budget
    limit = request.sampling.max_tokens if budget is None else budget
    thinking = Thinking("on" if request.thinking.mode == "on" else "auto")
    sampling = replace(request.sampling, max_tokens=limit, stop=())
    asked = replace(request, sampling=sampling, thinking=thinking, prefill="")
    return await servers.ask_completion(asked, lambda dialect: dialect.manner(thinking))


def _is_cut(thought: Completion) -> bool:
    return thought.finish_reason == "length" and not thought.text


def _together(thought: Completion, answer: Answer) -> Answer:
    """Return an answer with the thought before it, and the tokens of both."""
    return replace(
        answer,
        reasoning=thought.reasoning,
        prompt_tokens=thought.prompt_tokens + answer.prompt_tokens,
        cached_tokens=thought.cached_tokens + answer.cached_tokens,
        completion_tokens=thought.completion_tokens + answer.completion_tokens,
    )
