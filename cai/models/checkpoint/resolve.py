"""What a model's name means: its base, the adapter on it, and its tokenizer. One rule for all who open or train one.

| name | base | adapter |
|---|---|---|
| a directory with a config.json | the directory | none |
| a file that ends in .gguf, or a directory that holds nothing but one | the file | none |
| a directory with an adapter_config.json alone | what that file names | the directory |
| `BASE+ADAPTER` | BASE, whatever the adapter's file names | ADAPTER, a directory |
| what looks like no path | a hub id | none |

Nothing is loaded: of an adapter its adapter_config.json is read, without peft or torch. Raises ModelError only.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cai.core.errors import ModelError
from cai.core.paths import expand, open_file, resolve
from cai.models.checkpoint.files import ADAPTER_CONFIG, BOTTLENECK, check_adapter, check_checkpoint, check_gguf, is_gguf
from cai.models.checkpoint.fingerprint import model_label

_FORM_KEY = "revision_form"
_FORMS = ("anew", "continued")

VIRTUAL = ("PREFIX_TUNING", "PROMPT_TUNING")
"""PEFT's names of the kinds that put virtual tokens before what a model reads."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model lies. `base` is a directory, a GGUF file or a hub id, `adapter` a directory; paths are whole ones.

    `tokenizer` is the directory or hub id whose tokenizer and chat template it has: the adapter's own, which may have
    been trained with another template, and else the base's.
    """

    name: str
    base: str
    adapter: Path | None
    tokenizer: str

    @classmethod
    def resolve(cls, name: str) -> Self:
        """Find out what a name means."""
        base, adapter = _split(name)
        if adapter is not None:
            base = _base(base)
        elif _is_adapter(directory := expand(name)):
            adapter = resolve(directory)
            base = _base(adapter_base(adapter), named_by=adapter)
        else:
            base = _base(name)
        if adapter is not None and is_gguf(base):
            raise ModelError(needs_usual_form(base, f"and {adapter} is an adapter, which needs it"))
        own = adapter is not None and (adapter / "tokenizer_config.json").is_file()
        return cls(name, base, adapter, str(adapter) if own else base)

    def require_usual_form(self, why: str) -> None:
        """Raise ModelError for a GGUF file; `why`, which goes on after "and", says what cannot do with one."""
        if is_gguf(self.base):
            raise ModelError(needs_usual_form(self.base, f"and {why}"))

    def check_files(self) -> None:
        """Raise ModelError unless the files that lie here can be a whole base and a whole adapter."""
        if is_gguf(self.base):
            check_gguf(Path(self.base))
        elif Path(self.base).is_dir():
            check_checkpoint(Path(self.base))
        if self.adapter is not None:
            check_adapter(self.adapter)

    @property
    def label(self) -> str:
        """What names the weights by their files; a hub id that has no adapter is its own name."""
        return model_label(self.base if self.adapter is None else str(self.adapter))

    def provenance(self, backend: str, dtype: str | None = None, commit: str | None = None) -> str:
        """Return what provenance records of it, opened in a backend; `commit` is the hub's, for a base from there.

        The precision, a part of what a model says, stands at the end for base and adapter, once it is known.
        """
        base = f"{backend}:{model_label(self.base, commit)}{'' if dtype is None else f' {dtype}'}"
        return base if self.adapter is None else f"{backend}:{self.label} on {base}"


def needs_usual_form(file: str, why: str) -> str:
    """Return the sentence that refuses a GGUF file."""
    return (
        f"{file} is a GGUF file, {why}: write it in the usual form with `cai models convert {file} DIR`, and name DIR"
    )


def stated_form(name: str | None) -> str | None:
    """Return the form of asking for revisions that a checkpoint's config.json states it was trained in.

    Forms are those of `cai.method.forms`; of an adapter it is the base's. Transformers keeps the key when a model is
    trained further and saved. None where nothing is stated or no file lies here: hub ids are not looked up. Raises
    ModelError for a form that is not there.
    """
    if name is None:
        return None
    try:
        base = Path(Checkpoint.resolve(name).base)
        with open_file(base / "config.json") as file:
            config: Any = json.load(file)
    except (ModelError, OSError, ValueError):  # whoever opens the model says what is wrong with it
        return None
    stated: str | None = config.get(_FORM_KEY) if isinstance(config, dict) else None
    if stated is not None and stated not in _FORMS:
        raise ModelError(f"{base / 'config.json'}: {_FORM_KEY} is {stated!r}; there are {' and '.join(_FORMS)}")
    return stated


def adapter_base(directory: Path) -> str:
    """Return the base model, a directory or hub id, that an adapter's directory names; raises ModelError."""
    base = _read(directory).get("base_model_name_or_path")
    if not base:
        raise ModelError(
            f"{directory / ADAPTER_CONFIG} does not say which model it adapts: base_model_name_or_path is empty"
        )
    return str(base)


