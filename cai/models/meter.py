"""Counts what passes through an engine: a `Meter` is an engine around another, a `UsageCounter` what it saw.

Each row wraps the run's engine in a meter of its own, so a row knows its tokens and the run's counter knows them all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cai.core.records import Message, Usage
from cai.models.base import Choice, Completion, Engine, Request


class UsageCounter:
    """`usage` is the sum of what was answered so far, `in_flight` how many requests wait for their answer now."""

    __slots__ = ("in_flight", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self.in_flight = 0

    def add(self, usage: Usage) -> None:
        """Add requests and their tokens."""
        self.usage += usage


class Meter:
    """An engine that answers through another one and adds every answer to each of its counters."""

    __slots__ = ("_counters", "_engine")

    def __init__(self, engine: Engine, *counters: UsageCounter) -> None:
        self._engine = engine
        self._counters = counters

    @property
    def name(self) -> str:
        """The metered engine's name."""
        return self._engine.name

    @property
    def concurrency(self) -> int:
        """The metered engine's concurrency."""
        return self._engine.concurrency

    @property
    def context_length(self) -> int | None:
        """The metered engine's context length."""
        return self._engine.context_length

    async def complete(self, request: Request) -> Completion:
        """Complete and count."""
        with self._in_flight():
            completion = await self._engine.complete(request)
        for counter in self._counters:
            counter.add(completion.usage)
        return completion

    async def choose(self, messages: tuple[Message, ...], options: Sequence[str]) -> Choice:
        """Choose and count."""
        with self._in_flight():
            choice = await self._engine.choose(messages, options)
        for counter in self._counters:
            counter.add(choice.usage)
        return choice

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        for counter in self._counters:
            counter.in_flight += 1
        try:
            yield
        finally:
            for counter in self._counters:
                counter.in_flight -= 1

    async def close(self) -> None:
        """Close the metered engine."""
        await self._engine.close()
