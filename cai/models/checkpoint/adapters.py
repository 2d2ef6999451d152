"""PEFT adapters on disk: what they were trained on and how large they are, read without peft or torch.

`MODEL+ADAPTER` names an adapter and the base it goes on; a directory that holds an adapter alone names its base itself.
"""

import json
from pathlib import Path
from typing import Any

from cai.core.errors import ModelError
from cai.core.paths import expand, open_file

ADAPTER_CONFIG = "adapter_config.json"


def split_adapter(model: str) -> tuple[str, Path | None]:
    """Return what stands before and after the `+` of `MODEL+ADAPTER`, or `model` and None when it has no adapter.

    A `+` that belongs to a directory's name is left in it. Raises ModelError when no adapter lies where one is named.
    """
    if "+" not in model or expand(model).is_dir():
        return model, None
    for place in (index for index, letter in enumerate(model) if letter == "+"):
        directory = expand(model[place + 1 :])
        if place and (directory / ADAPTER_CONFIG).is_file():
            return model[:place], directory
    raise ModelError(f"{model.partition('+')[2]} is no adapter: a directory with {ADAPTER_CONFIG} belongs after the +")


def adapter_base(directory: Path) -> str:
    """Return the base model, a directory or hub id, that an adapter's directory names; raises ModelError."""
    config = _read(directory)
    base = config.get("base_model_name_or_path")
    if not base:
        raise ModelError(
            f"{directory / ADAPTER_CONFIG} does not say which model it adapts: base_model_name_or_path is empty"
        )
    check_foldable(directory)
    return str(base)


def check_foldable(directory: Path) -> None:
    """Raise ModelError when the adapter is of a kind that no base can take into its weights."""
    if _read(directory).get("peft_type") == "PREFIX_TUNING":
        raise ModelError(f"{directory} is a prefix, which cannot be folded into its base: load it with peft itself")


def lora_rank(directory: Path) -> int:
    """Return the rank of a LoRA adapter; raises ModelError when it is of another kind."""
    config = _read(directory)
    kind = "DORA" if config.get("use_dora") else config.get("peft_type")
    if kind != "LORA" or not isinstance(config.get("r"), int):
        raise ModelError(f"{directory} is an adapter of the kind {kind}, and only LoRA is served beside its base")
    pattern = config.get("rank_pattern") or {}
    if not isinstance(pattern, dict) or not all(isinstance(rank, int) for rank in pattern.values()):
        raise ModelError(f"{directory / ADAPTER_CONFIG} does not say which ranks it has: rank_pattern is {pattern!r}")
    ranks: list[int] = [config["r"], *pattern.values()]
    return max(ranks)


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
