"""Real processes that tests watch, interrupt, kill, and look at afterwards."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PATIENCE = 120.0
"""Seconds until a process that does not do what it should counts as stuck."""


def start(command: Sequence[str], out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "--out", str(out), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code, the output and the errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Watch the file system until the condition holds; the process must still be at work then."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
            raise AssertionError(f"the run ended before it could be disturbed: {process.communicate()}")


@contextlib.contextmanager
def interrupted_once(condition: Callable[[], bool]) -> Iterator[None]:
    """Send this process SIGINT, as Ctrl-C does, once the condition holds; the body is what is interrupted."""

    def interrupt() -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    yield
    thread.join()


def exports(out: Path) -> dict[str, bytes]:
    """Return the files that trainers read."""
    files = [path for kind in ("sft", "preference", "ranking") for path in sorted((out / kind).rglob("*"))]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.is_file()}
