"""Running out of a device's memory: how it is noticed, and how what is held in reserve is given back."""

from collections.abc import Callable

import torch

_SAID_ELSEWHERE = ("DefaultCPUAllocator:", "out of memory")
"""How torch's allocators without an exception of their own say it, and drivers under them."""


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says that a device's memory, or the machine's, was not enough."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID_ELSEWHERE)


def memory_error(work: Callable[[], None]) -> str | None:
    """Do `work`; return what was said when memory ran out, None when it did not.

    The exception is gone by then: its traceback would keep alive all that `work` had allocated.
    """
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return str(error) or "out of memory"
    return None


def release(device: torch.device) -> None:
    """Return the memory that torch holds in reserve to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
