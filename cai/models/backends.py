"""The backends that a model can be opened in, a line each, and all that differs between them beside the engine itself.

| spec | engine |
|---|---|
| `tiny` | the embedded checkpoint, opened as `transformers:` opens any other |
| `transformers:MODEL` | a directory, a GGUF file or a hub id, in this process |
| `vllm:MODEL` | the same in vLLM's engine; `--engine-option KEY=VALUE` are its own options |
| `openai:MODEL@URL[,URL…]` | one or several servers with OpenAI's chat completions, e.g. `http://127.0.0.1:8000/v1` |
| `scripted[?delay_ms=N&concurrency=N]` | no model: deterministic words, for dry runs and tests |

In this process MODEL may also be `BASE+ADAPTER`, or the directory of an adapter, which names its base itself.

What a backend needs is imported when a model is opened in it, so that nobody waits for torch who talks to a server.
Messages, help texts, `open_engine`, `open_counter` and the check of what can be trained read the table; another line is
added with `register_backend`, from anywhere.
"""

import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from cai.core.addresses import DataSource, address_secrets
from cai.core.errors import ModelError
from cai.core.machine import let_waiting_threads_sleep
from cai.core.redaction import is_secret_name, know
from cai.models.base import Engine, Sampling
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.template_options import read_template_options

if TYPE_CHECKING:
    from cai.models.spec import ModelSpec
    from cai.models.tokens import TokenCounter

