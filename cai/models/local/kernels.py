"""Faster kernels on a CPU for what transformers does there: attention of grouped heads, and linear layers.

**Attention.** transformers repeats keys and values for PyTorch's attention wherever there is a mask, because on CUDA a
fast kernel would be lost otherwise. On a CPU the kernel is the same, and the copies cost several times the attention
itself in decoding. Ours is registered under a name of its own, as transformers provides for.

**Linear layers.** PyTorch multiplies single-precision matrices with MKL, which keeps to AVX2 on processors that are not
Intel's and packs the weights anew at each call. oneDNN uses AVX-512 wherever there is any: twice as fast for many rows,
and more for the few of a decoding step on wide layers. The weights are laid out for it once, and are replaced, not
doubled, but for a head that shares them with the embedding.

Results are the same up to rounding. Other devices, processors and precisions, other kinds of attention, and layers that
derive from PyTorch's are left alone. oneDNN's operators, which PyTorch's own compiler puts in place of linear layers,
and the name of a model's attention are private: where they do not do what they did, models are left alone, too.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_GROUPED = "cai_grouped"
_STRIDE = 32  # rows: oneDNN compiles a program for every number of them, which takes as long as a narrow layer itself


def share_heads(model: Any) -> None:
    """Let a model that uses PyTorch's attention use it without copies; `model` is one of transformers, on a CPU."""
    if getattr(model.config, "_attn_implementation", None) == "sdpa":
        AttentionInterface.register(_GROUPED, _attend)
        AttentionMaskInterface.register(_GROUPED, sdpa_mask)
        model.set_attn_implementation(_GROUPED)


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


class _Packed(nn.Module):
    """A linear layer whose `weight`, (outputs, inputs), is in oneDNN's own order."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach()))

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's outputs, shape (…, outputs), for states of the shape (…, inputs)."""
        rows = states.flatten(0, -2)
        count = len(rows)
        if count > _STRIDE:
            rows = nn.functional.pad(rows, (0, 0, 0, -count % _STRIDE))
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return outputs[:count].view(*states.shape[:-1], outputs.shape[-1])


def pack_linears(model: nn.Module) -> None:
    """Replace the model's linear layers in single precision, where that makes them faster; `model` is on a CPU."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or torch.backends.cpu.get_cpu_capability() != "AVX512" or not _packs():
        return
    # A list with the layers themselves would keep all their old weights until the last one is replaced.
    for parent in [module for module in model.modules() if type(module) is not nn.Linear]:
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer.weight.dtype == torch.float32:
                setattr(parent, name, _Packed(layer))


def _packs() -> bool:
    """Whether the private operators are there and do what a linear layer does; seen on a small one."""
    layer = nn.Linear(16, 8, device="meta").to_empty(device="cpu")  # without a draw from torch's random numbers
    states = torch.linspace(-1, 1, 48).view(3, 16)
    with torch.inference_mode():
        layer.weight.copy_(torch.linspace(-1, 1, 128).view(8, 16))
        layer.bias.copy_(torch.linspace(0, 1, 8))
        try:
            return torch.allclose(_Packed(layer)(states), layer(states), atol=1e-4)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False
