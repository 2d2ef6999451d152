"""Counts what passes through an engine: a `Meter` is an engine around another, a `UsageCounter` what it saw.

Each row wraps the run's engine in a meter of its own, so a row knows its tokens and the run's tally knows them all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cai.core.records import Message, Usage
from cai.models.base import Choice, Completion, Engine, Request


class UsageCounter:
    """Requests that were answered and their tokens, so far, and the requests in flight now."""

    __slots__ = ("cached_tokens", "completion_tokens", "in_flight", "prompt_tokens", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0

    def usage(self) -> Usage:
        """Return the count as a record."""
        return Usage(self.requests, self.prompt_tokens, self.cached_tokens, self.completion_tokens)


class Meter:
    """An engine that answers through another one and adds every answer to each of its tallies."""

    __slots__ = ("_engine", "_tallies")

    def __init__(self, engine: Engine, *tallies: UsageCounter) -> None:
        self._engine = engine
        self._tallies = tallies

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
        for tally in self._tallies:
            tally.requests += 1
            tally.prompt_tokens += completion.prompt_tokens
            tally.cached_tokens += completion.cached_tokens
            tally.completion_tokens += completion.completion_tokens
        return completion

    async def choose(self, messages: tuple[Message, ...], options: Sequence[str]) -> Choice:
        """Choose and count; a choice reads one token."""
        with self._in_flight():
            choice = await self._engine.choose(messages, options)
        for tally in self._tallies:
            tally.requests += 1
            tally.prompt_tokens += choice.prompt_tokens
            tally.cached_tokens += choice.cached_tokens
            tally.completion_tokens += 1
        return choice

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        for tally in self._tallies:
            tally.in_flight += 1
        try:
            yield
        finally:
            for tally in self._tallies:
                tally.in_flight -= 1

    async def close(self) -> None:
        """Close the metered engine."""
        await self._engine.close()
