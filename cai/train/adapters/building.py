"""An adapter on paper and for a trainer: settings checked and filled in, PEFT's configuration, trained parameters."""

import copy
import warnings
from dataclasses import replace
from typing import Any, Literal

import torch
from peft import PeftConfig, TaskType, get_peft_model
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

from cai.core.errors import ModelError, UsageError
from cai.models.checkpoint.pretrained import Head
from cai.train.adapters import ADAPTERS
from cai.train.settings import AdapterSettings

_OWN = ("rank", "virtual_tokens", "bottleneck", "activation")


def settle_adapter(settings: AdapterSettings, head: Head) -> AdapterSettings:
    """Return the settings with the kind's own ones filled in.

    Raises UsageError when they contradict one another, ModelError when this machine cannot.
    """
    kind = None if settings.adapter == "none" else ADAPTERS[settings.adapter]
    own = {} if kind is None else kind.own(settings)
    for name in _OWN:
        if getattr(settings, name) is not None and name not in own:
            holders = " or ".join(each.name for each in ADAPTERS.values() if name in each.own(settings))
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is of --adapter {holders}, and this is --adapter {settings.adapter}")
    folding = ", ".join(each.name for each in ADAPTERS.values() if each.folds)
    if settings.merge and (kind is None or not kind.folds):
        raise UsageError(
            f"--merge folds an adapter into its base, which is defined for {folding}: "
            f"with --adapter {settings.adapter} leave it out"
        )
    if kind is not None and kind.virtual and head == "score":
        raise UsageError(f"--adapter {kind.name} is for models that write, not for reward models; use --adapter lora")
    if settings.quantize:
        if kind is None or not kind.quantizes:
            raise UsageError("--quantize holds the base in 4 bits, which cannot be trained; add --adapter lora")
        if not torch.cuda.is_available():
            raise ModelError("--quantize (4-bit QLoRA) needs a CUDA GPU, and torch finds none here")
        if not is_bitsandbytes_available():
            raise ModelError("--quantize needs bitsandbytes: pip install bitsandbytes")
    return replace(settings, **own)


def adapter_config(settings: AdapterSettings, head: Head, model: PreTrainedModel) -> PeftConfig | None:
    """Return what TRL's trainers take as `peft_config`, or None for full fine-tuning.

    Raises ModelError where the model has not what the adapter is put on.
    """
    if settings.adapter == "none":
        return None
    kind = ADAPTERS[settings.adapter]
    common: dict[str, Any] = {"task_type": TaskType.SEQ_CLS if head == "score" else TaskType.CAUSAL_LM}
    if head == "score":
        common["modules_to_save"] = ["score"]  # a reward model's head is new, so it is trained whole
    return kind.build(kind.name, kind.own(settings), model, common)


def adapter_parameters(settings: AdapterSettings, head: Head, model: PreTrainedModel) -> int:
    """Return how many parameters the adapter trains on a model, which may be one without weights, on `meta`.

    The model is left as it is.
    """
    config = adapter_config(settings, head, model)
    if config is None:
        return 0
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(copy.deepcopy(model), config)
    return sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def quantization(compute: Literal["float32", "bfloat16"]) -> BitsAndBytesConfig:
    """Return QLoRA's quantisation: 4-bit NormalFloat, constants quantised too (2305.14314, section 3)."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute),
    )
