"""What a checkpoint's files say before anything of it is loaded. Needs no torch; raises ModelError in one sentence.

Read are the small JSON files, the beginnings of all others and the headers of the weights: Git-LFS pointers, files that
are empty or cut, shards that are missing and a configuration that does not go with the weights are told within
milliseconds, whatever the weights weigh. What weights are worth is seen only when they are loaded (`pretrained.py`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cai.core.errors import ModelError
from cai.core.paths import open_file

ADAPTER_CONFIG = "adapter_config.json"
BOTTLENECK = "BOTTLENECK"
"""What adapter_config.json calls the kind of adapter that is ours (`bottleneck.py`)."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_READ = frozenset({".json", ".jinja", ".safetensors", ".bin", ".model", ".txt"})
_GENERATION = "generation_config.json"
_MAPPINGS = (
    "config.json",
    _GENERATION,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    ADAPTER_CONFIG,
)
_GGUF = b"GGUF"
_INDEX = "model.safetensors.index.json"


def check_checkpoint(directory: Path) -> None:
    """Raise ModelError unless the directory's files can be a whole model."""
    config = _check_files(directory).get("config.json")
    if config is None:
        raise ModelError(f"{directory} is no model: it has no config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{directory / 'config.json'} does not say what model it is: it has no model_type")
    tensors = _tensors(directory, "model.safetensors", _INDEX, ("pytorch_model.bin", "pytorch_model.bin.index.json"))
    layers = config.get("num_hidden_layers")
    if tensors is not None and isinstance(layers, int) and layers > tensors:
        raise ModelError(
            f"{directory / 'config.json'} says {layers} layers, and the weights beside it are only {tensors} tensors"
        )


def check_adapter(directory: Path) -> None:
    """Raise ModelError unless the directory's files can be a whole PEFT adapter."""
    _check_files(directory)
    _tensors(directory, "adapter_model.safetensors", None, ("adapter_model.bin",))


def check_tokenizer(directory: Path) -> None:
    """Raise ModelError when a file of a tokenizer's directory is a pointer, is empty or cannot be read."""
    _check_files(directory)


def is_gguf(name: str) -> bool:
    """Whether a file of this name, or path, is said to be a GGUF file: weights, tokenizer and template in one."""
    return name.endswith(".gguf")


def check_gguf(path: Path) -> None:
    """Raise ModelError when the file does not begin as a GGUF file does."""
    try:
        with open_file(path) as file:
            begins = file.read(len(_POINTER))
    except OSError as error:
        raise ModelError(f"model {path} cannot be read: {error.strerror}") from error
    if begins == _POINTER:
        raise ModelError(_pointer(path))
    if not begins.startswith(_GGUF):
        raise ModelError(f"{path} is no GGUF file, though it is called one: get it again")


def _pointer(path: Path) -> str:
    return f"{path} is a Git-LFS pointer and not the file itself: run `git lfs pull` where it was cloned"


def declared_ends(directory: Path) -> list[int]:
    """Return the tokens at which a directory's generation configuration stops, none without one; raises ModelError."""
    path = directory / _GENERATION
    return as_ends(_mapping(path).get("eos_token_id"), str(path)) if path.is_file() else []


def as_ends(value: Any, place: str) -> list[int]:
    """Return what a configuration calls its end, one token, several or none, as a list; raises ModelError."""
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(token, int) for token in listed):
        raise ModelError(f"{place} does not say where a turn ends: its eos_token_id {value!r} is no token's number")
    return listed


def _check_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the directory's small JSON files, all of which are mappings."""
    found = {}
    try:
        for path in sorted(directory.iterdir()):
            if path.suffix not in _READ:
                continue
            with open_file(path) as file:
                begins = file.read(len(_POINTER))
            if begins == _POINTER:
                raise ModelError(_pointer(path))
            if not begins:
                raise ModelError(f"{path} is empty: get it again")
            if path.name in _MAPPINGS:
                found[path.name] = _mapping(path)
    except OSError as error:
        raise ModelError(f"model {directory} cannot be read: {error.filename}: {error.strerror}") from error
    return found


def _mapping(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no valid JSON: {_first_line(error)}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not what it should be: it holds no mapping")
    return value


def _tensors(directory: Path, whole: str, index: str | None, older: tuple[str, ...]) -> int | None:
    """Return how many tensors the weights hold, None where an older format does not tell; raises ModelError."""
    if (directory / whole).exists():
        return len(header(directory / whole))
    if index is not None and (directory / index).exists():
        return sum(1 for _ in _indexed(directory, directory / index))
    if not any((directory / name).exists() for name in older):
        raise ModelError(f"{directory} holds no weights: there is no {whole}")
    return None


def _indexed(directory: Path, index: Path) -> Iterator[str]:
    """Yield the names of the tensors that an index promises, having seen that each shard holds its own."""
    places = _mapping(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ModelError(f"{index} does not say in which file a weight lies: it has no weight_map")
    headers: dict[str, frozenset[str]] = {}
    for name, shard in places.items():
        if shard not in headers:
            if not (directory / shard).is_file():
                raise ModelError(f"{directory} is not whole: {shard}, which {index.name} names, is missing")
            headers[shard] = header(directory / shard)
        if name not in headers[shard]:
            raise ModelError(f"{directory / shard} is not what {index.name} says: it does not hold {name}")
        yield name


def header(path: Path) -> frozenset[str]:
    """Return the names of the tensors in a file of weights; raises ModelError when its header or length is wrong."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415  (optional: models in this process need it)

    try:
        with safe_open(path, framework="np") as file:
            return frozenset(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or was not written whole: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
