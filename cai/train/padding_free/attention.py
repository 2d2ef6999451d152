"""Attention in a row that holds several sequences, one behind the other, none of which sees another.

Registered with transformers under a name of its own. Where a row's `RowLayout` says where its sequences end, each
attends to itself alone; what has no layout (generation, a batch without padding) is left to PyTorch's attention as it
is. On a GPU, in 16 bits, that is one call of the flash kernel that PyTorch itself brings for sequences of varying
length; on a CPU one call a sequence. No mask of tokens by tokens is made, and nothing is spent on padding.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "cai_padding_free"
LAYOUT = "cai_layout"
"""The keyword under which a `RowLayout` goes through a model to its attention."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Where a row's sequences end: `lengths` in tokens, and their running sums from 0 on, int32, on the device."""

    lengths: tuple[int, ...]
    cumulative: Tensor

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> "Bounds":
        """Return the bounds of sequences that are this long; one without a token is none."""
        found = [length for length in lengths if length]
        ends = torch.tensor([0, *found], device=device).cumsum(0)
        return cls(tuple(found), ends.to(torch.int32))


@dataclass(frozen=True, slots=True, eq=False)
class RowLayout:
    """How a batch went through a model: `bounds` of its one row, where it was made one.

    `places` are its tokens' places in the padded batch, counted row by row; None where the batch came as one row.
    `shape` is the padded batch's. `scored` are the tokens whose next one has a label, as a mask of (rows, columns - 1);
    None where all are wanted.
    """

    bounds: Bounds | None = None
    places: Tensor | None = None
    shape: tuple[int, int] | None = None
    scored: Tensor | None = None


def register() -> None:
    """Make the attention known to transformers."""
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _mask)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, None]:
    layout: RowLayout | None = settings.pop(LAYOUT, None)
    if layout is None or layout.bounds is None:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **settings
        )
        return result
    bounds = layout.bounds
    if not dropout and has_flash(query.device, computed_in(query.device, query.dtype), query.shape[-1]):
        groups = query.shape[1] // key.shape[1]
        states = (query, repeat_kv(key, groups), repeat_kv(value, groups))
        dtype = computed_in(query.device, query.dtype)
        tokens_first = [state[0].transpose(0, 1).to(dtype).contiguous() for state in states]
        return _flash(*tokens_first, bounds=bounds, scaling=scaling)[None], None
    attended = _each(query, key, value, bounds=bounds, scaling=scaling, dropout=dropout)
    return attended.transpose(1, 2).contiguous(), None


def _each(
    query: Tensor, key: Tensor, value: Tensor, *, bounds: Bounds, scaling: float | None = None, dropout: float = 0.0
) -> Tensor:
    """Attend sequence by sequence; states and result are shaped (1, heads, tokens, head size)."""
    parts = (torch.split(state, list(bounds.lengths), dim=2) for state in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    attended = [
        nn.functional.scaled_dot_product_attention(
            own_query, own_key, own_value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for own_query, own_key, own_value in zip(*parts, strict=True)
    ]
    return torch.cat(attended, dim=2)


def _flash(query: Tensor, key: Tensor, value: Tensor, *, bounds: Bounds, scaling: float | None = None) -> Tensor:
    """Attend by PyTorch's flash kernel; states are shaped (tokens, heads, head size), in 16 bits."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  (where there is a GPU)

    ends, longest = bounds.cumulative, max(bounds.lengths)
    attended = varlen_attn(query, key, value, ends, ends, longest, longest, scale=scaling, window_size=(-1, 0))
    assert isinstance(attended, Tensor)  # noqa: S101  (it is two where more is asked for)
    return attended


def computed_in(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the precision that autocast, which does not know of the kernel, would give what has this one."""
    autocast = device.type == "cuda" and torch.is_autocast_enabled("cuda")
    return torch.get_autocast_dtype("cuda") if autocast else dtype


@cache
def has_flash(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Tell whether PyTorch has its kernel for this device: tried once, backwards too, beside plain attention."""
    return device.type == "cuda" and _flash_works(device, dtype, head_size)


def _flash_works(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    # It is asked for in the middle of a pass, perhaps under autocast, perhaps of a reference that has no gradients.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        bounds = Bounds.of([5, 3], device)
        drawn = torch.randn(3, 8, 2, head_size, generator=torch.Generator().manual_seed(0))
        query, key, value = (state.to(device, dtype).requires_grad_() for state in drawn)
        try:
            found = _flash(query, key, value, bounds=bounds)
            torch.autograd.backward(found.float().square().sum())
        except (ImportError, RuntimeError, TypeError, ValueError, NotImplementedError):
            return False
        heads_first = [state.detach().float().transpose(0, 1)[None] for state in (query, key, value)]
        wanted = _each(*heads_first, bounds=bounds)[0].transpose(0, 1)
        return query.grad is not None and bool(torch.allclose(found.float(), wanted, atol=0.05))


def _mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    *positional: Any,
    attention_mask: Tensor | None = None,
    allow_is_causal_skip: bool = True,
    use_vmap: bool = False,
    **settings: Any,
) -> Tensor | None:
    """Return no mask for a row of several sequences, known by their positions: `_attend` parts them."""
    row = attention_mask is None and batch_size == 1 and q_length == kv_length
    if row and not allow_is_causal_skip and not use_vmap:
        return None
    mask: Tensor | None = sdpa_mask(
        batch_size,
        q_length,
        kv_length,
        *positional,
        attention_mask=attention_mask,
        allow_is_causal_skip=allow_is_causal_skip,
        use_vmap=use_vmap,
        **settings,
    )
    return mask
