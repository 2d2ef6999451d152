"""The model that is trained: found, measured on paper, loaded. Raises ModelError in one sentence.

`--model` is `tiny` (the embedded checkpoint), a directory or a hub id, with or without `transformers:` before it. A
directory that holds a PEFT adapter is opened as its base with the adapter merged in, and full fine-tuning goes on from
there; a second adapter on top is refused, because it could not be loaded without the first.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import cai
from cai.engines.adapters import ADAPTER_CONFIG, adapter_base
from cai.engines.merging import merge_adapter
from cai.engines.pretrained import load_pretrained
from cai.engines.weights import weights_hash
from cai.errors import ModelError
from cai.settings import AdapterSettings
from cai.train.adapter import lora_parameters, quantization

Head = Literal["language", "score"]
"""Whether the model writes text or gives a text one number (a reward model)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model lies: `base` is a directory or hub id, `adapter` a directory with a PEFT adapter on it.

    `name` is what provenance records: the last two parts of a path and a hash of its files, or a hub id.
    """

    base: str
    adapter: Path | None
    name: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A model without its weights; `context` is its limit in tokens, if it tells."""

    parameters: int
    adapter_parameters: int
    layers: int
    hidden: int
    vocabulary: int
    context: int | None


def find_source(model: str, adapter: AdapterSettings) -> Source:
    """Return where the model lies."""
    name = model.removeprefix("transformers:")
    if model == "tiny":
        name = str(Path(cai.__file__).resolve().parent / "tiny" / "checkpoint")
    if model.startswith(("openai:", "vllm:", "scripted")):
        raise ModelError(f"model {model!r} cannot be trained: name tiny, a directory or a hub id")
    directory = Path(name).expanduser().resolve()
    if not directory.is_dir():
        if name.startswith(("/", ".", "~")) or name.count("/") > 1:
            raise ModelError(f"there is no model directory {name}")
        return Source(name, None, name)
    label = f"{'/'.join(directory.parts[-2:])}#{weights_hash(directory)}"
    if (directory / "config.json").is_file():
        return Source(str(directory), None, label)
    if not (directory / ADAPTER_CONFIG).is_file():
        raise ModelError(f"{directory} is no model: it has neither config.json nor {ADAPTER_CONFIG}")
    if adapter.adapter != "none":
        raise ModelError(
            f"{directory} is itself an adapter, and one on top of it could not be loaded alone: train it with "
            "--merge first, or go on with --adapter none"
        )
    return Source(adapter_base(directory), directory, label)


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """Return the tokenizer: the adapter's own where it brought one (its chat template may differ)."""
    place = source.base
    if source.adapter is not None and (source.adapter / "tokenizer_config.json").is_file():
        place = str(source.adapter)
    try:
        tokenizer: PreTrainedTokenizerBase = load_pretrained(transformers.AutoTokenizer.from_pretrained, place)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _cannot_open(place, error) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"the tokenizer of {place} has neither a padding nor an end token: it cannot make batches")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def measure(source: Source, adapter: AdapterSettings, head: Head = "language") -> Shape:
    """Return the model's shape from its configuration alone."""
    config = _config(source, head)
    with torch.device("meta"):
        try:
            model = load_pretrained(_auto(head).from_config, config, dtype=torch.float32)
        except (ValueError, KeyError, ImportError) as error:
            raise _cannot_open(source.base, error) from error
    text = config.get_text_config()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    extra = 0
    if adapter.adapter in ("lora", "dora"):
        extra = lora_parameters(model, adapter.rank)
    elif adapter.adapter == "prefix":
        width = text.hidden_size // text.num_attention_heads * (text.num_key_value_heads or text.num_attention_heads)
        extra = adapter.rank * text.num_hidden_layers * 2 * width
    return Shape(
        parameters,
        extra,
        text.num_hidden_layers,
        text.hidden_size,
        text.vocab_size,
        getattr(text, "max_position_embeddings", None),
    )


def load_model(
    source: Source,
    adapter: AdapterSettings,
    *,
    weights: Literal["float32", "bfloat16"],
    flash_attention: bool,
    head: Head = "language",
) -> PreTrainedModel:
    """Load the weights in the given precision; half-precision checkpoints are widened where that is float32."""
    keywords: dict[str, Any] = {"dtype": getattr(torch, weights), **_labels(head)}
    if flash_attention:
        keywords["attn_implementation"] = "flash_attention_2"
    if adapter.quantize:
        keywords["quantization_config"] = quantization(weights)
        keywords["device_map"] = {"": torch.cuda.current_device()}  # a launch gives each process its own
    try:
        model: PreTrainedModel = load_pretrained(_auto(head).from_pretrained, source.base, **keywords)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _cannot_open(source.base, error) from error
    if source.adapter is not None:
        model = merge_adapter(model, source.adapter).requires_grad_(True)  # peft froze what it adapted
    if head == "score":
        model.config.get_text_config().pad_token_id = load_tokenizer(source).pad_token_id
    return model


def _config(source: Source, head: Head) -> Any:
    try:
        config = load_pretrained(transformers.AutoConfig.from_pretrained, source.base, **_labels(head))
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise _cannot_open(source.base, error) from error
    if config.get_text_config() is not config:
        raise ModelError(f"model {source.base} reads more than text, which cai does not train")
    return config


def _auto(head: Head) -> Any:
    return transformers.AutoModelForCausalLM if head == "language" else transformers.AutoModelForSequenceClassification


def _labels(head: Head) -> dict[str, int]:
    return {"num_labels": 1} if head == "score" else {}


def _cannot_open(name: str, error: Exception) -> ModelError:
    text = str(error).strip()
    return ModelError(f"model {name} cannot be opened: {text.splitlines()[0] if text else type(error).__name__}")
