"""Opening a checkpoint in transformers: what it can do, and what it is called. Raises ModelError only.

A directory with a PEFT adapter is its base with the adapter, folded in where that can be, so that it runs as fast as
any other model.
Progress bars and advice that transformers prints while loading are silenced for that time.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from cai.core.errors import ModelError
from cai.models.checkpoint.adapters import apply_adapter, require_peft
from cai.models.checkpoint.files import as_ends, declared_ends
from cai.models.checkpoint.pretrained import open_tokenizer, open_weights, quiet, require_rows
from cai.models.checkpoint.resolve import Checkpoint, adapter_kind
from cai.models.local.kernels import pack_linears, share_heads
from cai.models.template_check import check_template
from cai.models.template_options import told_variables

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Loaded:
    """An open model; `cache_bytes` is what one token takes in its KV cache, `variables` are its chat template's.

    `weight_bytes` are all weights'.
    """

    name: str
    model: Any
    tokenizer: Any
    device: torch.device
    context_length: int | None
    end_tokens: frozenset[int]
    cache_bytes: int
    weight_bytes: int = 0
    variables: Mapping[str, Any] = field(default_factory=dict)


def load(name: str, device: str, dtype: str, variables: Mapping[str, Any] | None = None) -> Loaded:
    """Open the directory or hub id `name`, or `BASE+ADAPTER`; `device` and `dtype` are torch's names, or auto.

    `variables` are for its chat template.
    """
    place = torch_device(device)
    checkpoint = Checkpoint.resolve(name)
    adapter = checkpoint.adapter
    if adapter is not None:
        require_peft(adapter)  # before the base is loaded
    with quiet():
        tokenizer = open_tokenizer(checkpoint.tokenizer)
        check_template(tokenizer, name, variables)
        model = open_weights(checkpoint.base, dtype=torch_dtype(dtype, place))
        commit = getattr(model.config, "_commit_hash", None)  # private; without it a hub id is named without its commit
        label = checkpoint.provenance("transformers", str(model.dtype).removeprefix("torch."), commit)
        if adapter is not None:
            model = apply_adapter(model, adapter)
    require_rows(tokenizer, model.get_input_embeddings().weight.shape[0], name)
    model = model.to(place).eval()
    if place.type == "cpu":
        share_heads(model)
        pack_linears(model)
    return Loaded(
        name=" ".join([label, *told_variables(variables or {})]),
        model=model,
        tokenizer=tokenizer,
        device=place,
        context_length=_context(model, adapter),
        end_tokens=_end_tokens(model, tokenizer, [] if adapter is None else declared_ends(adapter)),
        weight_bytes=sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
        cache_bytes=cache_bytes_of(name, model, place),
        variables=variables or {},
    )


def _context(model: Any, adapter: Path | None) -> int | None:
    """Return the tokens that there is room for, if the model tells: virtual tokens take places of their own."""
    length: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return length if length is None or adapter is None else length - adapter_kind(adapter).virtual_tokens


def torch_device(name: str) -> torch.device:
    """Return the device that a person names, or for `auto` the best there is; raises ModelError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device {name!r} is none of auto, cpu, cuda, cuda:N, mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda: torch finds no usable CUDA device here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device mps: torch finds no Metal device here")
    return device


def torch_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision that a person names, or for `auto` the device's; raises ModelError."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise ModelError(f"dtype {name!r} is none of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _end_tokens(model: Any, tokenizer: Any, more: Sequence[int]) -> frozenset[int]:
    """Return what either of the two ends a turn with: after training, one may still name the base model's alone."""
    declared = as_ends(model.generation_config.eos_token_id, "the generation configuration")
    return frozenset(token for token in (*declared, *more, tokenizer.eos_token_id) if token is not None)


def cache_bytes_of(name: str, model: Any, device: torch.device) -> int:
    """Return the bytes of one token's cache, after making sure that the cache is one a batch can share."""
    layers = DynamicCache(config=model.config).layers
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        raise ModelError(
            f"model {name} has layers that keep a state instead of a cache: serve it with vLLM and openai:"
        )
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise ModelError(f"model {name} is of a kind too old for this engine: serve it with vLLM and openai:")
    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=device), past_key_values=cache, use_cache=True)
    return int(sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)) // 2