@dataclass(frozen=True, slots=True)
class AdapterType:
    """PEFT's name of an adapter's kind, whether a base can take it into its weights, and its virtual tokens."""

    type: str
    folds: bool
    virtual_tokens: int


def adapter_kind(directory: Path) -> AdapterType:
    """Return what kind of adapter lies in a directory; raises ModelError."""
    config = _read(directory)
    kind, tokens = str(config.get("peft_type")), config.get("num_virtual_tokens", 0)
    if kind in VIRTUAL and not isinstance(tokens, int):
        raise ModelError(f"{directory / ADAPTER_CONFIG} does not say how many virtual tokens it has: {tokens!r}")
    return AdapterType(kind, folds=kind not in (BOTTLENECK, *VIRTUAL), virtual_tokens=tokens if kind in VIRTUAL else 0)


def require_foldable(directory: Path) -> None:
    """Raise ModelError when the adapter is of a kind that no base can take into its weights."""
    kind = adapter_kind(directory)
    if not kind.folds:
        raise ModelError(
            f"{directory} is an adapter of the kind {kind.type}, which cannot be folded into its base: open it as it "
            "is with transformers:, or train one of the kind lora"
        )


def lora_rank(directory: Path) -> int:
    """Return the rank of a LoRA adapter; raises ModelError when it is of another kind."""
    config = _read(directory)
    kind = "DORA" if config.get("use_dora") else config.get("peft_type")
    if kind != "LORA" or not isinstance(config.get("r"), int):
        raise ModelError(
            f"{directory} is an adapter of the kind {kind}, and vLLM serves LoRA alone beside its base: open it with "
            "transformers:, or train it with --merge where its kind can be folded in"
        )
    pattern = config.get("rank_pattern") or {}
    if not isinstance(pattern, dict) or not all(isinstance(rank, int) for rank in pattern.values()):
        raise ModelError(f"{directory / ADAPTER_CONFIG} does not say which ranks it has: rank_pattern is {pattern!r}")
    ranks: list[int] = [config["r"], *pattern.values()]
    return max(ranks)


def _split(name: str) -> tuple[str, Path | None]:
    """Return what stands before and after the `+` of `BASE+ADAPTER`, or `name` and None when it has no adapter.

    A `+` that belongs to a directory's name is left in it. Raises ModelError when no adapter lies where one is named.
    """
    if "+" not in name or expand(name).is_dir():
        return name, None
    for place in (index for index, letter in enumerate(name) if letter == "+"):
        directory = expand(name[place + 1 :])
        if place and (directory / ADAPTER_CONFIG).is_file():
            return name[:place], resolve(directory)
    raise ModelError(f"{name.partition('+')[2]} is no adapter: a directory with {ADAPTER_CONFIG} belongs after the +")


def _is_adapter(directory: Path) -> bool:
    return (directory / ADAPTER_CONFIG).is_file() and not (directory / "config.json").is_file()


def _base(name: str, named_by: Path | None = None) -> str:
    """Return the whole path of the directory, or the hub id, that `name` is; raises ModelError when it can be neither.

    `named_by` is the adapter that calls its base so, perhaps as it was called on another machine.
    """
    directory = resolve(expand(name))
    where = "" if named_by is None else f", which {named_by} names as its base: put another before it, BASE+ADAPTER"
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            found = sorted(path for path in directory.iterdir() if is_gguf(path.name))
            if len(found) == 1:
                return str(found[0])
            if found:
                raise ModelError(f"{directory} holds {len(found)} GGUF files: name one of them, as {found[0]}")
            raise ModelError(f"{directory} is no model: it has no config.json and no {ADAPTER_CONFIG}{where}")
        return str(directory)
    if directory.is_file() and is_gguf(directory.name):
        return str(directory)
    if directory.exists():
        raise ModelError(f"{directory} is a file; a model is a directory with its config.json, or a hub id{where}")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no model directory {name}{where}")
    return name


def _read(directory: Path) -> dict[str, Any]:
    path = directory / ADAPTER_CONFIG
    try:
        with open_file(path) as file:
            config = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} does not say which model it adapts: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} does not say which model it adapts: it is no mapping")
    return config
