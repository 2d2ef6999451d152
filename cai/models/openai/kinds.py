"""The kinds of servers, a line each, and in which words each is told what OpenAI's common fields cannot say.

| kind | thinking is told by | limit of a thought | beside temperature and top-p |
|---|---|---|---|
| vLLM | `chat_template_kwargs` | `thinking_token_budget` | top-k, min-p, repetition penalty |
| SGLang | `chat_template_kwargs` | | top-k, min-p, repetition penalty |
| llama.cpp | `chat_template_kwargs` | | top-k, min-p, repetition penalty (`repeat_penalty`) |
| Ollama | `think`, `reasoning_effort` | | |
| OpenAI | `reasoning_effort` | | |
| any other | both, whichever it takes | | top-k, min-p, repetition penalty |

`stop` is one of the common fields. What a server refuses of these it is not sent again; see `dialect`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cai.core.errors import RequestError
from cai.models.base import Sampling

Fields = Mapping[str, Any]
"""Fields of a request's body."""

_OURS = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"}


def by_template(thinks: bool) -> Fields:
    """Tell the chat template: Qwen's variable and that of DeepSeek and Granite; a template ignores the other's."""
    return {"chat_template_kwargs": {"enable_thinking": thinks, "thinking": thinks}}


def _by_effort(thinks: bool) -> Fields:
    return {"reasoning_effort": "medium" if thinks else "none"}


def _by_least_effort(thinks: bool) -> Fields:
    return {"reasoning_effort": "medium" if thinks else "minimal"}  # where there is no `none`


def _by_think(thinks: bool) -> Fields:
    return {"think": thinks, **_by_effort(thinks)}  # the former in Ollama's own interface, the latter in OpenAI's


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One kind of servers.

    `thinking` are the ways of telling whether to think, the best one first; `budget` is the field that limits a
    thought, empty where there is none; `sampling` says how it calls what may be set beside temperature and top-p;
    `templates` whether a chat template's variables reach it.
    """

    name: str
    thinking: tuple[Callable[[bool], Fields], ...]
    budget: str = ""
    sampling: Mapping[str, str] = field(default_factory=lambda: _OURS)
    templates: bool = True


UNKNOWN = ServerKind("", (by_template, _by_effort))
_KINDS = {
    "vllm": ServerKind("vLLM", (by_template,), budget="thinking_token_budget"),
    "sglang": ServerKind("SGLang", (by_template,)),
    "llamacpp": ServerKind("llama.cpp", (by_template,), sampling={**_OURS, "repetition_penalty": "repeat_penalty"}),
    "library": ServerKind("Ollama", (_by_think,), sampling={}, templates=False),
    "openai": ServerKind("OpenAI", (_by_effort, _by_least_effort), sampling={}, templates=False),
}
"""By what a list of models calls the owner; Ollama's and some gateways' name the maker of the model."""

_SIGNED = re.compile("fp_ollama$|vllm-")


def kind_of_owner(owner: Any) -> ServerKind:
    """Return the kind of servers that call a model's owner so."""
    return _KINDS.get(owner, UNKNOWN) if isinstance(owner, str) else UNKNOWN


def kind_of_fingerprint(fingerprint: Any) -> ServerKind:
    """Return the kind of servers that sign their answers so, whoever owns the model by their list."""
    if not isinstance(fingerprint, str):
        return UNKNOWN
    return _KINDS["library" if fingerprint == "fp_ollama" else "vllm"] if _SIGNED.match(fingerprint) else UNKNOWN


def sampling_fields(sampling: Sampling, kind: ServerKind, host: str) -> Fields:
    """Return what a body says beside temperature, top-p and the limit; raises RequestError for what `kind` lacks."""
    wanted: dict[str, Any] = {}
    fields: dict[str, Any] = {"stop": list(sampling.stop)} if sampling.stop else {}
    if sampling.top_k is not None:
        wanted["top_k"] = sampling.top_k
    if sampling.min_p:
        wanted["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1.0:
        wanted["repetition_penalty"] = sampling.repetition_penalty
    if not wanted:
        return fields
    lacking = [name.replace("_", "-") for name in wanted if name not in kind.sampling]
    if lacking:
        options = " and ".join(f"--{name}" for name in lacking)
        message = f"{host} is {kind.name}, whose chat completions know no {', '.join(lacking)}: leave {options} out"
        raise RequestError(message, retryable=False, kind="sampling")
    return fields | {kind.sampling[name]: value for name, value in wanted.items()}
