"""PEFT's configuration of each kind of adapter for a model, and where in a transformer it is put.

Every architecture has the same layers and names them in its own way. `own` are the kind's settings, `common` what every
configuration has. PEFT is imported where one is built, which takes seconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cai.core.errors import ModelError

ATTENTION_OUTPUT = (
    "self_attn.o_proj",
    "self_attn.out_proj",
    "self_attn.dense",
    "self_attention.dense",
    "self_attention.o_proj",
    "attention.dense",
    "attention.out_proj",
    "attn.out_proj",
    "attn.c_proj",
)
FEED_FORWARD_OUTPUT = (
    "mlp.down_proj",
    "mlp.dense_4h_to_h",
    "mlp.c_proj",
    "mlp.fc2",
    "mlp.fc_out",
    "feed_forward.down_proj",
    "feed_forward.w2",
    "fc2",
)
KEYS = ("k_proj", "key_proj", "key")
VALUES = ("v_proj", "value_proj", "value")


def find_layer(model: Any, names: Sequence[str], what: str, adapter: str) -> str:
    """Return the one of the names that ends the name of a linear layer in every block of a transformers model.

    Raises ModelError, with `what` it is, where none does: the layer is fused with others, or there are several experts.
    """
    blocks = model.config.get_text_config().num_hidden_layers
    linear = [
        name for name, module in model.named_modules() if hasattr(module, "out_features") or hasattr(module, "nf")
    ]
    for name in names:
        if sum(found.endswith(f".{name}") for found in linear) == blocks:
            return name
    raise ModelError(
        f"--adapter {adapter} is put on {what}, and {model.config.model_type} has no one layer for that in each of its "
        f"{blocks} blocks: use --adapter lora"
    )


def low_rank(name: str, own: Mapping[str, Any], model: Any, common: Mapping[str, Any]) -> Any:  # noqa: ARG001
    """Return the configuration of LoRA, or of DoRA; alpha is twice the rank.

    Every linear layer but the output head gets one, as QLoRA (2305.14314, section 4) found necessary to match the
    training of all weights.
    """
    from peft import LoraConfig  # noqa: PLC0415

    rank = own["rank"]
    return LoraConfig(
        **common, r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", use_dora=name == "dora"
    )


def factors(name: str, own: Mapping[str, Any], model: Any, common: Mapping[str, Any]) -> Any:  # noqa: ARG001
    """Return the configuration of (IA)³, on keys, values and the feed-forward's inner activations (2205.05638, 3.3)."""
    from peft import IA3Config  # noqa: PLC0415

    keys = find_layer(model, KEYS, "keys", name)
    values = find_layer(model, VALUES, "values", name)
    inner = find_layer(model, FEED_FORWARD_OUTPUT, "the feed-forward's inner activations", name)
    return IA3Config(**common, target_modules=[keys, values, inner], feedforward_modules=[inner])


def prompt(name: str, own: Mapping[str, Any], model: Any, common: Mapping[str, Any]) -> Any:  # noqa: ARG001
    """Return the configuration of prompt tuning; words of the vocabulary begin it (2104.08691, section 3.2)."""
    from peft import PromptTuningConfig, PromptTuningInit  # noqa: PLC0415

    count = own["virtual_tokens"]
    return PromptTuningConfig(**common, num_virtual_tokens=count, prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB)


def prefix(name: str, own: Mapping[str, Any], model: Any, common: Mapping[str, Any]) -> Any:  # noqa: ARG001
    """Return the configuration of prefix tuning, the keys and values themselves being trained."""
    from peft import PrefixTuningConfig  # noqa: PLC0415

    return PrefixTuningConfig(**common, num_virtual_tokens=own["virtual_tokens"])


def bottleneck(name: str, own: Mapping[str, Any], model: Any, common: Mapping[str, Any]) -> Any:
    """Return the configuration of Houlsby's or Pfeiffer's bottlenecks; see `cai.models.checkpoint.bottleneck`."""
    from cai.models.checkpoint.bottleneck import BottleneckConfig  # noqa: PLC0415

    behind = [find_layer(model, FEED_FORWARD_OUTPUT, "the feed-forward's output", name)]
    if name == "houlsby":
        behind.append(find_layer(model, ATTENTION_OUTPUT, "the attention's output", name))
    return BottleneckConfig(**common, target_modules=behind, width=own["bottleneck"], activation=own["activation"])
