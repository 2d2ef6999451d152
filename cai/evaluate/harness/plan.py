"""What `--harness` asks for, looked up in lm-eval before any model is open.

A name is one of lm-eval's tasks, groups or tags, the path of a task's YAML file, or `cai_tiny`: the embedded world's
prompts, scored by its oracle. Names that lm-eval does not have are refused, and so is what cannot be asked of a model:
the likelihoods of given answers of a server, and anything of a backend that lm-eval does not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cai.core.errors import UsageError
from cai.core.paths import expand
from cai.evaluate.harness.running import ChildError, ask_child
from cai.models.base import ThinkingMode
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.models.template_options import read_template_options

MISSING = "--harness needs lm-eval: pip install 'cai[harness]'"
GENERATES = "generate_until"
"""The kind of requests that a server's chat completions can answer."""
_AT_ONCE = 16
"""Requests that a server is sent at once where `--concurrency` says nothing."""


@dataclass(frozen=True, slots=True)
class HarnessTask:
    """A task by the name that lm-eval has it under, or its file; `title` is what it is called in tables.

    `id` says what is asked: with lm-eval's version, of a limited run how many samples, of a file what it holds.
    """

    name: str
    title: str
    id: str


@dataclass(frozen=True, slots=True)
class HarnessPlan:
    """The tasks, lm-eval's version, and how many samples of each (sub)task there are to be at most.

    `remarks` are what a person is told beside the figures.
    """

    tasks: tuple[HarnessTask, ...]
    version: str
    limit: int | None
    remarks: tuple[str, ...] = ()


def plan_harness(names: Sequence[str], models: Sequence[ModelSpec], limit: int | None) -> HarnessPlan | None:
    """Return what is asked for, None where nothing is; raises UsageError."""
    wanted = tuple(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))
    if not wanted:
        return None
    found = _installed()
    for model in models:
        if model.kind != "openai" and model.files is None:
            raise UsageError(f"lm-eval cannot open {model}: --harness is for transformers:, vllm: and openai: models")
    paths = {name: str(expand(name).absolute()) if name.endswith(".yaml") else name for name in wanted}
    try:
        kinds = ask_child({"do": "look", "tasks": list(paths.values())})
    except ChildError as error:
        raise UsageError(f"--harness: {error}") from error
    served = next((model for model in models if model.kind == "openai"), None)
    for name, place in paths.items():
        _check(name, kinds.get(place), found, served)
    tasks = tuple(HarnessTask(place, Path(name).stem, _identity(place, found, limit)) for name, place in paths.items())
    several = [model for model in models if len(model.servers) > 1]
    remarks = tuple(f"of the {len(model.servers)} servers of {model} lm-eval asks the first" for model in several)
    return HarnessPlan(tasks, found, limit, remarks)


def _installed() -> str:
    """Return lm-eval's version; raises UsageError where it is not there."""
    if find_spec("lm_eval") is None:
        raise UsageError(MISSING)
    try:
        return version("lm_eval")
    except PackageNotFoundError as error:
        raise UsageError(MISSING) from error


def _check(name: str, found: Mapping[str, Any] | None, installed: str, served: ModelSpec | None) -> None:
    """Raise UsageError unless lm-eval has the task, and it can be asked of the models; `served` is one of a server."""
    if found is None:
        raise UsageError(
            f"--harness {name}: lm-eval {installed} has no task of that name (`lm-eval ls tasks` shows all)"
        )
    if found["unsafe"]:
        raise UsageError(f"--harness {name} runs Python code that the model wrote, which cai never does: leave it out")
    others = [kind for kind in found["kinds"] if kind != GENERATES]
    if served is not None and others:
        raise UsageError(
            f"--harness {name} compares how likely given answers are, which chat completions do not tell of {served}: "
            "leave it out, or name the model's weights (transformers:, vllm:)"
        )


def _identity(name: str, installed: str, limit: int | None) -> str:
    file = Path(name)
    what = f"{file.name} {sha256(file.read_bytes()).hexdigest()[:16]}" if name.endswith(".yaml") else name
    return f"{what}, lm-eval {installed}{'' if limit is None else f', first {limit}'}"


def model_for_child(spec: ModelSpec, settings: EngineSettings, thinking: ThinkingMode = "auto") -> dict[str, Any]:
    """Return how lm-eval's process opens a model: for its standard input alone, an address is there as it was typed.

    `thinking` that is off is said to the chat template, as far as that asks.
    """
    variables = read_template_options(settings.template_option)
    if thinking == "off":
        variables = {"enable_thinking": False, **variables}
    told = {"told": str(spec), "variables": variables}
    if spec.kind == "openai":
        return told | {
            "kind": "server",
            "name": spec.model,
            "address": spec.servers[0].reveal(),
            "concurrency": settings.concurrency or _AT_ONCE,
            "timeout": settings.timeout,
        }
    options = {} if spec.kind != "vllm" else _engine_options(settings.engine_option)
    kind = "vllm" if spec.kind == "vllm" else "weights"
    opened = {"kind": kind, "weights": spec.files, "device": settings.device, "dtype": settings.dtype}
    return told | opened | {"options": options}


def _engine_options(options: Sequence[str]) -> dict[str, Any]:
    """Return `--engine-option` texts as arguments of vLLM's engine."""
    return {name.replace("-", "_"): value for name, value in read_template_options(_plain(options)).items()}


def _plain(options: Sequence[str]) -> list[str]:
    return [
        f"{name.strip().lstrip('-').replace('-', '_')}={value}"
        for name, _, value in (o.partition("=") for o in options)
    ]
