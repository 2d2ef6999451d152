"""Counts what passes through an engine: a `Meter` is an engine around another, a `UsageCounter` what it saw.

Each row wraps the run's engine in a meter of its own, so a row knows its tokens and the run's counter knows them all.
"""

from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeVar

from cai.core.records import Usage
from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request

Answer = TypeVar("Answer", Completion, Choice)


class UsageCounter:
    """`usage` is the sum of what was answered so far, `in_flight` how many requests wait for their answer now."""

    __slots__ = ("_cached_tokens", "_completion_tokens", "_prompt_tokens", "_requests", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self._requests = self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0

    @property
    def usage(self) -> Usage:
        """The sum; it is made when it is asked for, because every request of every row is counted twice."""
        return Usage(self._requests, self._prompt_tokens, self._cached_tokens, self._completion_tokens)

    def add(self, usage: Usage) -> None:
        """Add requests and their tokens."""
        self._requests += usage.requests
        self._prompt_tokens += usage.prompt_tokens
        self._cached_tokens += usage.cached_tokens
        self._completion_tokens += usage.completion_tokens

    def count(self, answer: Completion | Choice) -> None:
        """Add one request."""
        self._requests += 1
        self._prompt_tokens += answer.prompt_tokens
        self._cached_tokens += answer.cached_tokens
        self._completion_tokens += answer.completion_tokens


class Meter(ForwardingEngine):
    """An engine that answers through another one and adds every answer to each of its counters."""

    __slots__ = ("_counters",)

    def __init__(self, engine: Engine, *counters: UsageCounter) -> None:
        super().__init__(engine)
        self._counters = counters

    def around(self, engine: Engine) -> Engine:
        """Count what another engine answers, in the same counters."""
        return Meter(engine, *self._counters)

    def complete(self, request: Request) -> Coroutine[Any, Any, Completion]:
        """Complete and count."""
        return self._counted(self._engine.complete(request))

    def choose(self, request: Request, options: Sequence[str]) -> Coroutine[Any, Any, Choice]:
        """Choose and count."""
        return self._counted(self._engine.choose(request, options))

    async def _counted(self, answering: Awaitable[Answer]) -> Answer:
        for counter in self._counters:
            counter.in_flight += 1
        try:
            answer = await answering
        finally:
            for counter in self._counters:
                counter.in_flight -= 1
        for counter in self._counters:
            counter.count(answer)
        return answer

    async def close(self) -> None:
        """Close the metered engine."""
        await self._engine.close()
