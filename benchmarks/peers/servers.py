"""The servers that every side asks: the stand-in, fresh for each command, and `vllm serve` on the embedded model.

Both tell what they did since they were last new (`Seen`). The stand-in knows how busy its slots were and which requests
it had seen before; vLLM does not, and its prefix cache is emptied between two commands instead.
"""

import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs import Costs
from benchmarks.processes import MeasuringError, read_stats, stand_in

ROOT = Path(__file__).parents[2]
VLLM = ROOT / ".venv-vllm" / "bin" / "python"
CHECKPOINT = ROOT / "cai" / "tiny" / "checkpoint"
SEQUENCES = 64
"""What vLLM serves side by side."""
BATCHED = 32_768
"""Tokens that vLLM computes in one step at most."""
PATIENCE = 180.0
"""Seconds that vLLM may take to start."""

_COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "answered", "repeated")
_KEPT = ("vllm:prompt_tokens_total", "vllm:prompt_tokens_cached_total", "vllm:generation_tokens_total")
_DONE = "vllm:request_success_total"


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to ask; `stand_in` tells which kind it is."""

    url: str
    model: str
    slots: int
    temperature: float
    stand_in: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server did: requests, those of them that it had answered by now or had seen before, and tokens.

    What a server does not tell is None.
    """

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    answered: int | None = None
    repeated: int | None = None
    busy_share: float | None = None

    @property
    def computed_tokens(self) -> int:
        """Tokens that had to be computed: of prompts that were not in the prefix cache, and of answers."""
        return self.prompt_tokens - self.cached_tokens + self.completion_tokens


@contextmanager
def fresh_stand_in(costs: Costs) -> Iterator[Server]:
    """Run a new stand-in server while the block runs."""
    with stand_in(costs) as url:
        yield Server(url, "mock", costs.slots, 1.0, stand_in=True)


@contextmanager
def vllm_server() -> Iterator[Server]:
    """Run `vllm serve` on the embedded model while the block runs; raises MeasuringError when it does not start.

    At temperature 2 an answer is hardly ever the one before: about two that are the same cai asks no judge. A batch has
    room for every prompt whole, because vLLM's CPU build dies when it cuts the prompt of a request with a seed, and cai
    sends seeds.
    """
    if not VLLM.exists():
        raise MeasuringError(f"there is no {VLLM}; `make test-vllm` makes that environment")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--model={CHECKPOINT}", "--served-model-name=tiny", "--enforce-eager", "--dtype=float32"]
    command += [
        "--kv-cache-memory-bytes=268435456",
        f"--max-num-seqs={SEQUENCES}",
        f"--max-num-batched-tokens={BATCHED}",
    ]
    command += ["--disable-uvicorn-access-log"]
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1"}  # it lets the prefix cache be emptied
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, cwd=ROOT) as process:
        try:
            _wait(process, f"http://127.0.0.1:{port}")
            yield Server(f"http://127.0.0.1:{port}", "tiny", SEQUENCES, 2.0, stand_in=False)
        finally:
            process.terminate()


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            _get(f"{url}/v1/models")
        except MeasuringError:
            time.sleep(0.5)
        else:
            return
    raise MeasuringError(f"vLLM did not serve {CHECKPOINT} within {PATIENCE:.0f} s")


def forget(server: Server) -> None:
    """Empty vLLM's prefix cache; a stand-in is new anyway."""
    if not server.stand_in:
        _get(f"{server.url}/reset_prefix_cache", b"")


def look(server: Server) -> Seen:
    """Return what the server has done so far."""
    if server.stand_in:
        stats = read_stats(server.url)
        counts = {name: int(stats[name]) for name in _COUNTS}
        return Seen(**counts, busy_share=stats["busy_share"])
    counted = _get(f"{server.url}/metrics").decode()
    return Seen(_sum(counted, _DONE), *(_sum(counted, name) for name in _KEPT))


def since(before: Seen, after: Seen) -> Seen:
    """Return what was done between two looks at vLLM, or at a new stand-in at its end."""
    return Seen(
        after.requests - before.requests,
        after.prompt_tokens - before.prompt_tokens,
        after.cached_tokens - before.cached_tokens,
        after.completion_tokens - before.completion_tokens,
        after.answered,
        after.repeated,
        after.busy_share,
    )


def _sum(metrics: str, name: str) -> int:
    """Return a counter of a text in Prometheus' format, over all its labels."""
    return int(sum(float(value) for value in re.findall(rf"^{name}{{.*}} (\S+)$", metrics, re.MULTILINE)))


def _get(url: str, body: bytes | None = None) -> bytes:
    """Get a page, or post a body to it; raises MeasuringError when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as answer:
            content: bytes = answer.read()
    except OSError as error:
        raise MeasuringError(f"{url} does not answer: {error}") from error
    return content
