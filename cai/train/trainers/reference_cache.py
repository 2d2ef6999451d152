"""What a reference says of examples, kept for a later training on the same: DPO and KTO ask it the same every time.

A file's key is a hash of everything that decides the values: the reference's weights, tensor by tensor, as they are in
memory, and its configuration; the examples' tokens, row by row, and where they are cut; the arithmetic. The file holds
its key and a hash of its values: one that is damaged, cut off, or somebody else's is as good as none, and is written
anew. It holds numbers alone, one or two an example, and lies in `references` in cai's folder of caches
(`$XDG_CACHE_HOME/cai`, by default `~/.cache/cai`), where it may be deleted at any time.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel

_FORMAT = "1"
_ROWS = 1000
_KEY, _VALUES = "key", "values"
_NO_MATTER = ("_name_or_path", "transformers_version")  # of a configuration: where it was and who wrote it


def hash_model(model: PreTrainedModel) -> str | None:
    """Return what names a model, its weights and how they are used; None where they are not held (DeepSpeed ZeRO-3)."""
    settings = {name: value for name, value in model.config.to_dict().items() if name not in _NO_MATTER}
    state = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=20)
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, Tensor):
            continue
        if not tensor.numel():
            return None
        state.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        state.update(_bytes(tensor))
    return state.hexdigest()


def hash_examples(dataset: Dataset) -> str:
    """Return what names prepared examples: the tokens of every column of them, row by row."""
    names = sorted(name for name in dataset.column_names if name.endswith("_ids"))
    state = hashlib.blake2b("\x1f".join(names).encode(), digest_size=20)
    for rows in dataset.select_columns(names).iter(batch_size=_ROWS):
        for name in names:
            for row in rows[name]:
                state.update(len(row).to_bytes(8, "little"))
                state.update(_bytes(torch.tensor(row, dtype=torch.int32)))
    return state.hexdigest()


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the key of values that these settings decide."""
    said = "\x1f".join(f"{name}={value}" for name, value in sorted({"format": _FORMAT, **settings}.items()))
    return hashlib.blake2b(said.encode(), digest_size=20).hexdigest()


def read_reference(key: str, columns: Sequence[str], rows: int) -> list[list[float]] | None:
    """Return each column's values, or None where there are none of just this key that can be trusted."""
    try:
        with safe_open(_place(key), "pt") as file:
            told = file.metadata() or {}
            values = [file.get_tensor(name) for name in columns]
    except (OSError, SafetensorError):
        return None
    whole = all(value.shape == (rows,) and value.dtype == torch.float32 for value in values)
    if not whole or told.get(_KEY) != key or told.get(_VALUES) != _hash_values(values):
        return None
    return [value.tolist() for value in values]


def keep_reference(key: str, columns: Mapping[str, Sequence[float]]) -> None:
    """Keep the values; where the disk refuses, they are computed again next time."""
    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in columns.items()}
    told = {_KEY: key, _VALUES: _hash_values(list(tensors.values()))}
    with suppress(OSError):
        place = _place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(save(tensors, told))
            Path(name).replace(place)
        finally:
            Path(name).unlink(missing_ok=True)


def _place(key: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cai" / "references" / f"{key}.safetensors"


def _hash_values(values: Sequence[Tensor]) -> str:
    state = hashlib.blake2b(digest_size=20)
    for value in values:
        state.update(_bytes(value))
    return state.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
