"""What a training in this process took: seconds of its loop, tokens it drew, and the memory that it added."""

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from cai.train.trainers import references

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Clock:
    """Reads add up while `running`.

    `loop` has the seconds of training itself, evaluations and checkpoints included, and of references that are computed
    before it; `drawn` the tokens of prompts and answers, as the trainer counts them where answers are drawn; `memory`
    the most bytes that were in use beyond what was at the start: resident on a CPU, allocated on a GPU.
    """

    def __init__(self) -> None:
        self.loop = 0.0
        self.drawn = 0
        self.memory = 0

    @contextmanager
    def running(self, device: str) -> Iterator[None]:
        """Time what trains inside the block."""
        train, add_reference = Trainer.train, references.add_reference
        Trainer.train, vars(references)["add_reference"] = self._timed(train), self._timed(add_reference)
        gc.collect()
        before = _start_peak(device)
        try:
            yield
        finally:
            self.memory = _peak(device) - before
            Trainer.train, vars(references)["add_reference"] = train, add_reference

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*positional: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = function(*positional, **named)
            self.loop += time.perf_counter() - began
            self.drawn = int(positional[0].state.num_input_tokens_seen)
            return result

        return run


def _start_peak(device: str) -> int:
    """Forget the highest use so far, and return the present one in bytes."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier training gave back, or this one would seem to need less
    _FORGET.write_text("5")
    return _resident("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024
