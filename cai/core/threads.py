"""Blocking work beside an event loop: files, URLs, hub streams and tokenizers, which would stall all requests on it.

`asyncio.to_thread` is not enough where a server that hangs is waited for: its threads are waited for when the loop is
closed, and again when the process ends. These are left behind at either.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_thread(work: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run `work` in a thread of its own and return the future of what it returns or raises.

    Who cancels the future leaves the thread behind: the work goes on, and what comes of it is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        deliver: Callable[[], None]
        try:
            result = work()
        except BaseException as error:  # whatever it is, it is raised where the work is waited for
            deliver = partial(_deliver, future, future.set_exception, error)
        else:
            deliver = partial(_deliver, future, future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            loop.call_soon_threadsafe(deliver)

    threading.Thread(target=run, name="cai-blocking", daemon=True).start()
    return future


def _deliver(future: asyncio.Future[Any], deliver: Callable[[Any], None], outcome: Any) -> None:
    if not future.done():
        deliver(outcome)


async def finished(future: asyncio.Future[Result]) -> Result:
    """Wait for work that must not be left behind: a cancelled task waits too, and is cancelled afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and future.exception() is None:
        raise cancelled
    return future.result()
