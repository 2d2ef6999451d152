"""Virtual tokens before every sequence that a model reads: prefix and prompt tuning, once they are trained.

Both are keys and values of N places that every token attends to: a prefix is trained as such (arXiv 2101.00190), and a
prompt's are what the model makes of its embeddings (2104.08691), which are computed once. A model with them takes the
same inputs as before, cache, mask and positions among them, and knows of the places itself. So whatever runs a model
runs it with virtual tokens. Each pass copies its cache behind them, which costs about what reading it does.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from cai.core.errors import ModelError

_ALWAYS = {"use_cache": True, "logits_to_keep": 1}


def add_virtual_tokens(adapted: Any, place: str) -> PreTrainedModel:
    """Return the model of a PEFT model for prompt learning, with the virtual tokens before whatever it reads.

    Raises ModelError for a model whose layers do not keep keys and values alone.
    """
    model: PreTrainedModel = adapted.get_base_model()
    with torch.inference_mode():
        trained = adapted.get_prompt(1)
        if isinstance(trained, Tensor):
            cache = DynamicCache(config=model.config)
            model(inputs_embeds=trained.to(model.dtype), past_key_values=cache, **_ALWAYS)
        else:
            cache = trained
        states = [(layer.keys.clone(), layer.values.clone()) for layer in cache.layers if layer.keys is not None]
    layers, places = model.config.get_text_config().num_hidden_layers, {keys.shape[2] for keys, _ in states}
    if len(states) != layers or len(places) != 1:
        raise ModelError(f"{place} has virtual tokens for {len(states)} of the {layers} layers of its base")
    model.register_forward_pre_hook(_VirtualTokens(states), with_kwargs=True)
    model.register_forward_hook(_own_cache)
    return model


class _VirtualTokens:
    """What a model's inputs become; `states` are each layer's keys and values, of shape (1, heads, N, head size)."""

    def __init__(self, states: list[tuple[Tensor, Tensor]]) -> None:
        self._states = states
        self._count = states[0][0].shape[2]

    def __call__(
        self, model: PreTrainedModel, positional: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Return a pass's inputs, all of them by name, with the virtual tokens' places before them."""
        if positional:
            keywords = {"input_ids": positional[0], **keywords}
        given = keywords.get("inputs_embeds") if keywords.get("input_ids") is None else keywords["input_ids"]
        assert given is not None  # noqa: S101  (nothing else is read)
        rows, width = given.shape[:2]
        inner = keywords.get("past_key_values")
        inner = DynamicCache(config=model.config) if inner is None else inner
        before = inner.get_seq_length()
        mask, positions = keywords.get("attention_mask"), keywords.get("position_ids")
        if positions is None:
            positions = torch.arange(before, before + width, device=given.device)[None]
        if mask is not None:
            mask = torch.cat([mask.new_ones((rows, self._count)), mask], dim=1)
        self._states = [(keys.to(model.device), values.to(model.device)) for keys, values in self._states]
        changed = {
            "past_key_values": _CacheBehind(inner, self._states),
            "attention_mask": mask,
            "position_ids": positions + self._count,
        }
        return (), dict(keywords) | changed


def _own_cache(model: PreTrainedModel, inputs: Any, outputs: Any) -> Any:  # noqa: ARG001  (torch's signature)
    """Give back the cache that was given, which the next pass is given again."""
    if isinstance(kept := getattr(outputs, "past_key_values", None), _CacheBehind):
        outputs.past_key_values = kept.inner
    return outputs


class _CacheBehind(Cache):  # type: ignore[misc]  # transformers is not followed
    """A cache whose columns stand behind the virtual tokens'."""

    def __init__(self, inner: Cache, states: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__(layers=[])
        self.layers = inner.layers
        self.inner = inner
        self._states = states
        self._count = states[0][0].shape[2]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *positional: Any, **keywords: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep the pass's states; return those of the virtual tokens and of all that is kept, one behind the other."""
        kept = self.inner.update(key_states, value_states, layer_idx, *positional, **keywords)
        first, second = (
            torch.cat([virtual.to(states.dtype).expand(len(states), -1, -1, -1), states], dim=2)
            for virtual, states in zip(self._states[layer_idx], kept, strict=True)
        )
        return first, second

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the columns before those of this pass."""
        columns: int = self.inner.get_seq_length(layer_idx)
        return columns + self._count

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the columns that attention will see, and their offset."""
        columns, offset = self.inner.get_mask_sizes(query_length, layer_idx)
        return columns + self._count, offset
