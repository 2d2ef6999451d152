"""Answers that outlive a process: an engine that keeps what another one answered, and does not ask it again.

A row is many requests, and slow models take minutes for one. A run that is killed keeps its finished rows; what was
answered in rows that were not finished is kept by this. Requests are told apart by all that shapes the answer, the
seed and the engine's name among it, so that an answer that is found is the one that would be given.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, TypeAlias

import orjson

from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request

Answer = Completion | Choice
Asked: TypeAlias = tuple[str, Request, Sequence[str] | None]
"""An engine's name, what it was asked, and the options of a choice."""


def digest(asked: Asked) -> bytes:
    """Return what tells a request from all others; raises orjson.JSONEncodeError for half a character."""
    return blake2b(orjson.dumps(asked), digest_size=16).digest()


class Answers(Protocol):
    """Where answers are kept; both methods are called on the event loop, and wait for no disk."""

    def find(self, asked: Asked) -> Answer | None:
        """Return the answer to a request, where there is one."""

    def keep(self, row: str, asked: Asked, answer: Answer) -> None:
        """Keep an answer for the row of a prompt."""


class RememberingEngine(ForwardingEngine):
    """An engine as the row of one prompt sees it: what was answered before is answered from there."""

    __slots__ = ("_answers", "_name", "_row")

    def __init__(self, engine: Engine, answers: Answers, row: str) -> None:
        super().__init__(engine)
        self._name = engine.name
        self._answers = answers
        self._row = row

    def around(self, engine: Engine) -> Engine:
        """Remember what another engine answers for the same row."""
        return RememberingEngine(engine, self._answers, self._row)

    async def complete(self, request: Request) -> Completion:
        """Complete, or say again what was said."""
        asked = (self._name, request, None)
        found = self._answers.find(asked)
        if isinstance(found, Completion):
            return found
        answer = await self._engine.complete(request)
        self._answers.keep(self._row, asked, answer)
        return answer

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Choose, or say again what was chosen."""
        asked = (self._name, request, options)
        found = self._answers.find(asked)
        if isinstance(found, Choice):
            return found
        answer = await self._engine.choose(request, options)
        self._answers.keep(self._row, asked, answer)
        return answer

    async def close(self) -> None:
        """Close the other engine."""
        await self._engine.close()