TINY = Path(__file__).parent.parent / "tiny" / "checkpoint"
_VLLM_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Set unless the environment says otherwise: vLLM would write over the screen and into the JSON that a program reads on
the standard output, and report its use over the network."""

_KIND = re.compile(r"[a-z][a-z0-9_-]*")
_SERVED = re.compile(r":(.+?)@(https?://.+)", re.DOTALL)


MORE_SAMPLING = ("top_k", "min_p", "repetition_penalty", "stop")
"""The fields of `Sampling` that not every backend has."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to open an engine.

    `device` and `dtype` (torch's names, or auto) matter to models in this process, `timeout` (seconds an attempt) to
    servers; `concurrency` None leaves the number of requests held at once to the engine. `engine_options` are
    `KEY=VALUE` texts that matter to vLLM's engine, `template_options` such texts for chat templates. `say` tells a
    person at once what a server is waited for, and what a chat template does not take.
    """

    device: str = "auto"
    dtype: str = "auto"
    concurrency: int | None = None
    timeout: float = 600.0
    engine_options: tuple[str, ...] = ()
    template_options: tuple[str, ...] = ()
    say: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class SpecParts:
    """What stands in a spec behind its kind: the model's name, its servers, the numbers of a script."""

    model: str = ""
    servers: tuple[DataSource, ...] = ()
    script: Mapping[str, int] = field(default_factory=dict)


def model_name(rest: str) -> SpecParts | None:
    """Take `:MODEL` apart."""
    if not rest.startswith(":") or rest == ":":
        return None
    know(address_secrets(rest[1:]))
    return SpecParts(rest[1:])


def count_bytes(_spec: "ModelSpec", _options: EngineOptions) -> "TokenCounter":
    """Return the counter for a tokenizer that is not known."""
    from cai.models.tokens import ByteCounter

    return ByteCounter()


@dataclass(frozen=True, slots=True)
class Backend:
    """One kind of models.

    `kind` is the word before the colon, `form` how a spec of it is written, for messages and help. `open` returns an
    engine, and imports itself what it needs. `count_tokens` returns a counter that works without the model. `parse`
    takes apart what stands behind the kind, the colon included, and returns None when that has not the form.

    `weights` returns the directory, hub id or `BASE+ADAPTER` in which transformers finds the model, so that it can be
    trained; None when it cannot. `needs` is what pip installs where a package is missing. `engine_options` says whether
    `--engine-option` is for it, `template_options` whether `--template-option` is. `sampling` are the ways of drawing
    tokens it has beside temperature and top-p, of `MORE_SAMPLING`.
    """

    kind: str
    form: str
    open: Callable[["ModelSpec", EngineOptions], Awaitable[Engine]]
    count_tokens: Callable[["ModelSpec", EngineOptions], "TokenCounter"] = count_bytes
    parse: Callable[[str], SpecParts | None] = model_name
    weights: Callable[["ModelSpec"], str] | None = None
    needs: str = ""
    engine_options: bool = False
    template_options: bool = False
    sampling: frozenset[str] = frozenset()

    @property
    def trainable(self) -> bool:
        """Whether a model of this kind can be trained."""
        return self.weights is not None


def register_backend(backend: Backend) -> None:
    """Add a backend; one that was added under the same kind before is replaced. Raises ModelError.

    With `--cluster` the replicas' processes must have called this too, before they get a model of the kind.
    """
    if not _KIND.fullmatch(backend.kind):
        raise ModelError(f"a backend cannot be called {backend.kind!r}: small letters, digits, - and _ make a kind")
    if backend.kind in _OURS:
        raise ModelError(f"there is a backend {backend.kind} already: call yours otherwise")
    _BACKENDS[backend.kind] = backend


def find_backend(kind: str) -> Backend | None:
    """Return the backend of a kind, None when there is none."""
    return _BACKENDS.get(kind)


def backend_kinds() -> tuple[str, ...]:
    """Return the words before the colon."""
    return tuple(_BACKENDS)


def model_forms(*, trainable: bool = False) -> str:
    """Return how models are written, for messages and help."""
    return ", ".join(backend.form for backend in _BACKENDS.values() if backend.trainable or not trainable)


async def open_engine(spec: "ModelSpec", options: EngineOptions | None = None) -> Engine:
    """Open the engine that `spec` names, or raise ModelError saying what is wrong with it."""
    with installed(spec):
        return await spec.backend.open(spec, options or EngineOptions())


def open_counter(spec: "ModelSpec", options: EngineOptions | None = None) -> "TokenCounter":
    """Return the counter for the model that `spec` names; raises ModelError when its tokenizer cannot be opened."""
    with installed(spec):
        return spec.backend.count_tokens(spec, options or EngineOptions())


def check_engine_options(
    specs: Iterable["ModelSpec"], engine_options: Iterable[str], template_options: Sequence[str] = ()
) -> None:
    """Raise ModelError when there are options for vLLM's engine, or for chat templates, that none of the models takes.

    Raises it, too, for an option that would let a checkpoint run code of its own (see `pretrained`), and for one that
    is a secret: options are written down with the run.
    """
    backends = [spec.backend for spec in specs]
    keys = [option.partition("=")[0].strip().lstrip("-").replace("_", "-") for option in engine_options]
    for key in keys:
        if key.startswith("trust-remote-code"):
            raise ModelError("--engine-option trust-remote-code: cai never runs Python code that comes with a model")
        if is_secret_name(key):
            raise ModelError(f"--engine-option {key} is a secret: give it in the environment, as HF_TOKEN for the hub")
    if keys and not any(backend.engine_options for backend in backends):
        raise ModelError("--engine-option is for vLLM's engine, and no model here is a vllm:MODEL")
    if read_template_options(template_options) and not any(backend.template_options for backend in backends):
        having = ", ".join(backend.form for backend in _BACKENDS.values() if backend.template_options)
        raise ModelError(f"--template-option is for a model's chat template, and no model here has one: {having} have")


def check_sampling(specs: Iterable["ModelSpec"], sampling: Sampling) -> None:
    """Raise ModelError when texts are to be drawn in a way that a model's backend does not have."""
    usual = Sampling()
    asked = [name for name in MORE_SAMPLING if getattr(sampling, name) != getattr(usual, name)]
    for spec in specs:
        for name in asked:
            if name not in spec.backend.sampling:
                having = [backend.kind for backend in _BACKENDS.values() if name in backend.sampling]
                option = f"--{name.replace('_', '-')}"
                other = f", or take a model of {' or '.join(having)}" if having else ""
                raise ModelError(f"{spec} cannot draw its tokens with {option}: leave it out{other}")


@contextmanager
def installed(spec: "ModelSpec") -> Iterator[None]:
    """Say what to install when a package is missing inside the block."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "cai"):
            raise
        install = f": pip install '{spec.backend.needs}'" if spec.backend.needs else ", which is not installed"
        raise ModelError(f"{spec} needs {missing}{install}") from error


def _no_name(rest: str) -> SpecParts | None:
    return None if rest else SpecParts()


def _served(rest: str) -> SpecParts | None:
    if rest in ("", ":"):
        return None
    parts = _SERVED.fullmatch(rest)
    servers = () if parts is None else tuple(map(DataSource.server, re.split(r",\s*(?=https?://)", parts[2])))
    # A comma that is left is a password's, or what follows it is no address.
    if parts is None or "://" in parts[1] or any("," in str(server) for server in servers):
        raise ModelError(
            "an openai model needs the form openai:MODEL@URL[,URL…], e.g. openai:llama@http://127.0.0.1:8000/v1, each "
            "URL with its http:// or https://"
        )
    return SpecParts(parts[1], servers)


def _script(rest: str) -> SpecParts | None:
    if rest and not rest.startswith("?"):
        return None
    script = {}
    for name, value in parse_qsl(rest[1:], keep_blank_values=True):
        known = name in ("delay_ms", "concurrency")
        if not known or not value.isdecimal():
            told = f"{name}={value}" if known else name
            raise ModelError(f"scripted: {told} is neither delay_ms=N nor concurrency=N, N a whole number")
        script[name] = int(value)
    return SpecParts(script=script)


async def _open_local(spec: "ModelSpec", options: EngineOptions) -> Engine:
    let_waiting_threads_sleep()
    Checkpoint.resolve(spec.weights)  # a mistake is told at once, and not after torch has been imported
    from cai.models.local.engine import open_transformers

    engine = await open_transformers(
        spec.weights,
        options.device,
        options.dtype,
        options.concurrency,
        read_template_options(options.template_options),
        options.say,
    )
    if options.say is not None and spec.model:  # the embedded model takes next to nothing
        options.say(engine.describe())
    return engine


async def _open_vllm(spec: "ModelSpec", options: EngineOptions) -> Engine:
    for name, value in _VLLM_QUIET.items():
        os.environ.setdefault(name, value)  # vLLM reads them while it is imported, and so do its processes
    Checkpoint.resolve(spec.model)
    from cai.models.vllm.engine import open_vllm

    return await open_vllm(
        spec.model,
        options.device,
        options.dtype,
        options.concurrency,
        options.engine_options,
        read_template_options(options.template_options),
        options.say,
    )


async def _open_servers(spec: "ModelSpec", options: EngineOptions) -> Engine:
    from cai.models.openai.engine import open_openai

    urls = [server.reveal() for server in spec.servers]
    return await open_openai(
        spec.model,
        urls,
        options.concurrency,
        attempt_timeout=options.timeout,
        say=options.say,
        variables=read_template_options(options.template_options),
    )


async def _open_scripted(spec: "ModelSpec", options: EngineOptions) -> Engine:
    from cai.models.scripted import default_script

    settings = {"delay_ms": 0, "concurrency": options.concurrency or 64, **spec.script}
    return default_script(delay=settings["delay_ms"] / 1000, concurrency=max(1, settings["concurrency"]))


def _count_words(_spec: "ModelSpec", _options: EngineOptions) -> "TokenCounter":
    from cai.models.tokens import WordCounter

    return WordCounter()


def _count_with_template(spec: "ModelSpec", options: EngineOptions) -> "TokenCounter":
    from cai.models.tokens import open_template_counter

    return open_template_counter(spec.model or spec.weights, read_template_options(options.template_options))


def _embedded(_spec: "ModelSpec") -> str:
    return str(TINY)


def _named(spec: "ModelSpec") -> str:
    return spec.model


_LOCAL, _VLLM = "cai[local]", "cai[vllm]"
_able = partial(Backend, template_options=True, sampling=frozenset(MORE_SAMPLING))
_BACKENDS: dict[str, Backend] = {
    backend.kind: backend
    for backend in (
        _able("tiny", "tiny", _open_local, _count_with_template, _no_name, _embedded, _LOCAL),
        _able("transformers", "transformers:MODEL", _open_local, _count_with_template, weights=_named, needs=_LOCAL),
        _able("vllm", "vllm:MODEL", _open_vllm, _count_with_template, needs=_VLLM, engine_options=True),
        _able("openai", "openai:MODEL@URL[,URL…]", _open_servers, count_bytes, _served),
        Backend("scripted", "scripted", _open_scripted, _count_words, _script),
    )
}
_OURS = frozenset(_BACKENDS)
