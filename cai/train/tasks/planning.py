"""What a training on several tasks will do, settled before any weights are loaded, and the mistakes told.

A task is an item of `--data`. It is named after it: the last part of its path without the ending.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import PurePath

from cai.core.errors import UsageError
from cai.data.formats import suffix_of
from cai.train.data.collecting import CERTAINTY
from cai.train.data.examples import ExamplePart
from cai.train.data.mixing import parse_parts
from cai.train.methods.descriptor import TrainingMethod
from cai.train.settings import TaskSettings, TrainSettings
from cai.train.tasks.order import StepSize, batches_per_step, steps_per_epoch, tells_apart
from cai.train.tasks.pace import FIRST

BY_LENGTH, BY_LOSS = "length", "loss"
"""The curricula that are worked out from tokens, and by the model as it is before training."""

MOST_TASKS = 8
"""That gradients are kept apart for: a gradient of each is held."""
PROBED = 64
"""Held-out examples of a task, at most, whose gradient is measured at an evaluation."""

_NOT_A_WORD = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The tasks by name, in the order of `--data`; the settings, filled in; and what a step and an epoch are.

    `weights` are those of the tasks' losses, 1 on average; `held_out` counts each one's examples in the test split,
    which prompts that are too long will leave. `gradient_bytes` are those of one task's gradient. `epoch`
    and `total` count steps, about: examples that are too long are not known yet.
    """

    names: tuple[str, ...]
    settings: TaskSettings
    weights: tuple[float, ...]
    held_out: tuple[int, ...]
    batch: int
    batches: int
    epoch: int
    total: int
    gradient_bytes: int

    @property
    def ordered(self) -> bool:
        """Whether the steps' examples are other than those of a mixture that is shuffled anew every epoch."""
        return is_ordered(self.settings)

    def sentences(self) -> list[str]:
        """Return what there is to say, for people."""
        said, settings, count = [], self.settings, len(self.names)
        names = ", ".join(self.names)
        if settings.schedule == "alternating":
            said.append(f"tasks {names} take turns, a step each; an epoch is {self.epoch:,} steps: the largest once")
        elif settings.schedule == "balanced":
            said.append(
                f"tasks {names} have {self.batch // count} examples each in every step; an epoch is {self.epoch:,} "
                "steps: the largest task once"
            )
        if settings.task_weight:
            told = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(self.names, self.weights, strict=True))
            said.append(f"the tasks' losses are weighed: {told}")
        if any(self.held_out) and not all(self.held_out):
            said.append(
                tell_unmeasured([name for name, held in zip(self.names, self.held_out, strict=True) if not held])
            )
        held = f"{count} gradients of {self.gradient_bytes / 1e6:,.1f} MB are held"
        if settings.task_gradients == "pcgrad":
            said.append(
                f"PCGrad: {held}, and a step of {self.batch} examples takes {self.batches} backward passes, one for "
                "each batch of one task"
            )
        elif settings.task_gradients == "measured":
            said.append(
                f"the tasks' gradients are compared at every evaluation: {held} meanwhile, and {PROBED} held-out "
                "examples of each task, or fewer, go forward and back once more"
            )
        if settings.curriculum is not None:
            full = ceil(settings.pace_share * self.total)
            first = ", after a forward pass over every example" if settings.curriculum == BY_LOSS else ""
            said.append(
                f"curriculum by {settings.curriculum}{first}: the easiest {FIRST:.0%} of each task at step 1, "
                f"everything from step {full + 1:,} of about {self.total:,} on, by the pace {settings.pace}"
            )
        return said


def tell_unmeasured(names: Sequence[str]) -> str:
    """Return what to know of tasks without a held-out example, beside others that have some."""
    one = len(names) == 1
    return (
        f"{'the task' if one else 'the tasks'} {', '.join(names)} {'has' if one else 'have'} no held-out example: "
        "eval_loss, the best checkpoint and --patience go by the others"
    )


def is_ordered(settings: TaskSettings) -> bool:
    """Tell whether the settings change which examples a step holds, or how they are cut into batches."""
    return tells_apart(settings) or settings.curriculum is not None


def settle_tasks(method: TrainingMethod, settings: TrainSettings, processes: int) -> TaskSettings:
    """Return the settings with the schedule filled in; raises UsageError for what cannot be meant, or done."""
    tasks, count = settings.tasks, len(settings.data.data)
    if not method.by_task and tasks != TaskSettings():
        raise UsageError(f"{method.name} cannot tell tasks apart, nor order its examples; leave out {_given(tasks)[0]}")
    surgery = tasks.task_gradients == "pcgrad"
    if tasks.schedule is None:
        tasks = replace(tasks, schedule="balanced" if surgery else "proportional")
    if not is_ordered(tasks) and tasks.task_gradients == "summed":
        if tasks != TaskSettings(schedule="proportional"):
            raise UsageError("--pace and --pace-share are a curriculum's; give --curriculum, too")
        return tasks
    several = tells_apart(tasks) or tasks.task_gradients != "summed"
    if several and count < 2:
        raise UsageError(
            f"{_given(settings.tasks)[0]} is about several tasks, and --data names one; name each as an item"
        )
    if tasks.task_weight and len(tasks.task_weight) != count:
        raise UsageError(f"--task-weight is given {len(tasks.task_weight)} times, and --data names {count} tasks")
    _check_schedule(tasks, settings)
    _check_gradients(tasks, settings, count)
    _check_curriculum(method, tasks)
    if processes > 1:
        raise UsageError(
            f"{_given(settings.tasks)[0]} works in one process: {processes} would see other steps than it says, "
            "and hold parts of gradients"
        )
    if is_ordered(tasks) and settings.fit.packing:
        raise UsageError(f"--packing mixes tasks and lengths in a sequence; leave it out, or {_given(tasks)[0]}")
    return tasks


