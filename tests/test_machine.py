"""What a machine has to give: memory by the kernel and a container, free and in all, and threads that wait asleep."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cai.core.machine import free_memory, let_waiting_threads_sleep, whole_memory

GIB = 1 << 30


def _meminfo(directory: Path, free: int) -> Path:
    path = directory / "meminfo"
    path.write_text(f"MemTotal:       99 kB\nMemFree:  1 kB\nMemAvailable:   {free // 1024} kB\n")
    return path


def test_free_memory_is_what_the_kernel_says_or_what_a_container_leaves(tmp_path: Path) -> None:
    meminfo = _meminfo(tmp_path, 8 * GIB)
    assert free_memory(meminfo, tmp_path) == 8 * GIB
    for name, value in (("memory.max", "max"), ("memory.current", str(GIB)), ("memory.stat", "anon 5\n")):
        (tmp_path / name).write_text(value)
    assert free_memory(meminfo, tmp_path) == 8 * GIB
    (tmp_path / "memory.max").write_text(str(4 * GIB))
    assert free_memory(meminfo, tmp_path) == 3 * GIB
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")  # files that can be read again
    assert free_memory(meminfo, tmp_path) == 3 * GIB + GIB // 2


def test_free_memory_knows_the_older_groups(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(str(2 * GIB))
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(str(3 * GIB))
    (tmp_path / "memory" / "memory.stat").write_text("")
    assert free_memory(_meminfo(tmp_path, 8 * GIB), tmp_path) == 0


def test_free_memory_without_a_kernel_that_tells(tmp_path: Path) -> None:
    told = free_memory(tmp_path / "none", tmp_path)
    assert told is None or told > 0


def test_all_memory_is_the_host_s_or_a_container_s_limit_whatever_is_in_use(tmp_path: Path) -> None:
    host = whole_memory(tmp_path)
    (tmp_path / "memory").mkdir()
    old = tmp_path / "memory" / "memory.limit_in_bytes"
    old.write_text(f"{2**63 - 4096}\n")  # none, in the older groups
    assert whole_memory(tmp_path) == host
    old.write_text("1048576\n")
    assert whole_memory(tmp_path) == 1 << 20
    (tmp_path / "memory.max").write_text("524288\n")
    (tmp_path / "memory.current").write_text("524288\n")
    assert whole_memory(tmp_path) == 1 << 19
    old.unlink()
    (tmp_path / "memory.max").write_text("max\n")
    assert whole_memory(tmp_path) == host


def test_waiting_threads_sleep_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    let_waiting_threads_sleep()
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_torch_is_not_yet_imported_when_the_local_engine_says_how_its_threads_wait() -> None:
    program = (
        "import asyncio, os, sys\n"
        "from cai.core import machine\n"
        "from cai.models import backends\n"
        "from cai.models.spec import ModelSpec\n"
        "def seen(): assert 'torch' not in sys.modules; raise SystemExit(7)\n"
        "backends.let_waiting_threads_sleep = seen\n"
        "asyncio.run(backends.open_engine(ModelSpec.parse('tiny')))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
