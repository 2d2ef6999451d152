"""What vLLM's worker processes take with them: they end when the process that opened the engine does.

vLLM leaves its engine running, with all of the GPU's memory, when the process that started it is killed; the same
command started again would find no memory. Each worker watches that process and ends itself, and vLLM's own core
process ends with its workers. What a worker prints goes to the standard error. This module is imported in those
processes and must stay light.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any, Self

import psutil

OWNER = "CAI_VLLM_OWNER"
"""The environment variable with the owner's process id; workers on other machines do not get it, and watch nobody."""

_INTERVAL = 1.0  # seconds between two looks


class OwnedWorker:
    """Mixed into vLLM's worker class by its `worker_extension_cls`."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Begin to watch before the model is loaded, which may take minutes."""
        os.dup2(2, 1)  # what its libraries print is no part of what the owner's reader gets
        owner = os.environ.get(OWNER)
        if owner is not None:
            threading.Thread(target=_watch, args=(int(owner),), name="cai-owner", daemon=True).start()
        return super().__new__(cls)


def _watch(owner: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner)
        # One that was killed stays a zombie until its parent asks for it; its number may then go to another.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_INTERVAL)
    os.kill(os.getpid(), signal.SIGKILL)