def shared_batch(batch: int, settings: TaskSettings, tasks: int) -> int:
    """Return a batch size that nobody named, rounded up to what a schedule can share out."""
    return -(-batch // tasks) * tasks if settings.schedule == "balanced" else batch


def plan_tasks(
    settings: TrainSettings, parts: Sequence[ExamplePart], at_once: int, gradient_bytes: int
) -> TaskPlan | None:
    """Return the plan, or None where there is one task in no order of its own; open numbers are filled in.

    Raises UsageError when the batch cannot be shared out.
    """
    tasks, fit, count = settings.tasks, settings.fit, len(parts)
    if count < 2 and not is_ordered(tasks):
        return None
    assert fit.batch_size is not None and fit.epochs is not None  # noqa: S101, PT018  (the plan filled them in)
    if tasks.schedule == "balanced" and fit.batch_size % count:
        raise UsageError(f"--batch-size {fit.batch_size} cannot be shared by {count} tasks; give a multiple of them")
    held_out = tuple(part.test for part in parts)
    if tasks.task_gradients == "measured" and sum(map(bool, held_out)) < 2:
        raise UsageError(
            "--task-gradients measured compares held-out examples of the tasks, and "
            f"{'one of them has' if any(held_out) else 'none has'} any; give a larger --test-share"
        )
    size = StepSize(fit.batch_size, at_once, fit.max_steps, fit.epochs)
    epoch = steps_per_epoch(tasks, [part.train for part in parts], size)
    mean = sum(tasks.task_weight) / count if tasks.task_weight else 1.0
    return TaskPlan(
        names=_names([part.name for part in parts]),
        settings=tasks,
        weights=tuple(weight / mean for weight in tasks.task_weight) or (1.0,) * count,
        held_out=held_out,
        batch=fit.batch_size,
        batches=batches_per_step(tasks, count, size),
        epoch=epoch,
        total=size.total(epoch),
        gradient_bytes=gradient_bytes,
    )


def _check_schedule(tasks: TaskSettings, settings: TrainSettings) -> None:
    parts = parse_parts(settings.data)
    weighted = settings.data.mixing_temperature != 1.0 or any(part.weight is not None for part in parts)
    if tasks.schedule != "proportional" and weighted:
        raise UsageError(
            f"--schedule {tasks.schedule} gives every task the same share; leave out the weights in --data and "
            "--mixing-temperature, or weigh the losses with --task-weight"
        )
    if tasks.task_gradients == "pcgrad" and tasks.schedule != "balanced":
        raise UsageError("--task-gradients pcgrad needs every task in every step; leave --schedule out, or balanced")


def _check_gradients(tasks: TaskSettings, settings: TrainSettings, count: int) -> None:
    if tasks.task_gradients != "summed" and count > MOST_TASKS:
        raise UsageError(f"--task-gradients {tasks.task_gradients} holds a gradient of each task, {MOST_TASKS} at most")
    if tasks.task_gradients == "measured" and not settings.data.test_share:
        raise UsageError("--task-gradients measured looks at held-out examples; give --test-share more than 0")


def _check_curriculum(method: TrainingMethod, tasks: TaskSettings) -> None:
    if tasks.curriculum is None:
        if (tasks.pace, tasks.pace_share) != (TaskSettings().pace, TaskSettings().pace_share):
            raise UsageError("--pace and --pace-share are a curriculum's; give --curriculum, too")
        return
    if not 0.0 < tasks.pace_share <= 1.0:
        raise UsageError(f"--pace-share must be more than 0 and at most 1, not {tasks.pace_share:g}")
    if tasks.curriculum == BY_LOSS and not method.first_loss:
        raise UsageError(
            f"--curriculum loss: before training {method.name}'s loss says nothing of a single example; order by "
            "length, certainty or a column"
        )
    if tasks.curriculum == CERTAINTY and method.data != "pairs":
        raise UsageError(f"--curriculum certainty is that of pairs' labels, and {method.name} learns from no pairs")


def difficulty_source(settings: TaskSettings) -> str | None:
    """Return what of a curriculum the data says (`certainty`, or a column), or None where tokens or the model do."""
    return None if settings.curriculum in (BY_LENGTH, BY_LOSS) else settings.curriculum


def _given(tasks: TaskSettings) -> list[str]:
    """Return the options that are not as they are left alone, as they are typed."""
    plain = TaskSettings()
    names = ("schedule", "task_weight", "task_gradients", "curriculum", "pace", "pace_share")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(tasks, name) != getattr(plain, name)]


def _names(paths: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for path in paths:
        last = PurePath(path.rstrip("/")).name
        last = last[: len(last) - len(suffix_of(last) or "")] or last
        first = name = _NOT_A_WORD.sub("-", last).strip("-") or "task"
        number = 1
        while name in names:
            number += 1
            name = f"{first}-{number}"
        names.append(name)
    return tuple(names)
