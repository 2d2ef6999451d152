"""Which examples every step holds: schedules over tasks, and curricula; drawn from the seed and the step alone.

| schedule | a step's examples | an epoch |
|---|---|---|
| proportional | as they come in the shuffled mixture | as many steps as show every example of the mixture once |
| alternating | all of one task; tasks take turns | until the task with most examples was shown once, others oftener |
| balanced | as many of each task | as with alternating |

Without a curriculum each task (proportional: the mixture) is gone through in whole passes, one after the other, each
shuffled anew: every example comes once before any comes again, across epochs, too. With one, an epoch has as many
steps, and each step draws from what is open by then (`cai.train.tasks.pace`). Nothing is remembered between steps, so a
resumed run sees what an undisturbed one would have seen.

A step is cut into batches, always as many. Where tasks must be told apart each holds examples of one task alone, and
batches may be of different sizes: no more than fit at a time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from cai.core.identity import derive_seed
from cai.train.data.mixing import Indices
from cai.train.settings import TaskSettings
from cai.train.tasks.pace import competence, easiest_first, opened


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """The examples that go through the model at a time, as indices; `task` is None where tasks are not told apart."""

    task: int | None
    examples: Indices


@dataclass(frozen=True, slots=True)
class StepSize:
    """How many examples a step holds, how many of them fit at a time, and how many steps the whole training has.

    `steps` is None where it is as many epochs as `epochs` says.
    """

    examples: int
    at_once: int
    steps: int | None
    epochs: float

    def total(self, epoch: int) -> int:
        """Return the steps of the whole training, an epoch having so many."""
        return self.steps or math.ceil(self.epochs * epoch)


def steps_per_epoch(settings: TaskSettings, counts: Sequence[int], size: StepSize) -> int:
    """Return an epoch's steps for tasks with so many examples."""
    if settings.schedule == "alternating":
        return len(counts) * math.ceil(max(counts) / size.examples)
    if settings.schedule == "balanced":
        return math.ceil(max(counts) / (size.examples // len(counts)))
    return math.ceil(sum(counts) / size.examples)


def batches_per_step(settings: TaskSettings, tasks: int, size: StepSize) -> int:
    """Return into how many batches a step is cut: enough for any split of it between tasks, where those are apart."""
    extra = tasks - 1 if tells_apart(settings) and settings.schedule != "alternating" else 0
    return min(math.ceil(size.examples / size.at_once) + extra, size.examples)


def tells_apart(settings: TaskSettings) -> bool:
    """Tell whether a batch holds one task's examples alone."""
    return settings.schedule in ("alternating", "balanced") or bool(settings.task_weight)


class StepOrder:
    """The batches of every step."""

    def __init__(
        self,
        tasks: NDArray[np.int32],
        difficulty: NDArray[np.float64] | None,
        lengths: NDArray[np.int64] | None,
        settings: TaskSettings,
        size: StepSize,
        seed: int,
    ) -> None:
        """`tasks` has every example's task; a curriculum needs each one's `difficulty`. Like `lengths` go together.

        `settings` have the schedule filled in, and every task has examples.
        """
        self._schedule = settings.schedule
        self._apart = tells_apart(settings)
        self._pace = settings.pace
        self._tasks, self._lengths, self._seed, self._size = tasks, lengths, seed, size
        whole = np.arange(len(tasks), dtype=np.int64)
        self._of_task: list[Indices] = [whole[tasks == number] for number in np.unique(tasks)]
        self._ranked = (
            None
            if difficulty is None
            else [
                easiest_first(part, difficulty, derive_seed(seed, "ties", number))
                for number, part in enumerate(self._of_task)
            ]
        )
        self._shuffled = lru_cache(maxsize=2 * len(self._of_task))(self._shuffle)
        counts = [len(part) for part in self._of_task]
        self.steps_per_epoch = steps_per_epoch(settings, counts, size)
        self.batches_per_step = batches_per_step(settings, len(counts), size)
        self._full = settings.pace_share * size.total(self.steps_per_epoch)

    def step(self, number: int) -> list[TaskBatch]:
        """Return the batches of a step, counted from 0."""
        examples = self._drawn(number)
        if self._lengths is not None:
            examples = examples[np.argsort(self._lengths[examples], kind="stable")]
        if not self._apart:
            return [TaskBatch(None, part) for part in np.array_split(examples, self.batches_per_step)]
        groups = [(int(task), examples[self._tasks[examples] == task]) for task in np.unique(self._tasks[examples])]
        cuts = [math.ceil(len(group) / self._size.at_once) for _, group in groups]
        while sum(cuts) < self.batches_per_step:  # as many batches every time: cut the largest further
            place = max(range(len(groups)), key=lambda place: len(groups[place][1]) / cuts[place])
            cuts[place] += 1
        return [
            TaskBatch(task, part)
            for (task, group), cut in zip(groups, cuts, strict=True)
            for part in np.array_split(group, cut)
        ]

    def _drawn(self, number: int) -> Indices:
        size, count = self._size.examples, len(self._of_task)
        if self._schedule == "alternating":
            return self._taken(number % count, number // count * size, size, number)
        if self._schedule == "balanced":
            share = size // count
            parts = [self._taken(task, number * share, share, number) for task in range(count)]
            return np.concatenate(parts)
        if self._ranked is None:
            return self._pass(None, number * size, size)
        # The same share of every task, so large that a step's examples are open between them.
        share_open = max(competence(self._pace, number, self._full), min(size / len(self._tasks), 1.0))
        return self._draw([opened(ranked, share_open, 1) for ranked in self._ranked], size, number)

    def _taken(self, task: int, start: int, size: int, step: int) -> Indices:
        """Return a task's next examples: `start` of them were taken before, if nothing is ranked."""
        if self._ranked is None:
            return self._pass(task, start, size)
        share_open = competence(self._pace, step, self._full)
        return self._draw([opened(self._ranked[task], share_open, size)], size, step, task)

    def _draw(self, pools: Sequence[Indices], size: int, *what: int) -> Indices:
        pool = np.concatenate(pools)
        generator = np.random.default_rng(derive_seed(self._seed, "curriculum", *what))
        drawn: Indices = generator.choice(pool, size, replace=len(pool) < size)
        return drawn

    def _pass(self, task: int | None, start: int, size: int) -> Indices:
        """Return the examples at these places of endless passes over a task, or over all."""
        count = len(self._tasks) if task is None else len(self._of_task[task])
        found = [
            self._shuffled(task, passed)[max(start - passed * count, 0) : start + size - passed * count]
            for passed in range(start // count, (start + size - 1) // count + 1)
        ]
        return np.concatenate(found)

    def _shuffle(self, task: int | None, passed: int) -> Indices:
        examples = np.arange(len(self._tasks), dtype=np.int64) if task is None else self._of_task[task]
        what = "mixture" if task is None else f"task {task}"
        return np.random.default_rng(derive_seed(self._seed, "pass", what, passed)).permutation(examples)


class StepBatches(Sampler[list[int]]):
    """The batches of an epoch's steps, for a data loader."""

    def __init__(self, order: StepOrder) -> None:
        self._order = order
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._order.steps_per_epoch * self._order.batches_per_step

    def __iter__(self) -> Iterator[list[int]]:
        first = self._epoch * self._order.steps_per_epoch
        for number in range(first, first + self._order.steps_per_epoch):
            for batch in self._order.step(number):
                yield batch.examples.tolist()
