"""A training on all GPUs of this machine, started from a process that has one place for it: `accelerate launch` for it.

Every GPU gets a process. Each holds the whole model where that fits, and otherwise a share of it (FSDP); both launch
files are in `cai/launch`. What the main one has to say comes back line by line; when this process is asked to stop, the
others are, and go on after the same command as ever.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

import orjson
import torch

from cai.core.errors import CaiError
from cai.train.hardware import state_bytes
from cai.train.launch_file import write_launch
from cai.train.methods import find_method
from cai.train.model import find_source, measure
from cai.train.settings import TrainSettings

LAUNCH = Path(__file__).parent.parent / "launch"
Launch = Literal["ddp", "fsdp", "cpu2"]

_SHARE = 0.6  # of a GPU's memory that weights, gradients and optimiser may take before they are sharded
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def gpus_to_share(device: str) -> int:
    """Return how many GPUs a training on this device would have to share among processes that nobody has started yet.

    1 where there is one, or none, and in a process that a launcher started.
    """
    if "WORLD_SIZE" in os.environ or device not in ("auto", "cuda"):
        return 1
    return max(1, torch.cuda.device_count())


def choose_launch(settings: TrainSettings, memory: int) -> Launch:
    """Return how processes share the work on GPUs of so many bytes: each with the whole model, where it fits."""
    method = find_method(settings.method)
    if method.value_model:  # two models side by side, which nothing shards
        return "ddp"
    shape = measure(find_source(settings.model, settings.adapter), settings.adapter, method.head)
    held = state_bytes(shape.held, shape.trained, "bfloat16", quantized=settings.adapter.quantize)
    return "ddp" if held <= memory * _SHARE else "fsdp"


def launch_command(launch: Launch, processes: int, task: Path) -> list[str]:
    """Return the command that trains what the file says, in so many processes."""
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(LAUNCH / f"{launch}.yaml")]
    return [
        *accelerate,
        *("--num_processes", str(processes), "--main_process_port", "0"),
        *("-m", "cai.train.launched", str(task)),
    ]


def train_launched(
    settings: TrainSettings, launch: Launch, processes: int, say: Callable[[str], None], *, quiet: bool
) -> str:
    """Train in so many processes and return how it ended, `done` or `interrupted`.

    Raises CaiError, in the words of the process that failed.
    """
    with tempfile.TemporaryDirectory() as name:
        task, errors = Path(name, "task"), Path(name, "errors")
        environment = os.environ | write_launch(task, settings, quiet=quiet)
        with (
            errors.open("wb") as said,
            subprocess.Popen(  # noqa: S603  (this Python, and files of its own)
                launch_command(launch, processes, task),
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
                env=environment,
            ) as launched,
            _passing_on(launched),
        ):
            told = _listen(launched, say)
        if "status" in told:
            return told["status"]
        lines = errors.read_text(errors="replace").strip().splitlines() or [f"it ended with {launched.returncode}"]
        raise CaiError(told.get("error") or f"training in {processes} processes failed: {lines[-1].strip()}")


def _listen(launched: "subprocess.Popen[bytes]", say: Callable[[str], None]) -> dict[str, str]:
    """Pass on what is said until all processes have ended, and return what the main one said of the end."""
    ended: dict[str, str] = {}
    for line in launched.stdout or ():
        try:
            told: dict[str, str] = orjson.loads(line)
        except orjson.JSONDecodeError:  # what a library prints
            continue
        if "say" in told:
            say(told["say"])
        else:
            ended = told
    return ended


@contextmanager
def _passing_on(launched: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ask the processes to stop when this one is asked: they have half a minute, then the launcher ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:  # a second time would have the launcher leave them behind
            launched.terminate()
        asked = True

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
