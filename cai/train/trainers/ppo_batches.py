"""Responses of many lengths as tensors: prompts padded on the left, responses on the right, so that both meet.

And what PPO holds the policy's likelihood up on meanwhile, supervised examples as pieces of tokens.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cai.core.errors import InputError
from cai.train.context import Context
from cai.train.data.pretraining import NAME

NOTHING = f"{NAME}: nothing to learn from"

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


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of pre-training data: token ids, and which of them are learned."""

    ids: list[int]
    learned: list[bool]

    @property
    def tokens(self) -> int:
        """How many tokens are learned: the first is only read."""
        return sum(self.learned[1:])


def pretraining_pieces(context: Context) -> tuple[list[Piece], Counter[str]]:
    """Return the pre-training data in pieces of the maximal length, and how many examples gave none, by reason.

    Conversations are printed by the chat template; what is learned of them is what `sft` would learn. Raises InputError
    when there is nothing to learn.
    """
    if context.pretraining is None:
        return [], Counter()
    length, pieces, nothing = context.settings.fit.max_length, [], 0
    assert length is not None  # noqa: S101  (the plan filled it in)
    for row in context.pretraining.train:
        ids, learned = _encoded(row, context.tokenizer)
        own = [
            Piece(ids[start : start + length], learned[start : start + length]) for start in range(0, len(ids), length)
        ]
        own = [piece for piece in own if piece.tokens]
        pieces += own
        nothing += not own
    if not pieces:
        raise InputError("--pretraining-data holds no text to learn from: give texts, or conversations with answers")
    return pieces, Counter({NOTHING: nothing})


def _encoded(row: Mapping[str, Any], tokenizer: Any) -> tuple[list[int], list[bool]]:
    """Return an example's tokens, and which of them are learned."""
    if "text" in row:
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        ids = [*tokenizer(row["text"])["input_ids"], *end]
        return ids, [True] * len(ids)
    if "messages" in row:
        found = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        return found["input_ids"], list(map(bool, found["assistant_masks"]))
    before = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    ids = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
    return ids, [place >= len(before) for place in range(len(ids))]


def text_tensors(pieces: Sequence[Piece], padding: int, device: torch.device) -> dict[str, Tensor]:
    """Return pieces, padded, as `PolicyAndValue` takes them: nothing of none."""
    if not pieces:
        return {}
    ids, mask, _ = joined([one.ids[:1] for one in pieces], [one.ids[1:] for one in pieces], padding, device)
    flags = [[int(flag) for flag in one.learned] for one in pieces]
    learned, _, _ = joined([one[:1] for one in flags], [one[1:] for one in flags], 0, device)
    return {"text_ids": ids, "text_mask": mask, "text_learned": learned}
