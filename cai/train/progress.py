"""How far training is: a line that is drawn on a terminal, or a line a minute in a log.

Steps and evaluations are told apart: while the test split is measured its batches are counted, and the time left is
that of the measuring.
"""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cai.core.text import visible
from cai.pipeline.progress_lines import clock
from cai.train.metrics import losses

LOG_SECONDS = 60.0
"""Between two lines where standard error is no terminal."""

MEASURING = "measuring the test split"


class ProgressTeller(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Tells step, loss, tokens a second and the time left: on standard error if that is a terminal, else by `say`.

    To be added after every callback that may ask for an evaluation. With `quiet` nothing is told.
    """

    def __init__(self, name: str, say: Callable[[str], None], *, quiet: bool = False) -> None:
        self._name = visible(name)
        self._say = say
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._steps = self._measuring = TaskID(0)
        self._began = self._told = self._measured_since = 0.0
        self._first_step = self._batches = self._first_count = 0
        self._figures = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Begin to count, and to draw."""
        self._began = self._told = time.monotonic()
        self._first_step = state.global_step
        self._first_count = next((int(count) for _, count in reversed(losses(state.log_history, "num_tokens"))), 0)
        if self._quiet or not (state.is_world_process_zero and self._console.is_terminal):
            return
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._steps = self._bar.add_task(
            self._name, total=state.max_steps, completed=state.global_step, unit="steps", figures=""
        )
        self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Count a step; say that the test split is measured next, if it is."""
        if self._bar is not None:
            self._bar.update(self._steps, completed=state.global_step)
        if control.should_evaluate:
            self._begin_measuring(None)
        done, spent = state.global_step - self._first_step, time.monotonic() - self._began
        left = (state.max_steps - state.global_step) * spent / done
        self._log(state, f"step {state.global_step:,}/{state.max_steps:,}{self._figures}", left)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **more: Any,
    ) -> None:
        """Take the newest figures."""
        if "loss" not in logs:
            return
        self._figures = f" · loss {logs['loss']:.3f}"
        if "num_tokens" in logs:
            if logs["num_tokens"] < self._first_count:  # counted from 0 since the checkpoint
                self._first_count = 0
            seen = logs["num_tokens"] - self._first_count
            self._figures += f" · {seen / (time.monotonic() - self._began):,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._steps, figures=self._figures)

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **more: Any,
    ) -> None:
        """Count a batch of the test split."""
        total = len(eval_dataloader) if hasattr(eval_dataloader, "__len__") else None
        if not self._batches:
            self._begin_measuring(total)
            self._measured_since = time.monotonic()
        self._batches += 1
        if self._bar is not None:
            self._bar.update(self._measuring, completed=self._batches, total=total)
        if total is not None:
            left = (total - self._batches) * (time.monotonic() - self._measured_since) / self._batches
            self._log(state, f"{MEASURING} after step {state.global_step:,}: {self._batches:,}/{total:,} batches", left)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Go back to the steps."""
        self._batches = 0
        if self._bar is not None and self._measuring != self._steps:
            self._bar.remove_task(self._measuring)
            self._measuring = self._steps
            self._bar.update(self._steps, visible=True)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Leave the terminal as it is."""
        self.close()

    def close(self) -> None:
        """Stop drawing, also when training ended by an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin_measuring(self, total: int | None) -> None:
        if self._bar is None or self._measuring != self._steps:
            return
        self._bar.update(self._steps, visible=False)
        self._measuring = self._bar.add_task(f"{self._name}: {MEASURING}", total=total, unit="batches", figures="")

    def _log(self, state: TrainerState, figures: str, left: float) -> None:
        now = time.monotonic()
        watched = self._console.is_terminal or not state.is_world_process_zero
        if self._quiet or watched or now - self._told < LOG_SECONDS:
            return
        self._told = now
        self._say(f"{self._name}: {figures}, {clock(now - self._began)} so far, {clock(left)} left")
