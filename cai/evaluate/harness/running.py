"""lm-eval's process, from outside: started, given what it needs, read, and ended with this one.

It gets a session of its own, so that Ctrl-C, with which a person asks for what is in hand to be finished, does not end
it; it ends when this process does, however that ends (`child`).
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cai.core.errors import CaiError
from cai.core.redaction import redact

_COMMAND = (sys.executable, "-P", "-m", "cai.evaluate.harness.child")
"""-P: a folder here that is called `evaluate` is not the package that lm-eval imports under that name."""
_KEPT = 65_536
"""Bytes of what it printed that are kept, the last ones."""


class ChildError(CaiError):
    """lm-eval failed; `printed` is the end of what it printed."""

    def __init__(self, message: str, printed: str = "") -> None:
        super().__init__(message)
        self.printed = printed


def ask_child(asked: Mapping[str, Any], timeout: float = 600.0) -> dict[str, Any]:
    """Return what the process says, which is waited for; raises ChildError."""
    try:
        done = subprocess.run(  # noqa: S603
            _COMMAND, input=_line(asked), capture_output=True, env=_environment(), timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"lm-eval said nothing for {timeout:,.0f} seconds") from error
    return _answer(done.stdout, done.stderr)


async def run_child(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the process says; raises ChildError. Who cancels this ends the process."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment(), start_new_session=True
    )
    try:
        assert process.stdin is not None  # noqa: S101  (for the type checker: it is a pipe)
        process.stdin.write(_line(asked))
        said, printed = await asyncio.gather(_last(process.stdout), _last(process.stderr))
        await process.wait()
        return _answer(said, printed)
    finally:
        await _end(process)


async def _last(stream: asyncio.StreamReader | None) -> bytes:
    """Return the last bytes of a stream, once it has ended."""
    kept = b""
    while stream is not None and (more := await stream.read(_KEPT)):
        kept = (kept + more)[-_KEPT:]
    return kept


async def _end(process: Process) -> None:
    """End what is left of a process and of all that it started: vLLM's processes outlive theirs."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _answer(said: bytes, printed: bytes) -> dict[str, Any]:
    told = redact(printed.decode(errors="replace"))
    try:
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError) as error:
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        raise ChildError(f"lm-eval died: {lines[-1] if lines else 'it said nothing'}", told) from error
    if "error" in found:
        raise ChildError(redact(f"{found['error']} ({found['kind']})"), told)
    return found


def _line(asked: Mapping[str, Any]) -> bytes:
    return json.dumps(asked).encode() + b"\n"


def _environment() -> dict[str, str]:
    # Without the last one lm-eval forks to resample, beside threads that hold locks.
    quiet = {"LMEVAL_LOG_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false", "DISABLE_MULTIPROC": "1"}
    return {**quiet, **os.environ}
