"""What every trainer of cai has, whatever the method: it stops at what is no number, and evaluations can be resumed.

Left alone, transformers logs a loss of nan as the mean of those before it, and a run whose weights are long lost ends
as "done". Here the first loss, gradient or weight that is no number ends training; one process of several is enough to
stop all: a launcher ends the others.

Left alone, transformers evaluates first and writes the checkpoint after, so that a process that is killed while it
evaluates has lost every step since the checkpoint before. Here the checkpoint is written first, and what the evaluation
found is added to it. A run that goes on from a checkpoint without its evaluation evaluates first.
"""

import math
from collections import Counter
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerControl
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, IntervalStrategy

from cai.core.counts import counted
from cai.core.errors import CaiError
from cai.models.checkpoint.pretrained import unfit_weight
from cai.train.checkpoints import EVALUATED

_WAY_ON = (
    "nothing was written but the checkpoints before it; lower --learning-rate, or look for what is extreme in the data"
)


class BaseTrainer(Trainer):  # type: ignore[misc]  # transformers is not followed
    """The first base of cai's trainers, TRL's own being the second.

    `left_out` counts what preparation dropped; `remarks` are what a person must know of it before training begins.
    """

    left_out: Counter[str]
    remarks: tuple[str, ...] = ()
    control: TrainerControl
    eval_dataset: Any

    _watched_step = -1
    _watched_batch = 0
    _saved_step = -1
    _finished_step = -1

    def drop_empty_test(self, given: Sized | None) -> None:
        """Go without a test split, and say so, where preparation has left out all that were `given` for it.

        To be called when the trainer is built, by those that leave examples out.
        """
        if given is None or len(self.eval_dataset):
            return
        self.eval_dataset = None
        self.args.eval_strategy = IntervalStrategy.NO
        self.args.load_best_model_at_end = False
        self.args.metric_for_best_model = self.args.greater_is_better = None
        said = (
            f"the test split is empty: {counted(len(given), 'example')} of it left out, too long for --max-length or "
            "with nothing to learn; no loss is measured on it, and the last step's weights are kept"
        )
        self.remarks = (*self.remarks, said)

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
        """Return what is measured on the test split, after a checkpoint where one is due.

        Raises CaiError when its loss is no number.
        """
        # Of several test sets each is measured by a call of its own, behind one checkpoint.
        if self.is_in_train and self.control.should_save and self._saved_step != self.state.global_step:
            self._save_checkpoint(self.model, None)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
            self.control.should_save = True  # again, with what the evaluation finds
        measured: dict[str, float] = super().evaluate(*positional, **keywords)
        for name, value in measured.items():
            if name.endswith("_loss") and not math.isfinite(value):
                raise CaiError(f"{name} is {value} at step {self.state.global_step}: {_WAY_ON}")
        return measured

    def lacks_evaluation(self) -> bool:
        """Tell whether the step that training goes on from was to be evaluated, and was not."""
        state = self.state
        if self.args.eval_strategy != IntervalStrategy.STEPS or not state.global_step:
            return False
        due = state.global_step % state.eval_steps == 0 or state.global_step >= state.max_steps
        return due and not any(
            entry["step"] == state.global_step and "eval_loss" in entry for entry in state.log_history
        )

    def finish_evaluation(self) -> None:
        """Evaluate the checkpoint that training goes on from, as would have been done after its step."""
        checkpoint = self._checkpoint()
        self._load_rng_state(str(checkpoint))
        self._determine_best_metric(self.evaluate(), None)
        self._saved_step = self._finished_step = self.state.global_step
        self._save_checkpoint(self.model, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _load_rng_state(self, checkpoint: Any) -> None:
        """Draw next what would have been: an evaluation that was made up for has drawn, too."""
        if checkpoint is not None and self._finished_step == self.state.global_step:
            checkpoint = str(Path(checkpoint) / EVALUATED)
        super()._load_rng_state(checkpoint)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint; of a step that has one, what an evaluation changes: the state, and what is drawn next.

        The latter lies beside what it replaces, which holds until the mark is left, see `cai.train.checkpoints`. Raises
        CaiError when a weight is no number: training could not go on from there.
        """
        checkpoint = self._checkpoint()
        if self._saved_step != self.state.global_step:
            self.require_finite_weights()
            super()._save_checkpoint(model, trial)
            self._saved_step = self.state.global_step
            return
        if self.state.best_global_step is not None:
            best = checkpoint.with_name(f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}")
            if best.is_dir():
                self.state.best_model_checkpoint = str(best)
        added = checkpoint / EVALUATED
        self._save_rng_state(str(added))
        if self.args.should_save:
            self.state.save_to_json(str(added / TRAINER_STATE_NAME))

    def _checkpoint(self) -> Path:
        return Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _run_epoch(self, *positional: Any, **keywords: Any) -> None:
        """Train an epoch, but no step after the last: left alone, a run resumed at its end makes one more.

        What orders the data hears of the epoch first: left alone, transformers tells it behind the layer that skips
        what a resumed epoch has done, and in several processes that is too deep, so that the first epoch's order comes.
        """
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        keywords["train_dataloader"].set_epoch(keywords["epoch"])
        super()._run_epoch(*positional, **keywords)

    def measured(self) -> dict[str, Any]:
        """Return what is measured of the trained model once, at the end, for train.json; every process takes part."""
        return {}

    def require_finite_weights(self) -> None:
        """Raise CaiError when a weight is no number: the last step's are looked at by no loss."""
        if key := unfit_weight(self.model):
            raise CaiError(f"{key} holds nan or infinity after step {self.state.global_step}: {_WAY_ON}")

    def _watched_place(self) -> str:
        return (
            f"step {self._watched_step + 1}, batch {self._watched_batch} of {self.current_gradient_accumulation_steps}"
        )
