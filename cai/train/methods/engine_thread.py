"""An engine for code that has no event loop: it lives on a thread with a loop of its own.

Trainers call rewards from their own, synchronous thread; engines are asynchronous and belong to the loop that they were
opened on.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from cai.models.base import Engine

Answer = TypeVar("Answer")


class EngineThread:
    """A context manager: opens the engine on entering, closes it on leaving, whatever happened in between.

    Entering raises what `opening` raises, such as ModelError. It can be entered again after it was left.
    """

    def __init__(self, opening: Callable[[], Awaitable[Engine]]) -> None:
        self._opening = opening
        self._ready: Future[tuple[Engine, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread()

    def __enter__(self) -> Self:
        self._ready = Future()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()
        self._ready.result()
        return self

    def ask(self, question: Callable[[Engine], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run `question(engine)` on the engine's loop, wait for it, and return or raise what it does."""
        engine, loop, _ = self._ready.result()
        return asyncio.run_coroutine_threadsafe(question(engine), loop).result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _, loop, leaving = self._ready.result()
        loop.call_soon_threadsafe(leaving.set)
        self._thread.join()

    def _serve(self) -> None:
        try:
            asyncio.run(self._live())  # on its way out it cancels what is still being asked
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _live(self) -> None:
        engine = await self._opening()
        leaving = asyncio.Event()
        self._ready.set_result((engine, asyncio.get_running_loop(), leaving))
        try:
            await leaving.wait()
        finally:
            await engine.close()
