"""Trained reward models as a reward: what `cai train reward` left in directories, asked in batches, never trained.

A reward model (`cai.models.reward_model`) has learned nothing of responses that are empty or that the token limit cut;
such a one is worth as little as the worst whole response beside it, and is not scored when none is whole.
`require_answers` tells of a training in which nothing was scored. Several models are one ensemble
(`cai.train.rewards.ensemble`).
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from cai.core.counts import counted
from cai.core.errors import CaiError, ModelError
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
        self._asked = self._scored = self._cut = self._empty = 0  # responses since this was opened

    def __enter__(self) -> Self:
        self._models = [RewardModel(directory, self._device) for directory in self._directories]
        self._asked = self._scored = self._cut = self._empty = 0
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
        cut = [ids[-1] not in self._ends for ids in completion_ids]
        empty = [not dialogue[-1]["content"].strip() for dialogue in dialogues]
        whole = [not (short or nothing) for short, nothing in zip(cut, empty, strict=True)]
        known = [score for score, fit in zip(scores, whole, strict=True) if fit and score is not None]
        self._asked += len(scores)
        self._scored += len(known)
        self._cut += sum(cut)
        self._empty += sum(nothing and not short for short, nothing in zip(cut, empty, strict=True))
        worst = min(known, default=None)
        return [score if fit else worst for score, fit in zip(scores, whole, strict=True)]

    def require_answers(self) -> None:
        """Raise CaiError when responses were given since this was opened, and none of them could be scored."""
        if self._asked and not self._scored:
            rest = self._asked - self._cut - self._empty
            raise CaiError(
                f"the reward model scored none of {counted(self._asked, 'answer')}, so nothing was learned: "
                f"{self._cut} did not end within --max-tokens, {self._empty} were empty, and {rest} did not fit the "
                "reward model's context or template; give more --max-tokens, or a model that ends its answers"
            )
