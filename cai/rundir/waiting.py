"""Ctrl-C and SIGTERM while another machine is waited for: heard at once.

A job's event loop hears signals only between two steps of its tasks, and takes none of them while one step waits for an
answer; so while it waits, a handler of its own is in place. Only a program's main thread has handlers, and a signal
that the process ignores, or dies of, is left to that. Nothing is lost, because a run survives being killed anywhere.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cai.core.errors import InterruptError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Raise InterruptError with the sentence when a signal comes inside the block, which only waits, reads or sends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    try:
        try:
            for number in before:
                signal.signal(number, _interrupt)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    except KeyboardInterrupt:
        raise InterruptError(sentence) from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # and no Exception, because libraries catch those
