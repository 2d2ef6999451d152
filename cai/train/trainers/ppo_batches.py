"""Responses of many lengths as tensors: prompts padded on the left, responses on the right, so that both meet.

And what PPO holds the policy's likelihood up on meanwhile, supervised examples as pieces of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.train.context import Context
from cai.train.data.examples import load_examples
from cai.train.settings import DataSettings

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


def pretraining_pieces(context: Context, source: DataSource) -> list[list[int]]:
    """Return the texts of a file or run as token ids, cut into pieces of the maximal length.

    Conversations are printed by the chat template. Raises InputError when nothing of two tokens or more is there.
    """
    settings = DataSettings((source,), test_share=0.0)
    examples = load_examples("supervised", settings, context.settings.seed).train
    length, tokenizer = context.settings.fit.max_length, context.tokenizer
    assert length is not None  # noqa: S101  (the plan filled it in)
    pieces: list[list[int]] = []
    for row in examples:
        if "text" in row:
            ids = [*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id]
        else:
            turns = row["messages"] if "messages" in row else row["prompt"] + row["completion"]
            ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
        known = [token for token in ids if token is not None]
        pieces += [known[start : start + length] for start in range(0, len(known), length)]
    pieces = [piece for piece in pieces if len(piece) > 1]
    if not pieces:
        raise InputError(f"--pretraining-data {source} holds no text to learn from.")
    return pieces
