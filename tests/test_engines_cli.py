"""`cai models check`, and opening a model where torch is missing."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from cai.cli import models as command
from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models import EngineOptions
from cai.models import check as checking
from cai.models.base import Completion, Engine, Request
from cai.models.scripted import ScriptedEngine
from cai.models.spec import ModelSpec
from tests.thinking_servers import Model, serving


def _check(*arguments: str) -> Any:
    result = CliRunner().invoke(command.models, ["check", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_check_prints_what_was_found() -> None:
    text = _check("scripted")
    for words in ("scripted", "answers", "log-probabilities", "context length", "concurrency", "tokens/s"):
        assert words in text


def test_check_prints_json() -> None:
    found = orjson.loads(_check("scripted", "--json"))
    assert found["name"] == "scripted"
    assert found["choices"] is None
    assert found["concurrency"] == 64
    assert found["tokens_per_second"] > 0


def _no_choices(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
    raise RequestError("this server gives no log-probabilities", retryable=True)


def _opens(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    async def open_engine(spec: ModelSpec, options: EngineOptions) -> Engine:
        return engine

    monkeypatch.setattr(checking, "open_engine", open_engine)


def test_check_says_why_there_are_no_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    _opens(monkeypatch, ScriptedEngine(lambda _: "hello", _no_choices))
    assert "no log-probabilities" in orjson.loads(_check("scripted", "--json"))["choices"]


def test_check_tells_a_burst_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_the_first(request: Request) -> str:
        if request.seed:
            raise RequestError("overloaded", retryable=True)
        return "hello"

    _opens(monkeypatch, ScriptedEngine(only_the_first, lambda *_: (0.5, 0.5)))
    assert orjson.loads(_check("scripted", "--json"))["tokens_per_second"] is None

    def gone(request: Request) -> str:
        raise EngineGoneError("nobody there")

    _opens(monkeypatch, ScriptedEngine(gone, lambda *_: (0.5, 0.5)))
    with pytest.raises(EngineGoneError, match="nobody there"):
        _check("scripted")


def test_no_speed_is_made_up_from_a_server_that_breaks_in_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(request: Request) -> str:
        if request.sampling.max_tokens == 1 and request.seed > 2:  # two prompts were read before it broke
            raise RequestError("it answered 500 to each of 6 attempts", retryable=True)
        return "hello"

    _opens(monkeypatch, ScriptedEngine(breaks, lambda *_: (0.5, 0.5)))
    found = orjson.loads(_check("scripted", "--json"))
    assert found["tokens_per_second"] > 0
    assert found["prompt_tokens_per_second"] is None
    assert found["failure"] == "it answered 500 to each of 6 attempts"
    _opens(monkeypatch, ScriptedEngine(breaks, lambda *_: (0.5, 0.5)))
    said = " ".join(_check("scripted").split())
    assert "not measured: with 32 requests at once, one failed: it answered 500" in said
    assert "--speed-prompt" not in said


def test_a_second_check_reads_as_much_anew_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, ...]] = set()  # the server's prefix cache, which outlives a check
    read: list[int] = []

    def answer(request: Request) -> Completion:
        words = request.messages[0]["content"].split()
        cached = next((length for length in range(len(words), 0, -1) if tuple(words[:length]) in seen), 0)
        seen.update(tuple(words[:length]) for length in range(1, len(words) + 1))
        read.append(len(words) - cached)
        return Completion("hello", "length", len(words), cached, 1)

    for _ in range(2):
        _opens(monkeypatch, ScriptedEngine(answer, lambda *_: (0.5, 0.5)))
        assert orjson.loads(_check("scripted", "--json"))["prompt_tokens_per_second"]
    first, second = sum(read[: len(read) // 2]), sum(read[len(read) // 2 :])
    assert second > 0.9 * first > 0  # the short question is the same in both


def test_check_passes_a_models_error_on() -> None:
    with pytest.raises(ModelError, match="none of: tiny"):
        _check("gpt-4")


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        (Model(), "never"),
        (Model("reasoning", by_default=False), "when told"),
        (Model("tags"), "by default"),
        (Model("no opening tag", obeys="nothing"), "always"),
    ],
)
def test_check_tells_when_a_model_thinks_and_how_its_letters_weigh(
    model: Model, thinks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "BURST_REQUESTS", 2)
    with serving([model]) as (url,):
        said = _check(f"openai:any@{url}", "--json")
    found = orjson.loads(said[said.index("{") :])
    assert found["thinks"] == thinks
    assert found["letters_mass"] == pytest.approx(0.95)
    assert found["begun_letters_mass"] == pytest.approx(0.95)


def test_check_says_what_a_thinking_model_means_for_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "BURST_REQUESTS", 2)
    with serving([Model("reasoning_content", obeys="nothing")]) as (url,):
        said = " ".join(_check(f"openai:any@{url}").split())
    assert "always: gates and verdicts let it think first" in said
    assert "a verdict's weigh 0.95, 0.95 where the answer is begun" in said
    assert "can only think" in said


def _open_in_fresh_process(before: str, spec: str) -> str:
    code = (
        f"import asyncio, os, sys\n{before}\nfrom cai.models import open_engine\n"
        "from cai.core.errors import ModelError\nfrom cai.models.spec import ModelSpec\n"
        f"try:\n    asyncio.run(open_engine(ModelSpec.parse({spec!r})))\nexcept ModelError as error:\n"
        "    print(error)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout


def test_without_torch_the_fix_is_named() -> None:
    said = _open_in_fresh_process("sys.modules['torch'] = None", "tiny")
    assert said == "tiny needs torch: pip install 'cai[local]'\n"


def test_check_tells_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_TOLD_EVERY", 0.02)
    result = CliRunner().invoke(command.models, ["check", "scripted?delay_ms=50"])
    assert "cai: waiting for its first answer, for 0 s so far" in result.output
