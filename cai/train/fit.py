"""Runs a trainer, whatever its method: intervals, checkpoints, resume, interrupt, and the model moved into OUT at last.

A run that was killed, however it was, goes on from its newest complete checkpoint: weights, optimiser, schedule, random
states and the place in the data are restored, so that its loss curve is that of an undisturbed run. Checkpoints lie on
logged steps; otherwise the loss since the last line would be lost with the process. An evaluation that was cut short is
made again, and no step with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import PrinterCallback, TrainingArguments

from cai.train.callbacks import CheckpointMarks, FinishEvaluation, Interrupt, Patience, StopWhenAsked
from cai.train.folder import TrainingFolder
from cai.train.metrics import MetricsFile, measured
from cai.train.progress import ProgressTeller
from cai.train.settings import FitSettings
from cai.train.trainers.base import BaseTrainer

_LINES = 500  # in metrics.jsonl, about: enough for a curve
_EVALUATIONS, _APART = 10, 25
_NOT_THE_MODEL_S = ("training_args.bin", "README.md")


@dataclass(frozen=True, slots=True)
class Fitted:
    """How training went; `resumed` is the step that it went on from, `seconds` this process's time in it."""

    interrupted: bool
    steps: int
    epochs: float
    resumed: int | None
    seconds: float
    history: list[dict[str, Any]]


def fit(
    trainer: BaseTrainer,
    folder: TrainingFolder,
    settings: FitSettings,
    name: str,
    say: Callable[[str], None],
    *,
    quiet: bool,
) -> Fitted:
    """Train to the end or to an interrupt, from the newest whole checkpoint if there is one; `say` is told of damage.

    With a test split the weights are those of the best evaluation afterwards. Raises StoreError when the disk refuses.
    """
    steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    _settle_warm_up(trainer.args, steps)
    _settle_intervals(trainer.args, settings, steps)
    chosen = [folder.newest_checkpoint(say) if trainer.is_world_process_zero() else None]
    broadcast_object_list(chosen)
    checkpoint = chosen[0]
    interrupt, progress = Interrupt(), ProgressTeller(name, say, quiet=quiet)
    trainer.remove_callback(PrinterCallback)
    recording = (MetricsFile(folder), StopWhenAsked(interrupt), CheckpointMarks(folder), progress)
    for callback in (*recording, FinishEvaluation(trainer)):
        trainer.add_callback(callback)
    if settings.patience is not None:
        trainer.add_callback(Patience(settings.patience))
    began = time.monotonic()
    try:
        with interrupt.listening():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        progress.close()
    return Fitted(
        interrupted=interrupt.asked and trainer.state.global_step < trainer.state.max_steps,
        steps=trainer.state.global_step,
        epochs=trainer.state.epoch or 0.0,
        resumed=None if checkpoint is None else int(checkpoint.name.rpartition("-")[2]),
        seconds=time.monotonic() - began,
        history=measured(trainer.state.log_history),
    )


def stage_model(trainer: BaseTrainer, folder: TrainingFolder) -> None:
    """Write model and tokenizer into the staging folder; every process takes part, since weights may be sharded."""
    trainer.save_model(str(folder.staging))
    if trainer.is_world_process_zero():
        for name in _NOT_THE_MODEL_S:
            (folder.staging / name).unlink(missing_ok=True)


def _settle_warm_up(arguments: TrainingArguments, steps: int) -> None:
    """Leave out a warm-up of one step alone: its learning rate is 0, so that of few steps one would teach nothing."""
    if arguments.get_warmup_steps(steps) == 1:
        arguments.warmup_steps = 0


def _settle_intervals(arguments: TrainingArguments, settings: FitSettings, steps: int) -> None:
    """Log about 500 times, evaluate and save `evaluations` times, the latter on steps of the former.

    Left open, there are ten, but none within `_APART` steps of another: on short runs they would take longer than the
    steps between them.
    """
    logging = max(1, steps // _LINES)
    arguments.logging_steps = logging
    evaluations = settings.evaluations or max(1, min(_EVALUATIONS, steps // _APART))
    arguments.eval_steps = arguments.save_steps = max(1, round(steps / evaluations / logging)) * logging
