"""What happens between a trainer's steps: checkpoints are marked whole, patience runs out, an interrupt is heard."""

from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cai.train.checkpoints import mark_complete
from cai.train.interrupt import Interrupt
from cai.train.metrics import losses


class CheckpointMarks(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Marks a checkpoint complete once every process has written its share of it."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Wait for all and leave the mark."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class Patience(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Stops after so many evaluations in a row without a lower loss.

    Counted anew from the history each time, so that a resumed run is as patient as an undisturbed one.
    """

    def __init__(self, evaluations: int) -> None:
        self._evaluations = evaluations

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Look at the evaluations so far."""
        if waited(state.log_history) >= self._evaluations:
            control.should_training_stop = True


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Stops after the step in which somebody asked for it, with a checkpoint; all processes stop at the same step."""

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
