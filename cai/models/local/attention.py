"""Attention for models whose heads share keys and values, on a CPU: without a copy of them for every head.

transformers repeats keys and values for PyTorch's attention wherever there is a mask, because on CUDA a fast kernel
would be lost otherwise. On a CPU the kernel is the same, and the copies cost several times the attention itself in
decoding. Registered under a name of its own, as transformers provides for; other models and devices are left alone.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "cai_grouped"


def share_heads(model: Any) -> None:
    """Let a model that uses PyTorch's attention use it without copies; `model` is one of transformers, on a CPU."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(_NAME, _attend)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        model.set_attn_implementation(_NAME)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend in groups where there is nothing but a mask; what else may be asked for is left to transformers."""
    if attention_mask is None or position_bias is not None or key.shape[1] == query.shape[1]:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, position_bias=position_bias, **settings
        )
        return result
    attended = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
    )
    return attended.transpose(1, 2).contiguous(), None
