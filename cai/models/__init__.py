"""Engines: models that are open and answer. `open_engine` turns what the user typed after `--model` into one.

| spec | engine |
|---|---|
| `tiny` | the embedded checkpoint, opened as `transformers:` opens any other |
| `transformers:MODEL` | a local directory or a hub id, in this process |
| `vllm:MODEL` | the same in vLLM's engine; `--engine-option KEY=VALUE` are its own options |
| `openai:MODEL@URL[,URL…]` | one or several servers with OpenAI's chat completions, e.g. `http://127.0.0.1:8000/v1` |
| `scripted[?delay_ms=N&concurrency=N]` | no model: deterministic words, for dry runs and tests |

In this process MODEL may also be `BASE+ADAPTER_DIR`, or the directory of an adapter, which names its base itself.

Each backend is imported when it is opened, so that nobody waits for torch who talks to a server.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cai.core.errors import ModelError
from cai.core.redaction import is_secret_name
from cai.models.base import Engine
from cai.models.given import GivenModel
from cai.models.spec import ModelSpec

TINY = Path(__file__).parent.parent / "tiny" / "checkpoint"
_VLLM_QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
"""Set unless the environment says otherwise: vLLM would write over the screen, and report its use over the network."""

_LOCAL_PACKAGES = frozenset({"torch", "transformers", "safetensors", "tokenizers"})


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to open an engine.

    `device` and `dtype` (torch's names, or auto) matter to models in this process, `timeout` (seconds an attempt) to
    servers; `concurrency` None leaves the number of requests held at once to the engine. `engine_options` are
    `KEY=VALUE` texts that matter to vLLM's engine. `say` tells a person at once what a server is waited for.
    """

    device: str = "auto"
    dtype: str = "auto"
    concurrency: int | None = None
    timeout: float = 600.0
    engine_options: tuple[str, ...] = ()
    say: Callable[[str], None] | None = None


def check_engine_options(specs: Iterable[ModelSpec], engine_options: Iterable[str]) -> None:
    """Raise ModelError when there are options for vLLM's engine and none of a command's models is opened in it.

    Raises it, too, for an option that would let a checkpoint run code of its own (see `pretrained`), and for one that
    is a secret: options are written down with the run.
    """
    keys = [option.partition("=")[0].strip().lstrip("-").replace("_", "-") for option in engine_options]
    for key in keys:
        if key.startswith("trust-remote-code"):
            raise ModelError("--engine-option trust-remote-code: cai never runs Python code that comes with a model")
        if is_secret_name(key):
            raise ModelError(f"--engine-option {key} is a secret: give it in the environment, as HF_TOKEN for the hub")
    if keys and not any(spec.kind == "vllm" for spec in specs):
        raise ModelError("--engine-option is for vLLM's engine, and no model here is a vllm:MODEL")


async def open_engine(spec: ModelSpec, options: EngineOptions | None = None) -> Engine:
    """Open the engine that `spec` names, or raise ModelError saying what is wrong with it."""
    options = options or EngineOptions()
    match spec.kind:
        case "tiny":
            return await _open_local(str(TINY), options)
        case "transformers":
            return await _open_local(spec.model, options)
        case "vllm":
            return await _open_vllm(spec.model, options)
        case "openai":
            return await _open_server(spec, options)
        case "scripted":
            return _open_scripted(spec, options)
        case "given":
            return cast("GivenModel", spec).open()


async def _open_local(model: str, options: EngineOptions) -> Engine:
    try:
        from cai.models.local.engine import open_transformers
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LOCAL_PACKAGES:
            raise
        raise ModelError(
            f"a model in this process needs {error.name.partition('.')[0]}: pip install 'cai[local]'"
        ) from error
    return await open_transformers(model, options.device, options.dtype, options.concurrency)


async def _open_vllm(model: str, options: EngineOptions) -> Engine:
    for name, value in _VLLM_QUIET.items():
        os.environ.setdefault(name, value)  # vLLM reads them while it is imported, and so do its processes
    try:
        from cai.models.vllm.engine import open_vllm
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LOCAL_PACKAGES | {"vllm"}:
            raise
        raise ModelError(f"vllm:{model} needs vLLM: pip install 'cai[vllm]'") from error
    return await open_vllm(model, options.device, options.dtype, options.concurrency, options.engine_options)


async def _open_server(spec: ModelSpec, options: EngineOptions) -> Engine:
    from cai.models.openai.engine import open_openai

    urls = [server.reveal() for server in spec.servers]
    return await open_openai(spec.model, urls, options.concurrency, attempt_timeout=options.timeout, say=options.say)


def _open_scripted(spec: ModelSpec, options: EngineOptions) -> Engine:
    from cai.models.scripted import default_script

    settings = {"delay_ms": 0, "concurrency": options.concurrency or 64} | spec.script
    return default_script(delay=settings["delay_ms"] / 1000, concurrency=max(1, settings["concurrency"]))
