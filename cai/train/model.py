"""The model that is trained: found, measured on paper, loaded. Raises ModelError in one sentence.

`--model` is `tiny` (the embedded checkpoint), a directory, a hub id or `BASE+ADAPTER`, with or without `transformers:`
before it. An adapter is merged into its base, and full fine-tuning goes on from there; a second adapter on top is
refused, because it could not be loaded without the first.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cai.core.errors import ModelError
from cai.models.checkpoint.adapters import merge_adapter
from cai.models.checkpoint.pretrained import (
    Head,
    auto_class,
    load_pretrained,
    open_config,
    open_tokenizer,
    open_weights,
    refusing,
)
from cai.models.checkpoint.resolve import Checkpoint, require_foldable
from cai.models.spec import ModelSpec
from cai.train.adapters.building import adapter_parameters, quantization
from cai.train.folder import MANIFEST
from cai.train.settings import AdapterSettings


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model lies, as `Checkpoint` says.

    `name` is what provenance records: the last two parts of a path and a hash of its files, or a hub id. `hub` is the
    hub id that it comes from, where that is known: its own, its adapter's base, or what cai trained it from.
    """

    base: str
    adapter: Path | None
    tokenizer: str
    name: str
    hub: str | None


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model without its weights; `context` is its limit in tokens, if it tells."""

    parameters: int
    adapter_parameters: int
    layers: int
    hidden: int
    vocabulary: int
    context: int | None

    @property
    def held(self) -> int:
        """All parameters, the adapter's among them."""
        return self.parameters + self.adapter_parameters

    @property
    def trained(self) -> int:
        """The parameters that are trained: the adapter's, or all."""
        return self.adapter_parameters or self.parameters


def find_source(model: ModelSpec, adapter: AdapterSettings) -> ModelSource:
    """Return where the model lies."""
    checkpoint = Checkpoint.resolve(model.weights)
    checkpoint.require_usual_form("training needs weights that are not quantized")
    checkpoint.check_files()
    if checkpoint.adapter is not None:
        require_foldable(checkpoint.adapter)
    if checkpoint.adapter is not None and adapter.adapter != "none":
        raise ModelError(
            f"{checkpoint.adapter} is itself an adapter, and one on top of it could not be loaded alone: train it with "
            "--merge first, or go on with --adapter none"
        )
    return ModelSource(
        checkpoint.base, checkpoint.adapter, checkpoint.tokenizer, checkpoint.label, _hub_id(checkpoint.base)
    )


def _hub_id(base: str) -> str | None:
    """Return a base's hub id, or what cai recorded in a directory that it trained; None where nothing is recorded."""
    if not Path(base).is_dir():
        return base
    try:
        recorded = orjson.loads((Path(base) / MANIFEST).read_bytes())
        found = recorded["base_model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Return the tokenizer, able to make batches."""
    place = source.tokenizer
    tokenizer: PreTrainedTokenizerBase = open_tokenizer(place)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"the tokenizer of {place} has neither a padding nor an end token: it cannot make batches")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def measure(source: ModelSource, adapter: AdapterSettings, head: Head = "language") -> ModelShape:
    """Return the model's shape from its configuration alone."""
    config = _config(source, head)
    with torch.device("meta"), refusing(f"model {source.base}"):
        model = load_pretrained(auto_class(head).from_config, config, dtype=torch.float32)
    text = config.get_text_config()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelShape(
        parameters,
        adapter_parameters(adapter, head, model),
        text.num_hidden_layers,
        text.hidden_size,
        text.vocab_size,
        getattr(text, "max_position_embeddings", None),
    )


def load_model(
    source: ModelSource,
    adapter: AdapterSettings,
    *,
    weights: Literal["float32", "bfloat16"],
    head: Head = "language",
) -> PreTrainedModel:
    """Load the weights in the given precision; half-precision checkpoints are widened where that is float32."""
    keywords: dict[str, Any] = {"dtype": getattr(torch, weights)}
    if adapter.quantize:
        keywords["quantization_config"] = quantization(weights)
        keywords["device_map"] = {"": torch.cuda.current_device()}  # a launch gives each process its own
    model = open_weights(source.base, head, **keywords)
    if source.adapter is not None:
        model = merge_adapter(model, source.adapter).requires_grad_(True)  # peft froze what it adapted
    if head == "score":
        model.config.get_text_config().pad_token_id = load_tokenizer(source).pad_token_id
    return model


def _config(source: ModelSource, head: Head) -> Any:
    config = open_config(source.base, head)
    if config.get_text_config() is not config:
        raise ModelError(f"model {source.base} reads more than text, which cai does not train")
    return config
