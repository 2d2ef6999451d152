"""Training that stops at the first loss, gradient or weight that is no number, whatever the method.

Left alone, transformers logs a loss of nan as the mean of those before it, and a run whose weights are long lost ends
as "done". One process of several is enough to stop all: a launcher ends the others.
"""

import math
from typing import Any

import torch
from transformers import Trainer

from cai.core.errors import CaiError
from cai.models.checkpoint.pretrained import unfit_weight

_WAY_ON = (
    "nothing was written but the checkpoints before it; lower --learning-rate, or look for what is extreme in the data"
)


class StopsAtNan(Trainer):  # type: ignore[misc]  # transformers is not followed
    """What every trainer of `cai` has before TRL's own among its bases."""

    _watched_step = -1
    _watched_batch = 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of a batch; raises CaiError when it is no number."""
        if self.state.global_step != self._watched_step:
            self._watched_step, self._watched_batch = self.state.global_step, 0
        self._watched_batch += 1
        try:
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        except RuntimeError as error:  # nothing can be drawn from what is no number, where a method draws
            if key := unfit_weight(self.model):
                raise CaiError(f"{key} holds nan or infinity at {self._watched_place()}: {_WAY_ON}") from error
            raise
        if not torch.isfinite(loss).all():
            raise CaiError(f"the loss is {loss.mean().item()} at {self._watched_place()}: {_WAY_ON}")
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not math.isfinite(norm):
            raise CaiError(f"the gradient's norm is {float(norm)} at {self._watched_place()}: {_WAY_ON}")
        return norm

    def evaluate(self, *positional: Any, **keywords: Any) -> dict[str, float]:
        """Return what is measured on the test split; raises CaiError when its loss is no number."""
        measured: dict[str, float] = super().evaluate(*positional, **keywords)
        for name, value in measured.items():
            if name.endswith("_loss") and not math.isfinite(value):
                raise CaiError(f"{name} is {value} at step {self.state.global_step}: {_WAY_ON}")
        return measured

    def require_finite_weights(self) -> None:
        """Raise CaiError when a weight is no number: the last step's are looked at by no loss."""
        if key := unfit_weight(self.model):
            raise CaiError(f"{key} holds nan or infinity after step {self.state.global_step}: {_WAY_ON}")

    def _watched_place(self) -> str:
        return (
            f"step {self._watched_step + 1}, batch {self._watched_batch} of {self.current_gradient_accumulation_steps}"
        )
