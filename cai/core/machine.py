"""What this machine has to give: memory, in all and free, and cores that are shared with other processes."""

import ctypes
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""A control group's limit and use, and what of the use is files that can be read again; version 2, version 1."""


def free_memory(meminfo: Path = _MEMINFO, cgroups: Path = _CGROUPS) -> int | None:
    """Return the bytes that can be had without swapping, within a container's limit; None where nothing tells.

    What the cache holds of files counts as free.
    """
    found = [bytes_free for bytes_free in (_available(meminfo), _within_limit(cgroups)) if bytes_free is not None]
    return min(found, default=None)


def whole_memory(cgroups: Path = _CGROUPS) -> int:
    """Return the bytes that there are, or a container's limit where that is less, whatever of them is in use."""
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit, *_ in _GROUPS:
        try:
            return min(host, int((cgroups / limit).read_text()))
        except (OSError, ValueError):  # no such file, or `max`
            continue
    return host


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait for one another, unless the environment says how they wait.

    By default they spin, and take the cores from the threads they wait for as soon as another process wants one: the
    first answer of a small model took 58 s instead of 6. Read by OpenMP when torch is imported: no use afterwards.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def release_memory() -> None:
    """Give back what this process holds of memory that nothing refers to any more, a GPU's included.

    glibc keeps what was freed, a third of a closed model's caches, until it is asked for it; other allocators are not.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    torch = sys.modules.get("torch")  # where nobody imported it, it holds nothing
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _available(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
        return None
    except (OSError, ValueError, IndexError):
        return _pages()


def _pages() -> int | None:
    """Return what POSIX tells of free memory, where it does."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _within_limit(cgroups: Path) -> int | None:
    """Return what a container's limit still leaves; None without one."""
    for limit, used, statistics, files in _GROUPS:
        try:
            left = int((cgroups / limit).read_text()) - int((cgroups / used).read_text())
            lines = (cgroups / statistics).read_text().splitlines()
            return max(0, left + sum(int(line.split()[1]) for line in lines if line.split()[0] == files))
        except (OSError, ValueError, IndexError):  # no such file, or `max`
            continue
    return None
