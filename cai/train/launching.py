"""A training on all GPUs of this machine, started from a process that has one place for it: `accelerate launch` for it.

Every GPU gets a process. Each holds the whole model where that fits, and otherwise a share of it (FSDP); both launch
files are in `cai/launch`. What the main one has to say comes back line by line, and what went wrong in any; when this
process is asked to stop, the others are, and go on after the same command as ever.
"""

import os
import re
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
_FAILED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")
"""How the launcher says which process failed first."""


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
    """Return the command that trains what the file says, in so many processes, their errors kept apart beside it."""
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(LAUNCH / f"{launch}.yaml")]
    return [
        *accelerate,
        *("--num_processes", str(processes), "--main_process_port", "0"),
        *("--tee", "2", "--log_dir", str(task.parent)),
        *("-m", "cai.train.launched", str(task)),
    ]


def train_launched(
    settings: TrainSettings, launch: Launch, processes: int, say: Callable[[str], None], *, quiet: bool
) -> str:
    """Train in so many processes and return how it ended, `done` or `interrupted`.

    Raises CaiError, in the words of the process that failed first.
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
            _passing_on(launched) as asked,
        ):
            told = _listen(launched, say)
        if "error" in told:
            raise CaiError(told["error"])
        if "status" in told:
            return told["status"]
        if asked.is_set():  # before they trained, or they took longer than they had
            return "interrupted"
        words = _last_words(errors) or f"it ended with {launched.returncode}"
        raise CaiError(f"training in {processes} processes failed: {words}")


def _listen(launched: "subprocess.Popen[bytes]", say: Callable[[str], None]) -> dict[str, str]:
    """Pass on what is said until all processes have ended, and return what was said of the end: the first error."""
    ended: dict[str, str] = {}
    for line in launched.stdout or ():
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:  # what a library prints, as is JSON that says nothing of the three
            continue
        match told:
            case {"say": str(words)}:
                say(words)
            case {"error": str(words)} if "error" not in ended:
                ended["error"] = words
            case {"status": str(words)}:
                ended["status"] = words
    return ended


def _last_words(errors: Path) -> str:
    """Return what the process that failed first said last, or which signal ended it; the launcher's own words if none.

    `errors` is the launcher's standard error. It keeps that of every process in a folder beside it.
    """
    said = errors.read_text(errors="replace")
    failed = _FAILED.search(said)
    if failed is None:
        return _last_line(said)
    code, process = int(failed[1]), failed[2]
    if code < 0:
        return f"process {process} was ended by {signal.Signals(-code).name}"
    kept = next(errors.parent.glob(f"*/attempt_0/{process}/stderr.log"), errors)
    return _last_line(kept.read_text(errors="replace")) or f"process {process} ended with {code}"


def _last_line(said: str) -> str:
    return next((line.strip() for line in reversed(said.splitlines()) if any(map(str.isalnum, line))), "")


@contextmanager
def _passing_on(launched: "subprocess.Popen[bytes]") -> Iterator[threading.Event]:
    """Ask the processes to stop when this one is asked, which is returned: they have half a minute to obey.

    The launcher passes on the signal that it gets itself. SIGINT is what libraries' own processes leave alone.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if not asked.is_set():  # a second time would have the launcher leave them behind
            launched.send_signal(signal.SIGINT)
        asked.set()

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
