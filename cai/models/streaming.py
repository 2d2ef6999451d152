"""Answers that are heard while they are written, from engines that can give them so.

An engine that has a `stream` beside `complete` gives the same answer in the end, and until then, as often as it knows
more, all of the text that there is so far; a thought is no text. Of any other engine the answer is heard once, whole.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from cai.models.base import Completion, Engine, Request

Heard = Callable[[str], None]
"""Is given all of the text that there is so far, on the event loop."""


@runtime_checkable
class StreamingEngine(Protocol):
    """An engine whose answers can be heard while they are written."""

    async def stream(self, request: Request, heard: Heard) -> Completion:
        """Return the assistant's next turn, and let its text be heard meanwhile; raises as `Engine.complete`."""


async def stream(engine: Engine, request: Request, heard: Heard) -> Completion:
    """Return an engine's answer, heard while it is written where the engine can; raises as `Engine.complete`."""
    if isinstance(engine, StreamingEngine):
        completion = await engine.stream(request, heard)
    else:
        completion = await engine.complete(request)
    heard(completion.text)
    return completion
