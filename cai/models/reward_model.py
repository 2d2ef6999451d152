"""Reward models: what `cai train reward` left in a directory, open for scoring.

An answer is scored with the reward model's own tokenizer and chat template, whole, and its score is in the model's own
unit: only scores of answers to one prompt compare. A dialogue that does not fit the context, or whose turns the
template refuses, is not scored. Scores are computed in float32, because those of a group differ in late digits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from cai.core.records import Message
from cai.models.checkpoint.adapters import apply_adapter
from cai.models.checkpoint.pretrained import open_tokenizer, open_weights
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.checkpoint.reward import check_reward_model, reward_model_name
from cai.models.turns import RefusedTurnsError, TurnFitter

_BATCH_TOKENS = 16_384


def load_reward_model(directory: Path) -> PreTrainedModel:
    """Return the model for inference, an adapter folded in, in float32."""
    checkpoint = Checkpoint.resolve(str(directory))
    model = open_weights(checkpoint.base, "score", dtype=torch.float32)
    if checkpoint.adapter is not None:
        model = apply_adapter(model, checkpoint.adapter)
    return model.eval().requires_grad_(False)


def reads_the_same(directory: Path, tokenizer: Any) -> bool:
    """Tell whether a reward model's tokens are the tokenizer's; raises ModelError where there is no such model."""
    check_reward_model(directory)
    theirs = open_tokenizer(Checkpoint.resolve(str(directory)).tokenizer)
    return bool(theirs.get_vocab() == tokenizer.get_vocab())


class RewardModel:
    """A reward model that is open; it blocks while it scores."""

    def __init__(self, directory: Path, device: torch.device) -> None:
        """Load it into memory; raises ModelError when the directory holds no reward model."""
        check_reward_model(directory)
        self.name = reward_model_name(directory)
        self._tokenizer: Any = open_tokenizer(Checkpoint.resolve(str(directory)).tokenizer)
        self._model = load_reward_model(directory).to(device)
        self._turns = TurnFitter(self._render)

    def score(self, dialogues: Sequence[Sequence[Message]]) -> list[float | None]:
        """Return the score of each dialogue's last turn, None where it does not fit the context."""
        limit: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        ids = [self._tokens(dialogue) for dialogue in dialogues]
        scores: list[float | None] = [None] * len(ids)
        fitting = sorted(
            (index for index, found in enumerate(ids) if found and (limit is None or len(found) <= limit)),
            key=lambda i: len(ids[i]),
        )
        for batch in _batches(fitting, ids):
            values = _score(self._model, [ids[index] for index in batch], self._tokenizer.pad_token_id)
            for index, value in zip(batch, values, strict=True):
                scores[index] = value
        return scores

    def _tokens(self, dialogue: Sequence[Message]) -> list[int]:
        """Return the dialogue as the chat template takes it, nothing where it takes it in no form."""
        try:
            turns = self._turns.fit(dialogue).turns
        except RefusedTurnsError:
            return []
        tokens: list[int] = self._tokenizer.apply_chat_template(list(turns), return_dict=True)["input_ids"]
        return tokens

    def _render(self, messages: Sequence[Message], prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
        return text


def _batches(order: Sequence[int], ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Cut the order, shortest first, where a padded batch would grow too large."""
    batches: list[list[int]] = []
    for index in order:
        if not batches or (len(batches[-1]) + 1) * len(ids[index]) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return batches


def _score(model: PreTrainedModel, rows: Sequence[Sequence[int]], padding: int) -> list[float]:
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), padding, device=model.device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=model.device)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    with torch.inference_mode():
        scores: list[float] = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, 0].tolist()
    return scores
