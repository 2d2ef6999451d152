"""Adapters through PEFT: LoRA (arXiv 2106.09685), DoRA (2402.09353), prefix tuning (2101.00190), QLoRA's 4-bit base.

Every linear layer but the output head gets one, as QLoRA (2305.14314, section 4) found necessary to match full
fine-tuning; alpha is twice the rank. Dropout is left out: with it, DPO's policy and reference would differ from the
start.
"""

from typing import Literal

import torch
from peft import LoraConfig, PeftConfig, PrefixTuningConfig, TaskType
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

from cai.core.errors import ModelError, UsageError
from cai.models.checkpoint.pretrained import Head
from cai.train.settings import AdapterSettings


def check_adapter(settings: AdapterSettings, head: Head) -> None:
    """Raise UsageError when the adapter settings contradict one another, ModelError when this machine cannot."""
    if settings.merge and settings.adapter == "none":
        raise UsageError("--merge folds an adapter into its base; it needs --adapter lora or dora")
    if settings.merge and settings.adapter == "prefix":
        raise UsageError("--merge cannot fold a prefix into the weights; leave it out, or use --adapter lora")
    if settings.adapter == "prefix" and head == "score":
        raise UsageError("--adapter prefix leaves the reward head untrained; use --adapter lora")
    if settings.quantize:
        if settings.adapter not in ("lora", "dora"):
            raise UsageError("--quantize holds the base in 4 bits, which cannot be trained; add --adapter lora")
        if not torch.cuda.is_available():
            raise ModelError("--quantize (4-bit QLoRA) needs a CUDA GPU, and torch finds none here")
        if not is_bitsandbytes_available():
            raise ModelError("--quantize needs bitsandbytes: pip install bitsandbytes")


def adapter_config(settings: AdapterSettings, head: Head) -> PeftConfig | None:
    """Return what TRL's trainers take as `peft_config`, or None for full fine-tuning."""
    task = TaskType.SEQ_CLS if head == "score" else TaskType.CAUSAL_LM
    if settings.adapter == "none":
        return None
    if settings.adapter == "prefix":
        return PrefixTuningConfig(task_type=task, num_virtual_tokens=settings.rank)
    return LoraConfig(
        task_type=task,
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        use_dora=settings.adapter == "dora",
        # A reward model's head is new, so it is trained whole.
        modules_to_save=["score"] if head == "score" else None,
    )


def quantization(compute: Literal["float32", "bfloat16"]) -> BitsAndBytesConfig:
    """Return QLoRA's quantisation: 4-bit NormalFloat, constants quantised too (2305.14314, section 3)."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute),
    )


def lora_parameters(model: PreTrainedModel, rank: int) -> int:
    """Return how many parameters a LoRA of this rank trains."""
    head = model.get_output_embeddings()
    linear = (module for module in model.modules() if isinstance(module, nn.Linear) and module is not head)
    return sum(rank * (module.in_features + module.out_features) for module in linear)
