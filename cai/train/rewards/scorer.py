"""Trained reward models as a reward: what `cai train reward` left in directories, asked in batches, never trained.

A reward model (`cai.models.reward_model`) knows nothing of responses that the token limit cut; such a one is worth as
little as the worst finished response beside it, and is not scored when none was finished. Several models are one
ensemble (`cai.train.rewards.ensemble`).
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from cai.core.errors import ModelError
from cai.core.records import Message
from cai.models.checkpoint.reward import check_reward_model
from cai.models.reward_model import RewardModel
from cai.train.rewards.ensemble import Ensemble, EnsembleName, Scale


class ScoreReward:
    """A TRL reward function; a context manager that holds the models in memory.

    A single model's scores are in its own unit, an ensemble's rewards in deviations; `log_metric`, which TRL passes, is
    given `reward_models/disagreement` of an ensemble.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        device: torch.device,
        ends: Collection[int],
        ensemble: EnsembleName = "penalty",
        disagreement: float = 1.0,
    ) -> None:
        """Take the token ids that end a response; raises ModelError when a directory holds no reward model."""
        for directory in directories:
            check_reward_model(directory)
        self.__name__ = "reward_model"  # TRL logs rewards under it
        self._directories = tuple(directories)
        self._ensemble = None
        if len(directories) > 1:
            self._ensemble = Ensemble(ensemble, disagreement, tuple(map(Scale.read, directories)))
        self._device = device
        self._ends = ends
        self._models: list[RewardModel] = []

    def __enter__(self) -> Self:
        self._models = [RewardModel(directory, self._device) for directory in self._directories]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._models = []

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        completions: Sequence[Sequence[Message]],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **_columns: Any,
    ) -> list[float | None]:
        """Return one score a completion, None for what cannot be scored."""
        if not self._models:
            raise ModelError(f"the reward model {self._directories[0]} is not open")
        dialogues = [[*prompt, *answer] for prompt, answer in zip(prompts, completions, strict=True)]
        scores = self._models[0].score(dialogues)
        if self._ensemble is not None:
            others = [model.score(dialogues) for model in self._models[1:]]
            scores, disagreement = self._ensemble.combine([scores, *others])
            if log_metric is not None and disagreement is not None:
                log_metric("reward_models/disagreement", disagreement)
        finished = [ids[-1] in self._ends for ids in completion_ids]
        known = [score for score, whole in zip(scores, finished, strict=True) if whole and score is not None]
        worst = min(known, default=None)
        return [score if whole else worst for score, whole in zip(scores, finished, strict=True)]
