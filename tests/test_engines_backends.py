"""The table of backends, and a backend of somebody's own that touches nothing in the package."""

import asyncio
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from cai.core.errors import ModelError
from cai.models import (
    Backend,
    EngineOptions,
    backends,
    check_engine_options,
    check_sampling,
    model_forms,
    open_counter,
    open_engine,
    register_backend,
)
from cai.models.base import Engine, Sampling
from cai.models.scripted import ScriptedEngine
from cai.models.spec import ModelSpec
from cai.models.tokens import ByteCounter

ROOT = Path(__file__).parent.parent


async def open_echo(spec: ModelSpec, options: EngineOptions) -> Engine:
    return ScriptedEngine(
        lambda request: f"{spec.model} says: {request.messages[-1]['content'][:20]}",
        lambda _, options: [0.9 / len(options)] * len(options),
        name=f"echo:{spec.model}",
        concurrency=options.concurrency or 3,
    )


ECHO = Backend("echo", "echo:NAME", open_echo)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_BACKENDS", dict(backends._BACKENDS))
    register_backend(ECHO)


@pytest.mark.usefixtures("echo")
def test_a_backend_of_ones_own_opens_counts_and_is_told() -> None:
    spec = ModelSpec.parse("echo:parrot")
    assert (spec.kind, spec.model, str(spec)) == ("echo", "parrot", "echo:parrot")
    engine = asyncio.run(open_engine(spec, EngineOptions(concurrency=5)))
    assert (engine.name, engine.concurrency) == ("echo:parrot", 5)
    assert isinstance(open_counter(spec), ByteCounter)
    assert model_forms().endswith("scripted, echo:NAME")
    with pytest.raises(ModelError, match=r"none of: tiny, transformers:MODEL, .*, echo:NAME"):
        ModelSpec.parse("echo:")
    with pytest.raises(ModelError, match="a model of the kind 'echo' cannot be trained"):
        ModelSpec.checkpoint("echo:parrot")
    with pytest.raises(ModelError, match="no model here is a vllm:MODEL"):
        check_engine_options([spec], ["max-model-len=5"])
    assert "parrot" not in str(ModelSpec.parse("echo:http://me:parrot-password@host/x"))


@pytest.mark.usefixtures("echo")
def test_ways_of_drawing_that_a_backend_lacks_are_refused() -> None:
    able = Backend("able", "able:NAME", open_echo, sampling=frozenset({"top_k", "min_p"}))
    register_backend(able)
    asked = Sampling(0.5, 0.9, top_k=40, min_p=0.1)
    check_sampling([ModelSpec.parse("echo:one")], Sampling(0.5, 0.9))
    check_sampling([ModelSpec.parse("able:one")], asked)
    with pytest.raises(
        ModelError, match=r"^echo:one cannot draw its tokens with --top-k: leave it out, or take a model of .*able$"
    ):
        check_sampling([ModelSpec.parse("able:one"), ModelSpec.parse("echo:one")], asked)
    with pytest.raises(ModelError, match="able:one cannot draw its tokens with --repetition-penalty: leave it out"):
        check_sampling([ModelSpec.parse("able:one")], Sampling(repetition_penalty=1.1))


@pytest.mark.usefixtures("echo")
def test_one_s_own_may_say_what_it_takes_and_needs() -> None:
    async def open_missing(_spec: ModelSpec, _options: EngineOptions) -> Engine:
        import no_such_package_anywhere  # type: ignore[import-not-found]  # noqa: F401, PLC0415

        raise AssertionError

    register_backend(
        Backend("echo", "echo:DIR", open_missing, weights=lambda spec: f"/models/{spec.model}", engine_options=True)
    )
    spec = ModelSpec.checkpoint("echo:parrot")
    assert spec.weights == "/models/parrot"
    check_engine_options([spec], ["anything=5"])
    with pytest.raises(ModelError, match=r"^echo:parrot needs no_such_package_anywhere, which is not installed$"):
        asyncio.run(open_engine(spec))
    register_backend(Backend("echo", "echo:DIR", open_missing, needs="echo-models>=2"))
    with pytest.raises(ModelError, match=r"needs no_such_package_anywhere: pip install 'echo-models>=2'$"):
        asyncio.run(open_engine(ModelSpec.parse("echo:parrot")))
    with pytest.raises(ModelError, match=r"echo:parrot has no weights here"):
        _ = ModelSpec.parse("echo:parrot").weights


@pytest.mark.parametrize(
    ("kind", "told"),
    [("tiny", "there is a backend tiny already"), ("Echo", "small letters"), ("a:b", "small letters"), ("", "small")],
)
def test_a_kind_that_cannot_be_is_refused(kind: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        register_backend(Backend(kind, "x", open_echo))


@pytest.mark.slow
def test_messages_and_help_are_read_off_the_table() -> None:
    assert model_forms() == "tiny, transformers:MODEL, vllm:MODEL, openai:MODEL@URL[,URL…], scripted"
    assert model_forms(trainable=True) == "tiny, transformers:MODEL"
    for command in (("generate",), ("models", "check"), ("evaluate",)):
        done = subprocess.run(
            [sys.executable, "-m", "cai", *command, "--help"], capture_output=True, text=True, check=True, timeout=60
        )
        told = " ".join(done.stdout.split())
        assert model_forms() in told, command


MODULE = """
import asyncio, sys
from cai.models import Backend, register_backend
from cai.models.scripted import ScriptedEngine

async def open_shouting(spec, options):
    return ScriptedEngine(
        lambda request: f"{spec.model} {len(request.messages)} WORDS!",
        lambda messages, options: [0.5, 0.3],
        name=f"shouting:{spec.model}",
    )

register_backend(Backend("shouting", "shouting:NAME", open_shouting))

from cai.cli.main import main
main(sys.argv[1:])
"""


def test_a_module_from_outside_brings_a_backend_and_generates_with_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    command = [sys.executable, "mine.py", "generate", "--constitution", "medical", "--model", "shouting:Ada"]
    done = subprocess.run(
        [*command, "--limit", "4", "--out", "run", "--json"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["rows"] == 4
    written = b"".join(path.read_bytes() for path in sorted((tmp_path / "run").rglob("*.json*")))
    assert b"shouting:Ada" in written
