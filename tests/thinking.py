"""An engine around another one that thinks before everything it says, and keeps what it was asked."""

from collections.abc import Sequence
from dataclasses import replace

from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request

THOUGHT = "Let me see: <think> is a tag."


class ThinkingEngine(ForwardingEngine):
    """Says and weighs what the other engine does; thinks where the request does not turn that off."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.requests: list[Request] = []
        self.thoughts = 0

    async def complete(self, request: Request) -> Completion:
        """Complete, with a thought."""
        return replace(await self._engine.complete(request), reasoning=self._think(request))

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Choose, with a thought."""
        return replace(await self._engine.choose(request, options), reasoning=self._think(request))

    async def close(self) -> None:
        """Close the other."""
        await self._engine.close()

    def _think(self, request: Request) -> str:
        self.requests.append(request)
        if request.thinking.mode == "off":
            return ""
        self.thoughts += 1
        return f"{THOUGHT} {self.thoughts}"
