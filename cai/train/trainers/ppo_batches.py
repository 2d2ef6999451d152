"""Responses of many lengths as tensors: prompts padded on the left, responses on the right, so that both meet."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_SMALL = 512  # tokens
_PADDING = 0.25


@dataclass(frozen=True, slots=True)
class Experience:
    """A step's responses of one process, and what was known of their tokens before anything was learned from them.

    Tensors have the shape (responses, tokens of the longest), left-aligned; `mask` is False, too, for all of a response
    that could not be rewarded.
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    mask: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


def response_mask(responses: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return where each response has a token, shape (responses, tokens of the longest)."""
    lengths = torch.tensor([len(response) for response in responses], device=device)
    return torch.arange(int(lengths.max()), device=device)[None, :] < lengths[:, None]


def joined(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], padding: int, device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """Return token ids and attention mask, (rows, tokens), of prompts with responses, and the responses' columns."""
    before, behind = max(map(len, prompts)), max(map(len, responses))
    ids, mask = [], []
    for prompt, response in zip(prompts, responses, strict=True):
        left, right = before - len(prompt), behind - len(response)
        ids.append([padding] * left + [*prompt, *response] + [padding] * right)
        mask.append([0] * left + [1] * (len(prompt) + len(response)) + [0] * right)
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device), behind


def length_batches(rows: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the rows in batches of at most `most`, shortest first, so that little of a batch is padding.

    `lengths` are tokens, by row. A batch ends, too, where a quarter of it would be padding, unless it is so small that
    another pass costs more.
    """
    batches: list[list[int]] = []
    held = 0
    for row in sorted(rows, key=lambda one: lengths[one]):
        padded = (len(batches[-1]) + 1) * lengths[row] if batches else 0
        full = not batches or len(batches[-1]) == most
        if full or (padded > _SMALL and padded * (1 - _PADDING) > held + lengths[row]):
            batches.append([])
            held = 0
        batches[-1].append(row)
        held += lengths[row]
    return batches
