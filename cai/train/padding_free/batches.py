"""A model that computes padded batches without their padding, and scores no token that has no label.

Trainers pad: they hand over (rows, columns) and a mask, and read as many outputs. In between, hooks on the model make
one row of the batch's tokens, which every layer then computes and no padding; attention keeps its sequences apart
(`attention.py`), and what comes out is laid back into the batch's shape, zeros where there was padding. The head of a
language model is asked for the labelled tokens alone where TRL's fused head does the asking. So every method has it and
no method's equations are touched; a batch that TRL packed goes the same way.

Whether a model's layers keep sequences apart is not believed but tried, on two short ones, before anything is trained:
what passes by attention (a recurrent layer, a convolution) would mix them. Such a model is left as it was.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cai.train.padding_free.attention import LAYOUT, NAME, Bounds, RowLayout, computed_in, has_flash, register

_PLAIN = "sdpa"
_TOLERANCE = {torch.float32: 1e-4}
_TOLERANCE_16_BITS = 0.05
_UNKNOWN = ("token_type_ids", "mm_token_type_ids")
_ASKED = ("output_router_logits", "output_hidden_states", "output_attentions")
_SCORED = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def compute_without_padding(model: Any, longest: int) -> bool:
    """Let a model of transformers compute batches without padding; return whether it does, or was left as it was.

    `longest` is how many tokens a sequence has at most: a window of attention must not be shorter.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if model.config._attn_implementation != _PLAIN or (window is not None and window < longest):
        return False
    register()
    body = model.base_model
    hooks = [
        body.register_forward_pre_hook(_flatten, with_kwargs=True),
        body.register_forward_hook(_lay_back, with_kwargs=True),
        model.register_forward_pre_hook(_choose_scored, with_kwargs=True),
        model.register_forward_hook(_spread_scored, with_kwargs=True),
    ]
    model.set_attn_implementation(NAME)
    if _keeps_apart(body):
        return True
    for hook in hooks:
        hook.remove()
    model.set_attn_implementation(_PLAIN)
    return False


@torch.no_grad()
def _keeps_apart(body: Any) -> bool:
    """Tell whether two sequences come out of one row as each does alone."""
    parameter = next(body.parameters())
    ids = torch.arange(1, 9, device=parameter.device) % body.config.get_text_config().vocab_size
    first, second = ids[None, :5], ids[None, 5:]
    training = body.training
    body.eval()
    try:
        together = body(
            input_ids=torch.cat((first, nn.functional.pad(second, (0, 2)))),
            attention_mask=torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], device=ids.device),
        ).last_hidden_state
        alone = [body(input_ids=one, use_cache=False).last_hidden_state[0] for one in (first, second)]
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return False
    finally:
        body.train(training)
    tolerance = _TOLERANCE.get(parameter.dtype, _TOLERANCE_16_BITS)
    return all(
        bool((row[: len(one)] - one).abs().max() <= tolerance * one.abs().max())
        for row, one in zip(together, alone, strict=True)
    )


def _flatten(body: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Before the layers: make one row of a padded batch's tokens, and say where its sequences end."""
    layout: RowLayout = named.get(LAYOUT) or RowLayout()
    ids = named.get("input_ids", positional[0] if positional else None)
    batch, embedded = (ids, False) if ids is not None else (named.get("inputs_embeds"), True)
    if batch is None or len(positional) > 1 or named.get("past_key_values") is not None:
        return None
    ends = named.get("cu_seq_lens_q")
    if ends is not None:  # TRL packed it
        bounds = Bounds.of(ends.diff().tolist(), batch.device)
        return positional, {**named, LAYOUT: replace(layout, bounds=bounds)}
    mask = named.get("attention_mask")
    if mask is None or mask.shape != batch.shape[:2] or any(named.get(name) is not None for name in _UNKNOWN):
        return None
    if any(named.get(name) for name in _ASKED):
        return None
    lengths = mask.sum(1).long().tolist()  # behind a prompt that is trained peft makes the mask one of floats
    if sum(lengths) == mask.numel():
        return None
    if not _has_kernel(body, batch.device):
        # Causality alone hides padding that stands behind; without a mask PyTorch has its fast kernels.
        behind = bool((mask[:, 1:] <= mask[:, :-1]).all())
        return (positional, {**named, "attention_mask": None}) if behind else None
    bounds = Bounds.of(lengths, batch.device)
    places = mask.flatten().nonzero().squeeze(1)
    positions = named.get("position_ids")
    if positions is None:
        starts = bounds.cumulative[:-1].repeat_interleave(bounds.cumulative.diff(), output_size=len(places))
        positions = torch.arange(len(places), device=batch.device) - starts
    else:
        positions = positions.expand(mask.shape).flatten()[places]
    row = batch.flatten(0, 1)[places][None]
    return (), {
        **named,
        "inputs_embeds" if embedded else "input_ids": row,
        "attention_mask": None,
        "position_ids": positions[None],
        "use_cache": False,
        LAYOUT: replace(layout, bounds=bounds, places=places, shape=(mask.shape[0], mask.shape[1])),
    }


def _has_kernel(body: Any, device: torch.device) -> bool:
    if device.type != "cuda":
        return device.type == "cpu"
    dtype = computed_in(device, next(body.parameters()).dtype)
    config = body.config.get_text_config()
    return has_flash(device, dtype, getattr(config, "head_dim", 0) or config.hidden_size // config.num_attention_heads)


def _lay_back(body: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:  # noqa: ARG001
    """Behind the layers: lay the tokens back into the batch's shape, or pick those that are scored."""
    layout: RowLayout | None = named.get(LAYOUT)
    if layout is None or (layout.places is None and layout.scored is None):
        return None
    states: Tensor = output.last_hidden_state
    if layout.scored is not None:
        scored = nn.functional.pad(layout.scored, (0, 1)).flatten()  # a row's last token predicts none
        chosen = scored if layout.places is None else scored[layout.places]
        output.last_hidden_state = states.flatten(0, 1)[chosen][None]
    elif layout.places is not None and layout.shape is not None:
        rows, columns = layout.shape
        laid = states.new_zeros(rows * columns, states.shape[-1]).index_copy(0, layout.places, states[0])
        output.last_hidden_state = laid.view(rows, columns, -1)
    return output


def _choose_scored(model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:  # noqa: ARG001
    """Before a language model with TRL's fused head: ask for the tokens alone whose next one has a label."""
    labels: Tensor | None = named.get("labels")
    if not named.get("fused_lm_head") or labels is None or named.get("shift_labels") is not None:
        return None
    following = labels[:, 1:]
    scored = following != -100
    rest = {name: value for name, value in named.items() if name != "labels"}
    return positional, {**rest, "shift_labels": following[scored][None], LAYOUT: RowLayout(scored=scored)}


def _spread_scored(model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:  # noqa: ARG001
    """Behind the head: lay what it says of the scored tokens back into the batch's shape, zeros elsewhere."""
    layout: RowLayout | None = named.get(LAYOUT)
    if layout is None or layout.scored is None:
        return None
    for name in _SCORED:
        value = getattr(output, name)
        if value is not None:
            setattr(output, name, value.new_zeros(layout.scored.shape).masked_scatter(layout.scored, value))
    output.label_mask = layout.scored
    return output
