"""What happens between a trainer's steps: checkpoints are marked whole, patience runs out, an interrupt is obeyed.

At Ctrl-C or SIGTERM the current step is finished, a checkpoint is written, and training stops; a second Ctrl-C stops at
once. A second SIGTERM does not: where a whole group is stopped, the launcher passes on what its processes have heard.
Handlers can only be set in a program's main thread; elsewhere nothing is caught.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cai.train.folder import TrainingFolder
from cai.train.metrics import losses
from cai.train.trainers.base import BaseTrainer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether training was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals inside the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        pressed = False

        def ask(number: int, _frame: FrameType | None) -> None:
            nonlocal pressed
            if pressed and number == signal.SIGINT:
                raise KeyboardInterrupt
            pressed = pressed or number == signal.SIGINT
            self.asked = True

        for number in _SIGNALS:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class CheckpointMarks(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Announces a checkpoint, and marks it complete once every process has written its share of it.

    To be added after every callback that may ask for one.
    """

    def __init__(self, folder: TrainingFolder) -> None:
        self._folder = folder

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Announce the checkpoint that is about to be written, before any process writes to it."""
        if control.should_save:
            if state.is_world_process_zero:
                self._folder.begin_checkpoint(state.global_step)
            PartialState().wait_for_everyone()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Wait for all and leave the mark."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            self._folder.complete_checkpoint(state.global_step, state.best_model_checkpoint)


class FinishEvaluation(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Evaluates first, when training goes on from a step whose evaluation was cut short.

    To be added after the callbacks that record what an evaluation finds.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Look at the checkpoint that was loaded."""
        if self._trainer.lacks_evaluation():
            self._trainer.finish_evaluation()


class Patience(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Stops after so many evaluations in a row without a lower loss.

    Counted anew from the history each time, so that a resumed run stops where an undisturbed one does.
    """

    def __init__(self, evaluations: int) -> None:
        self._evaluations = evaluations

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Look at the evaluations so far."""
        self._look(state, control)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Look at the evaluations of the checkpoint: the run may have been killed after it had stopped."""
        self._look(state, control)

    def _look(self, state: TrainerState, control: TrainerControl) -> None:
        if waited(state.log_history) >= self._evaluations:
            control.should_training_stop = True


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Stops after the step in which it was asked to, with a checkpoint; all processes stop at the same step."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Ask the processes whether any was interrupted."""
        if self._anybody() and state.global_step < state.max_steps:
            self._interrupt.asked = True
            control.should_log = control.should_save = control.should_training_stop = True

    def _anybody(self) -> bool:
        state = PartialState()
        if state.num_processes == 1:
            return self._interrupt.asked
        flag = torch.tensor(int(self._interrupt.asked), device=state.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())


def waited(history: list[dict[str, Any]]) -> int:
    """Return how many evaluations have passed since the lowest loss."""
    values = [value for _, value in losses(history, "eval_loss")]
    return len(values) - 1 - values.index(min(values)) if values else 0
