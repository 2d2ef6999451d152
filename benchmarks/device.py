"""What a GPU can do at most, and what it has in use while something runs."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_SAMPLES = 0.5  # a pipe holds hours of them

_PEAKS = {
    "A100": 312e12,  # NVIDIA A100 datasheet
    "H100 HBM3": 989e12,  # NVIDIA H100 datasheet, SXM
    "H100 PCIe": 756e12,  # the same, PCIe
    "H200": 989e12,  # NVIDIA H200 datasheet, SXM
    "B200": 2250e12,  # NVIDIA DGX B200 datasheet, an eighth of it
    "L4": 121e12,  # NVIDIA L4 datasheet
    "L40S": 362e12,  # NVIDIA L40S datasheet
    "A10": 125e12,  # NVIDIA A10 datasheet
}
"""Dense bfloat16 operations a second, half of what the datasheets say of sparse matrices."""


@dataclass(slots=True)
class Peak:
    """The most that was in use beyond what was before, in bytes."""

    used: int = 0


@dataclass(slots=True)
class Use:
    """The share of the time in which the first GPU had work, as its driver samples it; None where nobody tells."""

    share: float | None = None


def peak_operations(name: str) -> float | None:
    """Return the bfloat16 operations a second of a device by its name; None when it is unknown, or a part of one."""
    words = set(name.replace("-", " ").split())
    if "MIG" in words:
        return None
    return next((peak for model, peak in _PEAKS.items() if set(model.split()) <= words), None)


@contextmanager
def watched_use() -> Iterator[Use]:
    """Have the driver's own tool look at the first GPU while the block runs, if this machine has it."""
    use, tool = Use(), shutil.which("nvidia-smi")
    if tool is None:
        yield use
        return
    every = f"--loop-ms={1000 * _SECONDS_BETWEEN_SAMPLES:.0f}"
    command = [tool, "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", every]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looking:
        try:
            yield use
        finally:
            looking.terminate()
            percents = [int(line) for line in (looking.stdout or ()) if line.strip().isdecimal()]
            use.share = sum(percents) / len(percents) / 100 if percents else None


@contextmanager
def watched_memory() -> Iterator[Peak]:
    """Look at the first GPU's memory while the block runs, if there is one; what else uses it is counted too."""
    peak, done = Peak(), threading.Event()
    if not torch.cuda.is_available():
        yield peak
        return
    before = _used()

    def look() -> None:
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            peak.used = max(peak.used, _used() - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _used() -> int:
    free, whole = torch.cuda.mem_get_info(0)
    return whole - free
