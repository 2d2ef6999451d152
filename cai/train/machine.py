"""What training runs on: the device, its memory, and how many processes share the work.

A launcher (`accelerate launch`, `torchrun`) tells each process its place in environment variables; without one there is
a single process. Memory is all of the device's, or a container's limit, not what is free at the moment, so that a
resumed run settles the same.
"""

import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from cai.core.errors import ModelError
from cai.core.machine import whole_memory

DeviceKind = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True, slots=True)
class Machine:
    """One process's device: `memory` in bytes, `cores` of the host; `sharded`: FSDP or ZeRO-3 splits the weights.

    `bfloat16`: the device itself multiplies it, so that it is the faster precision.
    """

    kind: DeviceKind
    name: str
    memory: int
    cores: int
    bfloat16: bool
    processes: int
    sharded: bool


def find_machine(device: str) -> Machine:
    """Return the machine that `device` (auto, cpu, cuda, mps) names; raises ModelError when it is not here."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" or (
        os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
        and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    )
    kind = _kind(device)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if kind == "cuda":
        if processes == 1 and torch.cuda.device_count() > 1:
            count = torch.cuda.device_count()
            raise ModelError(
                f"{count} GPUs are visible to one process: start with `accelerate launch --multi_gpu --num_processes "
                f"{count} -m cai train …`, or choose one with CUDA_VISIBLE_DEVICES=0"
            )
        properties = torch.cuda.get_device_properties(0)
        return Machine(
            "cuda",
            properties.name,
            properties.total_memory,
            cores,
            torch.cuda.is_bf16_supported(including_emulation=False),
            processes,
            sharded,
        )
    name = "Metal" if kind == "mps" else f"{cores} CPU core{'s' if cores > 1 else ''}"
    # Half of the host's memory, in equal parts: the system and other programs live there too.
    memory = whole_memory() // 2 // processes
    return Machine(kind, name, memory, cores, kind == "cpu" and _cpu_bfloat16(), processes, sharded)


def _cpu_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; False where torch is too old to tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _kind(device: str) -> DeviceKind:
    if device == "cpu":
        return "cpu"
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ModelError("device cuda: torch finds no usable CUDA device here")
        return "cuda"
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError("device mps: torch finds no Metal device here")
        return "mps"
    if device.startswith("cuda:"):
        raise ModelError(f"device {device}: training uses the first visible GPU; choose it with CUDA_VISIBLE_DEVICES")
    raise ModelError(f"device {device!r} is none of auto, cpu, cuda, mps")
