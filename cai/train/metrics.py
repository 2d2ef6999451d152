"""metrics.jsonl: one line a logged step or evaluation, in the order in which they happened.

The trainer's own history is the truth: when training begins, also from a checkpoint, the file is written anew from it,
so that steps after the checkpoint, which are taken again, never appear twice. After that lines are appended.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cai.train.folder import METRICS, TrainingFolder


class MetricsFile(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Writes the file from the main process."""

    def __init__(self, folder: TrainingFolder) -> None:
        self._folder = folder

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Write what the checkpoint remembers."""
        if state.is_world_process_zero:
            self._folder.write(METRICS, b"".join(line(entry) for entry in measured(state.log_history)))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Append the newest entry."""
        if not state.is_world_process_zero or not measured(state.log_history[-1:]):
            return
        self._folder.append(METRICS, line(state.log_history[-1]))


def line(entry: dict[str, Any]) -> bytes:
    """Return one line of the file; what is not a number (nan, inf) becomes null."""
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)


def measured(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of steps and evaluations, without the trainer's closing summary."""
    return [entry for entry in history if "train_runtime" not in entry]


def losses(history: Sequence[Mapping[str, Any]], name: str = "loss") -> list[tuple[int, float]]:
    """Return (step, value) of one measure (`loss`, `eval_loss`, `rewards/margins`, …) wherever it was measured."""
    return [(entry["step"], entry[name]) for entry in history if entry.get(name) is not None]


def tokens_seen(history: list[dict[str, Any]], after: int = 0) -> int:
    """Return the tokens of all steps behind the step `after`.

    A resumed trainer goes on with the count of its checkpoint, or counts from 0 again, which shows as a fall.
    """
    total, before = 0, 0
    for step, count in losses(history, "num_tokens"):
        if step > after:
            total += int(count) - before if count >= before else int(count)
        before = int(count)
    return total
