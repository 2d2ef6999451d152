"""`openai:` against vLLM's own server, with the embedded model behind it; `make test-vllm` runs this.

Elsewhere `vllm serve MODEL` starts it, a name that the CPU build does not know. That build also dies of a request's
seed as soon as it reads a prompt in two parts, which is why the last option is there.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from cai.core.errors import ContextError, RequestError, RunError
from cai.core.records import Message
from cai.models import open_engine
from cai.models.base import NOT_THINKING, Choice, Completion, Engine, Request, Sampling
from cai.models.spec import ModelSpec
from cai.rundir import Run
from tests.disturbing import finish, start, wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]

CHECKPOINT = Path(__file__).parent.parent / "cai" / "tiny" / "checkpoint"
NAME = "embedded"
SERVER = [
    sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(CHECKPOINT),
    "--served-model-name", NAME, "--host", "127.0.0.1", "--dtype", "float32", "--max-num-seqs", "16",
    "--kv-cache-memory-bytes", str(256 << 20), "--block-size", "32", "--enforce-eager",
    "--enable-prompt-tokens-details", "--no-enable-chunked-prefill",
]  # fmt: skip
STARTING = 300.0
"""Seconds until a server that does not answer counts as broken; loading torch alone takes many on a busy machine."""

ROWS = 64
QUESTIONS = ("Can I take ibuprofen with a cold?", "My chest hurts and my left arm is numb.", "Is tea safe?", "Hello!")
LONG = " ".join(QUESTIONS * 4)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def serving(port: int, command: Sequence[str] = SERVER) -> Iterator[subprocess.Popen[bytes]]:
    """Serve while the block runs; the server and its processes are killed at the end, if they still live."""
    environment = os.environ | {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    with subprocess.Popen([*command, "--port", str(port)], env=environment, start_new_session=True) as server:
        try:
            deadline = time.monotonic() + STARTING
            while not answers(port):
                assert server.poll() is None, "the server did not start"
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield server
        finally:
            kill(server)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def kill(server: subprocess.Popen[bytes]) -> None:
    """Kill the server with its engine, as a machine that goes down does."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    number = free_port()
    with serving(number):
        yield number


def spec(port: int) -> str:
    return f"openai:{NAME}@http://127.0.0.1:{port}/v1"


def asked(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def ask(model: str, *texts: str, seeds: tuple[int, ...] = (1,), temperature: float = 0.0) -> list[Completion]:
    async def main() -> list[Completion]:
        engine = await open_engine(ModelSpec.parse(model))
        try:
            sampling = Sampling(temperature, max_tokens=48)
            requests = [Request(asked(text), sampling, seed) for text in texts for seed in seeds]
            return list(await asyncio.gather(*(engine.complete(request) for request in requests)))
        finally:
            await engine.close()

    return asyncio.run(main())


def test_greedy_answers_are_those_of_the_model_in_this_process(port: int) -> None:
    for one, other in zip(ask(spec(port), *QUESTIONS), ask("tiny", *QUESTIONS), strict=True):
        assert (one.text, one.finish_reason, one.prompt_tokens, one.completion_tokens) == (
            other.text, other.finish_reason, other.prompt_tokens, other.completion_tokens,
        )  # fmt: skip


def test_a_seed_decides_what_is_drawn_in_a_full_batch_too(port: int) -> None:
    first = ask(spec(port), LONG, seeds=tuple(range(40)), temperature=1.0)
    again = ask(spec(port), LONG, seeds=tuple(range(40)), temperature=1.0)
    same = sum(one.text == other.text for one, other in zip(first, again, strict=True))
    assert same >= 36  # another batch's rounding may tip a token
    assert len({completion.text for completion in first}) > 3
    assert all(completion.cached_tokens >= 32 for completion in again)


@pytest.mark.parametrize(
    ("prefill", "options"),  # as answers of the embedded model begin, and as they go on
    [("", ("That", "Sorry", "Please", "Give")), ("That", ("is", "sounds", "was"))],
)
def test_choices_are_the_models_own_log_probabilities(port: int, prefill: str, options: tuple[str, ...]) -> None:
    async def choose(model: str) -> Choice:
        engine = await open_engine(ModelSpec.parse(model))
        try:
            request = Request(asked(QUESTIONS[0]), thinking=NOT_THINKING, prefill=prefill)
            return await engine.choose(request, options)
        finally:
            await engine.close()

    served, here = asyncio.run(choose(spec(port))), asyncio.run(choose("tiny"))
    assert served.mass == pytest.approx(here.mass, rel=1e-2)
    assert served.prompt_tokens == here.prompt_tokens
    assert served.mass > 0.3
    assert served.probabilities == pytest.approx(here.probabilities, abs=1e-2)


def test_what_the_server_refuses_is_told(port: int) -> None:
    async def main() -> Engine:
        engine = await open_engine(ModelSpec.parse(spec(port)))
        try:
            assert engine.context_length == 1024
            with pytest.raises(ContextError):
                await engine.complete(Request(asked(LONG * 30), Sampling(max_tokens=16), 0))
        finally:
            await engine.close()
        other = await open_engine(ModelSpec.parse(spec(port).replace(NAME, "another")))
        try:
            with pytest.raises(RequestError, match="serves no 'another' there"):
                await other.complete(Request(asked("Hello!"), Sampling(max_tokens=16), 0))
        finally:
            await other.close()
        return engine

    asyncio.run(main())


def test_models_check_measures_the_server_twice_alike(port: int) -> None:
    command = [sys.executable, "-m", "cai", "models", "check", spec(port), "--json"]
    found = [orjson.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(2)]
    for one in found:
        assert (one["choices"], one["failure"], one["context_length"]) == (None, None, 1024)
        assert one["tokens_per_second"] > 0
    first, second = (one["prompt_tokens_per_second"] for one in found)
    assert second > first / 5  # a cache that knew the prompts would leave a twentieth of them to read


def test_a_server_that_is_killed_ends_the_run_and_a_new_one_goes_on(tmp_path: Path) -> None:
    out, number = tmp_path / "run", free_port()
    command = [
        sys.executable, "-m", "cai", "generate", "--constitution", "medical", "--limit", str(ROWS), "--json",
        "--model", spec(number), "--concurrency", "8", "--max-tokens", "32",
    ]  # fmt: skip
    with serving(number) as server:
        run = start(command, out)
        wait_until(run, lambda: finished(out) >= 3)
        kill(server)
        code, _, said = finish(run)
    kept = finished(out)
    assert 3 <= kept < ROWS
    assert code == 1
    assert said.splitlines()[-1] == f"cai: no connection to 127.0.0.1:{number} for 20 s: start the server, then resume"
    assert "Traceback" not in said
    with serving(number):
        code, told, said = finish(start(command, out))
    assert code == 0, said
    assert (orjson.loads(told)["skipped"], orjson.loads(told)["rows"]) == (kept, ROWS)
    counts = Counter(row.prompt.id for row in Run.read(out).rows())
    assert len(counts) == ROWS
    assert set(counts.values()) == {1}


def finished(out: Path) -> int:
    try:
        return sum(1 for _ in Run.read(out).rows())
    except RunError:
        return 0  # it has not begun
