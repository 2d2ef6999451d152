"""What names a model: 12 hexadecimal digits that change when its files do, or the hub's commit."""

import hashlib
from pathlib import Path

from cai.core.paths import expand, resolve

_NOTES = frozenset({"train.json", "training.json"})  # how and when the weights were made, not what they are
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model"})
_EDGE = 1 << 20  # bytes read at each end of a file too large to read whole
_WHOLE = 64 << 20


def model_label(name: str, commit: str | None = None) -> str:
    """Return how provenance names a checkpoint: a directory by its files, a hub id by its commit if that is known."""
    directory = expand(name)
    if directory.is_dir() or directory.is_file():
        # Two parts of the path, not all: the same checkpoint is the same model wherever it lies.
        return f"{'/'.join(resolve(directory).parts[-2:])}#{weights_hash(directory)}"
    return f"{name}#{commit[:12]}" if commit else name


def weights_hash(directory: Path) -> str:
    """Return the fingerprint of a checkpoint: its weights and the settings, tokenizer and template beside them.

    A checkpoint that is one file (GGUF) is all that.

    Files over 64 MiB count by their size and their first and last mebibyte, so that a large model opens at once.
    """
    state = hashlib.blake2b(digest_size=6)
    for path in [directory] if directory.is_file() else sorted(directory.iterdir()):
        if path.suffix not in (*_SUFFIXES, directory.suffix) or path.name in _NOTES or not path.is_file():
            continue
        size = path.stat().st_size
        state.update(f"{path.name}\x1f{size}\x1f".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                state.update(file.read())
            else:
                state.update(file.read(_EDGE))
                file.seek(-_EDGE, 2)
                state.update(file.read())
    return state.hexdigest()
