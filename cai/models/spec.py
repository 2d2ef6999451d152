"""What a person writes after `--model`, `--judge` or `--baseline`, taken apart once.

| typed | kind | model |
|---|---|---|
| `tiny` | `tiny` | |
| `transformers:MODEL` | `transformers` | a directory, a hub id, `BASE+ADAPTER` |
| `vllm:MODEL` | `vllm` | the same |
| `openai:MODEL@URL[,URL…]` | `openai` | what the servers call it |
| `scripted[?delay_ms=N&concurrency=N]` | `scripted` | |

Its text is without what the servers' addresses carry beside host, port and path; see `addresses.Redacted`.
"""

import re
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qsl

from cai.core.addresses import DataSource, Redacted, address_secrets
from cai.core.errors import ModelError
from cai.core.redaction import know, redact

Kind = Literal["tiny", "transformers", "vllm", "openai", "scripted", "given"]

_ALLOWED = "tiny, transformers:MODEL, vllm:MODEL, openai:MODEL@URL[,URL…], scripted"
_SERVED = re.compile(r"(.+?)@(https?://.+)", re.DOTALL)
_LABELLED = re.compile(r"([^=:/@?]+)=(.+)", re.DOTALL)


class ModelSpec(Redacted):
    """A model as it was named; `servers` are those of `openai`, `script` the numbers of `scripted`."""

    __slots__ = ("kind", "model", "script", "servers")

    def __init__(
        self, typed: str, kind: Kind, model: str, servers: tuple[DataSource, ...] = (), script: str = ""
    ) -> None:
        shown = f"openai:{model}@{','.join(map(str, servers))}" if servers else redact(typed)
        super().__init__(typed, shown)
        self.kind = kind
        self.model = model
        self.servers = servers
        self.script = _script(script)

    @classmethod
    def parse(cls, typed: str) -> Self:
        """Take a model's name apart; raises ModelError when it has not the form of one. Nothing is looked up."""
        kind, colon, rest = typed.partition(":")
        if typed == "tiny":
            return cls(typed, "tiny", "")
        if kind == "transformers" and rest:
            return cls(typed, "transformers", rest)
        if kind == "vllm" and rest:
            return cls(typed, "vllm", rest)
        if kind == "openai" and rest:
            return cls(typed, "openai", *_served(rest))
        if typed.partition("?")[0] == "scripted":
            return cls(typed, "scripted", "", script=typed.partition("?")[2])
        # What is not understood may hold a password anywhere, so that of a long text only the beginning is told.
        shown = repr(kind + colon + "…") if re.search(r"[@?\s]|:/", typed) else repr(typed)
        raise ModelError(f"model {shown} is none of: {_ALLOWED}")

    @classmethod
    def checkpoint(cls, typed: str) -> Self:
        """Take the name of a model to be trained apart: `tiny`, a directory or a hub id; raises ModelError."""
        if typed == "tiny" or typed.startswith("transformers:"):
            return cls.parse(typed)
        kind = typed.partition(":")[0].partition("?")[0]
        if kind in ("openai", "vllm", "scripted"):
            raise ModelError(f"a model of the kind {kind!r} cannot be trained: name tiny, a directory or a hub id")
        know(address_secrets(typed))
        return cls.parse(f"transformers:{typed}")


class LabelledModel(NamedTuple):
    """A model and the name that it has in tables, if it was given one: `NAME=MODEL` or `MODEL`."""

    label: str | None
    spec: ModelSpec

    @classmethod
    def parse(cls, typed: str) -> "LabelledModel":
        """Take it apart; raises as `ModelSpec.parse` does."""
        named = _LABELLED.fullmatch(typed)
        return cls(None, ModelSpec.parse(typed)) if named is None else cls(named[1], ModelSpec.parse(named[2]))

    def __str__(self) -> str:
        """Return it as it is typed, as far as it may be shown."""
        return str(self.spec) if self.label is None else f"{self.label}={self.spec}"


def _served(rest: str) -> tuple[str, tuple[DataSource, ...]]:
    parts = _SERVED.fullmatch(rest)
    servers = () if parts is None else tuple(map(DataSource.server, re.split(r",\s*(?=https?://)", parts[2])))
    # A comma that is left is a password's, or what follows it is no address.
    if parts is None or "://" in parts[1] or any("," in str(server) for server in servers):
        raise ModelError(
            "an openai model needs the form openai:MODEL@URL[,URL…], e.g. openai:llama@http://127.0.0.1:8000/v1, each "
            "URL with its http:// or https://"
        )
    return parts[1], servers


def _script(options: str) -> dict[str, int]:
    script = {}
    for name, value in parse_qsl(options, keep_blank_values=True):
        known = name in ("delay_ms", "concurrency")
        if not known or not value.isdecimal():
            told = f"{name}={value}" if known else name
            raise ModelError(f"scripted: {told} is neither delay_ms=N nor concurrency=N, N a whole number")
        script[name] = int(value)
    return script
