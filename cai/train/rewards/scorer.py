"""A trained reward model as a reward: what `cai train reward` left in a directory, asked in batches, never trained.

A reward model (`cai.models.reward_model`) knows nothing of responses that the token limit cut; such a one is worth as
little as the worst finished response beside it, and is not scored when none was finished.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from cai.core.errors import ModelError
from cai.core.records import Message
from cai.models.checkpoint.reward import check_reward_model
from cai.models.reward_model import RewardModel


class ScoreReward:
    """A TRL reward function; a context manager that holds the model in memory. Scores are in the model's own unit."""

    def __init__(self, directory: Path, device: torch.device, ends: Collection[int]) -> None:
        """Take the token ids that end a response; raises ModelError when the directory holds no reward model."""
        check_reward_model(directory)
        self.__name__ = "reward_model"  # TRL logs rewards under it
        self._directory = directory
        self._device = device
        self._ends = ends
        self._model: RewardModel | None = None

    def __enter__(self) -> Self:
        self._model = RewardModel(self._directory, self._device)
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
        if self._model is None:
            raise ModelError(f"the reward model {self._directory} is not open")
        scores = self._model.score([[*prompt, *answer] for prompt, answer in zip(prompts, completions, strict=True)])
        finished = [ids[-1] in self._ends for ids in completion_ids]
        known = [score for score, whole in zip(scores, finished, strict=True) if whole and score is not None]
        worst = min(known, default=None)
        return [score if whole else worst for score, whole in zip(scores, finished, strict=True)]
