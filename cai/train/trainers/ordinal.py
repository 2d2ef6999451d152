"""The reward models' trainer on scores in steps: one score an answer, and the thresholds between the steps.

The thresholds are no part of the model, which has one number on top like every reward model; they are learned beside it
and lie in a file of their own in each checkpoint. They begin where scores of 0 would give the training data's
frequencies.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction
from trl import RewardConfig

from cai.core.errors import InputError, UsageError
from cai.train.context import Context
from cai.train.methods.reward import RewardSettings
from cai.train.trainers.answer_scores import LABELS, AnswerTrainer
from cai.train.trainers.reward_equations import first_thresholds, level_losses
from cai.train.trainers.reward_measuring import agreement

THRESHOLDS = "thresholds.json"
"""Of a checkpoint: the first threshold, and the logarithms of the gaps behind it."""

_THRESHOLD_RATE = 1e-2
_MOST_LEVELS = 20


class OrdinalTrainer(AnswerTrainer):
    """Learns in which of several levels an answer lies: one score, and thresholds between the levels that all share.

    The thresholds are no part of the model, whose score needs none; checkpoints and `measured` have them.
    """

    name = "ordinal"
    optimizer: Any

    def __init__(self, context: Context, own: RewardSettings, configuration: RewardConfig) -> None:
        """Raise UsageError for several processes, InputError for scores that are no levels."""
        if context.hardware.processes > 1:
            raise UsageError("--objective ordinal learns thresholds beside the model, on one device: start one process")
        super().__init__(context, own, configuration)
        # The gaps' logarithms are learned, so that the thresholds stay in their order.
        gaps = self._first.diff().log()
        self._raw = torch.cat([self._first[:1], gaps]).float().to(self.args.device).requires_grad_()

    @property
    def thresholds(self) -> Tensor:
        """The thresholds, ascending."""
        return torch.cat([self._raw[:1], self._raw[1:].exp()]).cumsum(0)

    def losses(self, scores: Tensor, labels: Tensor, lists: Tensor) -> Tensor:  # noqa: ARG002
        """Return each answer's negative log-likelihood."""
        thresholds = self.thresholds if hasattr(self, "_raw") else self._first
        levels = torch.searchsorted(torch.tensor(self._levels, device=labels.device), labels)
        return level_losses(scores, levels, thresholds.to(scores.dtype))

    def _look_at(self, train: Dataset, test: Dataset | None) -> None:
        values = [value for split in (train, test) if split is not None for row in split[LABELS] for value in row]
        uneven = next((value for value in values if value != round(value)), None)
        if uneven is not None:
            raise InputError(
                f"--objective ordinal learns scores in whole steps, and one is {uneven:g}; use --objective regression"
            )
        self._levels = sorted(set(values))
        if not 2 <= len(self._levels) <= _MOST_LEVELS:
            raise InputError(
                f"--objective ordinal learns 2 to {_MOST_LEVELS} levels, and the scores have {len(self._levels)}; use "
                "--objective regression"
            )
        labels = torch.tensor([value for row in train[LABELS] for value in row])
        places = torch.searchsorted(torch.tensor(self._levels), labels)
        self._first = first_thresholds(torch.bincount(places, minlength=len(self._levels)))

    def create_optimizer(self, *positional: Any, **keywords: Any) -> Any:
        """Return an optimiser of the model and of the thresholds."""
        if self.optimizer is None:
            self.optimizer = super().create_optimizer(*positional, **keywords)
            self.optimizer.add_param_group({"params": [self._raw], "lr": _THRESHOLD_RATE, "weight_decay": 0.0})
            self.optimizer.register_step_post_hook(self._forget_gradient)  # a trainer zeroes its model's alone
        return self.optimizer

    def _forget_gradient(self, *_: Any) -> None:
        self._raw.grad = None

    def _figures(self, predicted: EvalPrediction) -> dict[str, float]:
        found = agreement(predicted.predictions, predicted.label_ids)
        return {"correlation": found["correlation"]} if "correlation" in found else {}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        lies_there = self._saved_step == self.state.global_step  # and an evaluation changes no threshold
        super()._save_checkpoint(model, trial)
        if self.args.should_save and not lies_there:
            (self._checkpoint() / THRESHOLDS).write_text(json.dumps(self._raw.tolist()))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_thresholds(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._load_thresholds(Path(str(self.state.best_model_checkpoint)))

    def _load_thresholds(self, checkpoint: Path) -> None:
        with torch.no_grad():
            self._raw.copy_(torch.tensor(json.loads((checkpoint / THRESHOLDS).read_text())))

    def measured(self) -> dict[str, Any]:
        """Return the scale of the scores, how they agree with the test split, and the thresholds between levels."""
        return super().measured() | {"levels": self._levels, "thresholds": self.thresholds.tolist()}

    def _agreement(self, scores: Sequence[float], test: Dataset) -> dict[str, Any]:
        told = super()._agreement(scores, test)
        del told["agreement"]["mean_absolute_error"]  # of a score in log-odds and a level
        return told
