"""The line that a person watches while a model trains; nothing at all in a pipe."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cai.core.text import visible


class ProgressLine(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Draws step, loss, tokens a second and the time left on standard error, if that is a terminal."""

    def __init__(self, name: str) -> None:
        self._name = visible(name)
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._began = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Begin to draw."""
        if not (state.is_world_process_zero and self._console.is_terminal):
            return
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} steps{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bar.add_task(self._name, total=state.max_steps, completed=state.global_step, figures="")
        self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Move on by a step."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **more: Any,
    ) -> None:
        """Show the newest figures."""
        if self._bar is None or "loss" not in logs:
            return
        figures = f" · loss {logs['loss']:.3f}"
        if "num_tokens" in logs:
            figures += f" · {logs['num_tokens'] / (time.monotonic() - self._began):,.0f} tokens/s"
        self._bar.update(self._bar.task_ids[0], figures=figures)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Let go of the terminal."""
        self.close()

    def close(self) -> None:
        """Stop drawing, also when training ended by an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
