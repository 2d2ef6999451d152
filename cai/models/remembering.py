"""Answers that outlive a process: an engine that keeps what another one answered, and does not ask it again.

A row is many requests, and slow models take minutes for one. A run that is killed keeps its finished rows; what was
answered in rows that were not finished is kept by this. Requests are told apart by all that shapes the answer, the
seed and the engine's name among it, so that an answer that is found is the one that would be given.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Protocol

import orjson

from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request

Answer = Completion | Choice


class Answers(Protocol):
    """Where answers are kept; both methods are called on the event loop, and wait for no disk."""

    def find(self, request: bytes) -> Answer | None:
        """Return the answer to the request of this digest, where there is one."""

    def keep(self, row: str, request: bytes, answer: Answer) -> None:
        """Keep an answer for the row of a prompt; raises StoreError when the disk refuses."""


class RememberingEngine(ForwardingEngine):
    """An engine as the row of one prompt sees it: what was answered before is answered from there."""

    __slots__ = ("_answers", "_row")

    def __init__(self, engine: Engine, answers: Answers, row: str) -> None:
        super().__init__(engine)
        self._answers = answers
        self._row = row

    def around(self, engine: Engine) -> Engine:
        """Remember what another engine answers for the same row."""
        return RememberingEngine(engine, self._answers, self._row)

    async def complete(self, request: Request) -> Completion:
        """Complete, or say again what was said."""
        name = self._digest(request, None)
        found = self._answers.find(name)
        if isinstance(found, Completion):
            return found
        answer = await self._engine.complete(request)
        self._answers.keep(self._row, name, answer)
        return answer

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Choose, or say again what was chosen."""
        name = self._digest(request, options)
        found = self._answers.find(name)
        if isinstance(found, Choice):
            return found
        answer = await self._engine.choose(request, options)
        self._answers.keep(self._row, name, answer)
        return answer

    def _digest(self, request: Request, options: Sequence[str] | None) -> bytes:
        asked: tuple[Any, ...] = (self._engine.name, request, options)
        return blake2b(orjson.dumps(asked), digest_size=16).digest()

    async def close(self) -> None:
        """Close the other engine."""
        await self._engine.close()
