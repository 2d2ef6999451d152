"""A trained reward model as a reward: what `cai train reward` left in a directory, asked in batches, never trained.

Responses are scored with the reward model's own tokenizer and chat template, whole: one that does not fit its context,
or whose turns the template refuses, is not scored (None). A reward model knows nothing of responses that the token
limit cut; such a one is worth as little as the worst finished response beside it, and is not scored when none was
finished.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from transformers import PreTrainedModel

from cai.core.errors import ModelError
from cai.core.records import Message
from cai.models.checkpoint.files import ADAPTER_CONFIG
from cai.models.checkpoint.pretrained import merge_adapter, open_tokenizer, open_weights
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.turns import RefusedTurnsError, TurnFitter

_BATCH_TOKENS = 16_384


class RewardModel:
    """A TRL reward function; a context manager that holds the model in memory. Scores are in the model's own unit."""

    def __init__(self, directory: Path, device: torch.device, ends: Collection[int]) -> None:
        """Take the token ids that end a response; raises ModelError when the directory holds no reward model."""
        check_reward_model(directory)
        self.__name__ = "reward_model"  # TRL logs rewards under it
        self._directory = directory
        self._device = device
        self._ends = ends
        self._model: PreTrainedModel | None = None
        self._tokenizer: Any = None
        self._turns = TurnFitter(self._render)

    def __enter__(self) -> Self:
        self._tokenizer = open_tokenizer(Checkpoint.resolve(str(self._directory)).tokenizer)
        self._model = load_reward_model(self._directory).to(self._device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model = None

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        completions: Sequence[Sequence[Message]],
        completion_ids: Sequence[Sequence[int]],
        **_columns: Any,
    ) -> list[float | None]:
        """Return one score a completion, None for what cannot be scored."""
        scores = self.score([[*prompt, *answer] for prompt, answer in zip(prompts, completions, strict=True)])
        finished = [ids[-1] in self._ends for ids in completion_ids]
        known = [score for score, whole in zip(scores, finished, strict=True) if whole and score is not None]
        worst = min(known, default=None)
        return [score if whole else worst for score, whole in zip(scores, finished, strict=True)]

    def score(self, dialogues: Sequence[Sequence[Message]]) -> list[float | None]:
        """Return the score of each dialogue's last turn, None where it does not fit the context."""
        if self._model is None:
            raise ModelError(f"the reward model {self._directory} is not open")
        limit = self._model.config.get_text_config().max_position_embeddings
        ids = [self._tokens(dialogue) for dialogue in dialogues]
        scores: list[float | None] = [None] * len(ids)
        fitting = sorted(
            (index for index, found in enumerate(ids) if 0 < len(found) <= limit), key=lambda i: len(ids[i])
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


def check_reward_model(directory: Path) -> None:
    """Raise ModelError unless the directory holds a sequence classifier of one label, whole or as an adapter."""
    file = directory / ("config.json" if (directory / "config.json").is_file() else ADAPTER_CONFIG)
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError):
        raise ModelError(f"{directory} holds no model; give the directory that `cai train reward` wrote") from None
    architectures = config.get("architectures") or [""]
    whole = architectures[0].endswith("ForSequenceClassification") and len(config.get("id2label", "..")) == 1
    if not whole and config.get("task_type") != "SEQ_CLS":
        raise ModelError(f"{directory} is no reward model (one score a text); make one with `cai train reward`")


def load_reward_model(directory: Path) -> PreTrainedModel:
    """Return the model for inference, an adapter folded in; in float32, as a group's scores differ in late digits."""
    checkpoint = Checkpoint.resolve(str(directory))
    model = open_weights(checkpoint.base, "score", dtype=torch.float32)
    if checkpoint.adapter is not None:
        model = merge_adapter(model, checkpoint.adapter)
    return model.eval().requires_grad_(False)


def _batches(order: Sequence[int], ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Cut the order, shortest first, where a padded batch would grow too large."""
    batches: list[list[int]] = []
    for index in order:
        if not batches or (len(batches[-1]) + 1) * len(ids[index]) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return batches


@torch.inference_mode()
def _score(model: PreTrainedModel, rows: Sequence[Sequence[int]], padding: int) -> list[float]:
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), padding, device=model.device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=model.device)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    scores: list[float] = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, 0].tolist()
    return scores
