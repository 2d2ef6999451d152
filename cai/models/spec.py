"""What a person writes after `--model`, `--judge` or `--baseline`, taken apart once, as its backend says.

Its text is without what the servers' addresses carry beside host, port and path; see `addresses.Redacted`.
"""

import re
from pathlib import PurePath
from typing import NamedTuple, Self

from cai.core.addresses import Redacted, address_secrets
from cai.core.errors import ModelError, UsageError
from cai.core.redaction import know, redact
from cai.models.backends import Backend, SpecParts, find_backend, model_forms

_KIND = re.compile(r"[^:?]*")
_LABELLED = re.compile(r"([^=:/@?]+)=(.+)", re.DOTALL)
_LABEL = re.compile(r"[\w][\w.+-]{0,79}")


class ModelSpec(Redacted):
    """A model as it was named.

    `kind` is its backend's, `model` what stands behind that, `servers` those of `openai`, `script` the numbers of
    `scripted`.
    """

    __slots__ = ("backend", "kind", "model", "script", "servers")

    def __init__(self, typed: str, backend: Backend, parts: SpecParts) -> None:
        servers = ",".join(map(str, parts.servers))
        super().__init__(typed, f"{backend.kind}:{parts.model}@{servers}" if servers else redact(typed))
        self.backend = backend
        self.kind = backend.kind
        self.model = parts.model
        self.servers = parts.servers
        self.script = parts.script

    @classmethod
    def parse(cls, typed: str) -> Self:
        """Take a model's name apart; raises ModelError when it has not the form of one. Nothing is looked up."""
        kind, rest = _apart(typed)
        backend = find_backend(kind)
        parts = None if backend is None else backend.parse(rest)
        if backend is not None and parts is not None:
            return cls(typed, backend, parts)
        # What is not understood may hold a password anywhere, so that of a long text only the beginning is told.
        start = typed.partition(":")[0]
        shown = repr(f"{start}{':' if ':' in typed else ''}…") if re.search(r"[@?\s]|:/", typed) else repr(typed)
        raise ModelError(f"model {shown} is none of: {model_forms()}")

    @classmethod
    def checkpoint(cls, typed: str) -> Self:
        """Take the name of a model to be trained apart: `tiny`, a directory or a hub id; raises ModelError."""
        kind, rest = _apart(typed)
        backend = find_backend(kind)
        if backend is not None and not backend.trainable:
            raise ModelError(f"a model of the kind {kind!r} cannot be trained: name tiny, a directory or a hub id")
        if backend is not None and backend.parse(rest) is not None:
            return cls.parse(typed)
        know(address_secrets(typed))
        return cls.parse(f"transformers:{typed}")

    @property
    def files(self) -> str | None:
        """The directory, hub id or `BASE+ADAPTER` in which its files are; None of a server's."""
        if self.backend.weights is not None:
            return self.backend.weights(self)
        return self.model if self.kind == "vllm" else None

    @property
    def weights(self) -> str:
        """The directory, hub id or `BASE+ADAPTER` in which transformers finds it; ModelError when there is none."""
        if self.backend.weights is None:
            raise ModelError(f"{self} has no weights here: name tiny, a directory or a hub id")
        return self.backend.weights(self)


def _apart(typed: str) -> tuple[str, str]:
    """Return the kind and what stands behind it, with the sign between them."""
    match = _KIND.match(typed)
    kind = match[0] if match is not None else ""
    return kind, typed[len(kind) :]


def apart_from_label(typed: str) -> tuple[str | None, str]:
    """Return the name that was given to a model, if one was, and the model: `NAME=MODEL` or `MODEL`."""
    named = _LABELLED.fullmatch(typed)
    return (None, typed) if named is None else (named[1], named[2])


class LabelledModel(NamedTuple):
    """A model and the name that it has in tables, if it was given one: `NAME=MODEL` or `MODEL`."""

    label: str | None
    spec: ModelSpec

    @classmethod
    def parse(cls, typed: str) -> "LabelledModel":
        """Take it apart; raises as `ModelSpec.parse` does."""
        label, rest = apart_from_label(typed)
        return cls(label, ModelSpec.parse(rest))

    @property
    def title(self) -> str:
        """Its name in tables and of files: the one it was given, else the last part of its path, or what kind it is.

        Raises UsageError where the name that was given is none.
        """
        if self.label is None:
            name = PurePath(self.spec.model or self.spec.kind).name
            return re.sub(r"[^\w.+-]+", "-", name).lstrip(".+-")[:80] or "model"
        if not _LABEL.fullmatch(self.label):
            raise UsageError(
                f"model name {self.label!r} may hold letters, digits and . + - _ only, and begins with no sign"
            )
        return self.label

    def __str__(self) -> str:
        """Return it as it is typed, as far as it may be shown."""
        return str(self.spec) if self.label is None else f"{self.label}={self.spec}"
