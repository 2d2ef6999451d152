"""A trainer that tells the tasks of `--data` apart: what a step holds, each task's loss weight, gradients, evaluation.

With w the weight of a task's loss (1 on average), n its share of the step's tokens or examples and k the number of
tasks, a step's loss is the sum over its tasks of

    w n L (proportional)        w L (alternating: a step has one task)        w L / k (balanced)

where L is the method's own loss, averaged over what the step holds of the task: the tokens that are learned where the
method averages over tokens, examples elsewhere. With PCGrad the gradients of these terms are projected before they are
added up (`cai.train.tasks.surgery`).

At an evaluation every task is measured on its own part of the test split. `eval_loss`, by which the best checkpoint and
the end of patience are told, is the mean of the tasks' losses, weighed as in training: a task counts by its weight, and
not by how many examples of it happen to be held out.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers.modeling_layers import GradientCheckpointingLayer

from cai.core.errors import InputError
from cai.core.identity import derive_seed
from cai.train.data.collecting import DIFFICULTY, LENGTH, TASK
from cai.train.settings import FitSettings
from cai.train.tasks.gradients import TaskGradients
from cai.train.tasks.interference import name_cosines
from cai.train.tasks.order import StepBatches, StepOrder, StepSize, TaskBatch, tells_apart
from cai.train.tasks.planning import BY_LENGTH, BY_LOSS, PROBED, TaskPlan, tell_unmeasured
from cai.train.tasks.surgery import Matrix, cosines, projected
from cai.train.trainers.base import BaseTrainer

_RECORDS = ("_metrics", "_stored_metrics", "_notes", "_total_train_tokens")
_UNMEASURABLE = "--task-gradients measured: of two tasks no held-out example is left within --max-length"
_OF_MEASURING = ("runtime", "samples_per_second", "steps_per_second", "num_tokens", "model_preparation_time")


class TaskedTrainer(BaseTrainer):
    """As any trainer of cai, until `take_tasks` is called: once, when it is built and before it trains."""

    train_dataset: Dataset
    eval_dataset: Any
    compute_loss: Any

    _tasks: TaskPlan | None = None
    _order: StepOrder | None = None
    _gradients: TaskGradients | None = None
    _place = 0
    _scale: float | None = None
    _scales: tuple[tuple[int, float], ...] = ()
    _tests: Mapping[str, Dataset] = MappingProxyType({})

    def take_tasks(self, tasks: TaskPlan, fit: FitSettings, at_once: int, seed: int) -> None:
        """Train on these tasks; the examples have the column `task`, but for those that are packed to be trained on.

        Raises InputError when a task has no example left.
        """
        self._tasks, self._seed = tasks, seed
        self._cosines: list[Matrix] = []
        if tasks.ordered:
            self._take_order(tasks, fit, at_once)
        self._take_tests(tasks)
        self.train_dataset = _without_marks(self.train_dataset)
        if self._kept_apart:
            self._gradients = TaskGradients(self.model.parameters(), len(tasks.names))

    @property
    def _kept_apart(self) -> bool:
        return self._tasks is not None and self._tasks.settings.task_gradients != "summed"

    def _take_order(self, tasks: TaskPlan, fit: FitSettings, at_once: int) -> None:
        dataset = self.train_dataset
        numbers = np.asarray([value[0] if isinstance(value, list) else value for value in dataset[TASK]], np.int32)
        for number, name in enumerate(tasks.names):
            if not (numbers == number).any():
                raise InputError(f"no example of the task {name} is left to learn from within --max-length")
        assert fit.batch_size is not None and fit.epochs is not None  # noqa: S101, PT018  (the plan filled them in)
        per_step = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        if per_step < fit.batch_size:  # pairs of one prompt are one element of a batch
            at_once = self.args.per_device_train_batch_size
        count = len(tasks.names)
        per_step = -(-per_step // count) * count if tasks.settings.schedule == "balanced" else per_step
        size = StepSize(per_step, at_once, fit.max_steps, fit.epochs)
        lengths = _lengths(dataset)
        self._order = StepOrder(numbers, self._difficulty(lengths), lengths, tasks.settings, size, self._seed)
        self.args.gradient_accumulation_steps = self._order.batches_per_step
        if tells_apart(tasks.settings):
            self.compute_loss = self._scaled(self.compute_loss)  # with what subclasses add

    def _difficulty(self, lengths: NDArray[np.int64]) -> NDArray[np.float64] | None:
        assert self._tasks is not None  # noqa: S101
        source = self._tasks.settings.curriculum
        if source is None:
            return None
        if source == BY_LENGTH:
            return lengths.astype(np.float64)
        if source == BY_LOSS:
            return self._first_losses()
        values = self.train_dataset[DIFFICULTY]
        return np.asarray([np.mean(value) for value in values], np.float64)

    def _first_losses(self) -> NDArray[np.float64]:
        """Return every example's loss, as the method has it, under the model as it is."""
        examples = self._remove_unused_columns(_without_marks(self.train_dataset), description="training")
        loader = DataLoader(examples, batch_size=1, collate_fn=self.data_collator)
        self.model.eval()
        with self._unrecorded():
            losses = [float(self.prediction_step(self.model, batch, True)[0]) for batch in loader]
        if not np.isfinite(losses).all():
            raise InputError("--curriculum loss: the model's loss on an example is no number before training")
        return np.asarray(losses, np.float64)

    def _take_tests(self, tasks: TaskPlan) -> None:
        test = self.eval_dataset
        measured = tasks.settings.task_gradients == "measured"
        if test is None or TASK not in test.column_names:
            if measured:
                raise InputError(_UNMEASURABLE)
            return
        numbers = np.asarray([value[0] if isinstance(value, list) else value for value in test[TASK]], np.int32)
        parts = {
            name: _without_marks(test.select(np.flatnonzero(numbers == number)))
            for number, name in enumerate(tasks.names)
            if (numbers == number).any()
        }
        if measured and len(parts) < 2:
            raise InputError(_UNMEASURABLE)
        gone = [name for name, held in zip(tasks.names, tasks.held_out, strict=True) if held and name not in parts]
        if gone:
            self.remarks = (*self.remarks, f"within --max-length {tell_unmeasured(gone)}")
        self.eval_dataset = _without_marks(test)
        self._tests = parts if len(tasks.names) > 1 else {}

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return what yields the steps' batches."""
        if self._order is None:
            loader: DataLoader[Any] = super().get_train_dataloader()
            return loader
        dataset = self._remove_unused_columns(self.train_dataset, description="training")
        prepared: DataLoader[Any] = self.accelerator.prepare(
            DataLoader(
                dataset,
                batch_sampler=StepBatches(self._order),
                collate_fn=self.data_collator,
                num_workers=self.args.dataloader_num_workers,
                pin_memory=self.args.dataloader_pin_memory,
            )
        )
        return prepared

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """Return a step's batches, as transformers does, and work out what each counts."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self._order is not None and self._tasks is not None and tells_apart(self._tasks.settings):
            self._place = 0
            self._scales = tuple(self._counted(batches, items, self._order.step(self.state.global_step), device))
        return batches, items

    def _counted(
        self, batches: list[Any], items: Any, step: list[TaskBatch], device: torch.device
    ) -> list[tuple[int, float]]:
        """Return each batch's task, and what its loss is multiplied by.

        A loss that is scaled for gradient accumulation is a sum over `items`, the step's; any other is the batch's mean
        and will be divided by the number of batches.
        """
        assert self._tasks is not None  # noqa: S101
        settings, weights = self._tasks.settings, self._tasks.weights
        of_task: dict[int, list[int]] = {}
        for place, batch in enumerate(step):
            of_task.setdefault(int(batch.task or 0), []).append(place)
        summed = items is not None and self.loss_is_scaled_for_ga is not False
        sizes = [len(batch.examples) for batch in step]
        totals = {
            task: float(self._get_num_items_in_batch([batches[place] for place in places], device))
            if summed
            else float(sum(sizes[place] for place in places))
            for task, places in of_task.items()
        }
        whole = sum(totals.values())
        found = []
        for batch, size in zip(step, sizes, strict=True):
            task = int(batch.task or 0)
            share = totals[task] / whole if settings.schedule == "proportional" else 1.0 / len(of_task)
            part = float(items) / totals[task] if summed else len(step) * size / totals[task]
            found.append((task, weights[task] * share * part))
        return found

    def _scaled(self, compute_loss: Callable[..., Any]) -> Callable[..., Any]:
        def scaled(*positional: Any, **keywords: Any) -> Any:
            found = compute_loss(*positional, **keywords)
            if self._scale is None:
                return found
            return (found[0] * self._scale, *found[1:]) if isinstance(found, tuple) else found * self._scale

        return scaled

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return a batch's part of the step's loss; behind the step's last batch the gradients are put together."""
        if not self._scales:
            return super().training_step(model, inputs, num_items_in_batch)
        task, self._scale = self._scales[self._place]
        self._place += 1
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        finally:
            self._scale = None
        if self._gradients is not None and self._tasks is not None and self._tasks.settings.task_gradients == "pcgrad":
            self._gradients.take(task)
            if self._place == len(self._scales):
                self._operate(self._gradients)
        return loss

    def _operate(self, gradients: TaskGradients) -> None:
        """Give the parameters the sum of the tasks' projected gradients."""
        products = gradients.products()
        draw = np.random.default_rng(derive_seed(self._seed, "surgery", self.state.global_step))
        orders = [draw.permutation(len(products)).tolist() for _ in products]
        gradients.put_together(projected(products, orders).sum(axis=0))
        self._cosines.append(cosines(products))

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Return what is measured of every task, as `eval_TASK_…`, and the tasks' mean as `eval_…`."""
        if eval_dataset is not None or not self._tests:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        before, whole = len(self.state.log_history), self.eval_dataset
        self.eval_dataset = self._tests  # transformers evaluates each of them, and calls this method for it
        try:
            measured = super().evaluate(None, ignore_keys, metric_key_prefix)
        finally:
            self.eval_dataset = whole
        found = {name: value for entry in self.state.log_history[before:] for name, value in entry.items()}
        figures = self._means(found)
        if self._tasks is not None and self._tasks.settings.task_gradients == "measured":
            figures |= name_cosines(self._tasks.names, self._measured_cosines(), "eval_")
        self.log(dict(figures))
        measured |= figures
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, measured)
        return measured

    def _means(self, found: Mapping[str, float]) -> dict[str, float]:
        """Return the tasks' weighed means of what was measured of all of them."""
        assert self._tasks is not None  # noqa: S101
        weights = {name: self._tasks.weights[self._tasks.names.index(name)] for name in self._tests}
        first = f"eval_{next(iter(weights))}_"
        means = {}
        for key in (name.removeprefix(first) for name in found if name.startswith(first)):
            values = [found.get(f"eval_{name}_{key}") for name in weights]
            if key not in _OF_MEASURING and all(value is not None for value in values):
                means[f"eval_{key}"] = float(np.average(np.asarray(values, float), weights=list(weights.values())))
        return means

    def _measured_cosines(self) -> Matrix:
        """Return the cosine of every two tasks' gradients, over held-out examples of each."""
        assert self._gradients is not None and self._tasks is not None  # noqa: S101, PT018
        self.model.eval()
        with self._unrecorded(), _computing_again(self.model):
            for number, name in enumerate(self._tasks.names):
                test = self._tests.get(name)
                if test is None:
                    continue
                places = np.unique(np.linspace(0, len(test) - 1, min(PROBED, len(test))).astype(int))
                loader = self.get_eval_dataloader(test.select(places))
                for batch in loader:
                    with torch.enable_grad(), self.compute_loss_context_manager():
                        loss = self.compute_loss(self.model, self._prepare_inputs(batch))
                    self.accelerator.backward(loss / len(loader))
                self._gradients.take(number)
        found = cosines(self._gradients.products())
        self._gradients.forget()
        self.optimizer.zero_grad()  # of what is trained beside the model
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what is measured, of a task under its name, and the mean cosines of the steps since the last line."""
        if self._tasks is not None and self._cosines and "loss" in logs:
            logs |= name_cosines(self._tasks.names, np.mean(self._cosines, axis=0))
            self._cosines.clear()
        if self._tasks is not None and (name := self._measured_task(logs)) is not None:
            for key in [key for key in logs if key.startswith("eval_") and not key.startswith(f"eval_{name}_")]:
                logs[f"eval_{name}_{key.removeprefix('eval_')}"] = logs.pop(key)
            for record in (getattr(self, attribute, {}).get("eval", {}) for attribute in _RECORDS[:2]):
                for key in list(record):
                    # ORPO's keys say already that they are an evaluation's.
                    prefix = "eval_" if key.startswith("eval_") else ""
                    record[f"{prefix}{name}_{key.removeprefix('eval_')}"] = record.pop(key)
        super().log(logs, start_time)

    def _measured_task(self, logs: Mapping[str, float]) -> str | None:
        """Return the task whose part of the test split was measured, by what is logged of it."""
        assert self._tasks is not None  # noqa: S101
        return next((name for name in self._tasks.names if f"eval_{name}_loss" in logs), None)

    @contextmanager
    def _unrecorded(self) -> Iterator[None]:
        """Let no loss that is computed inside the block count among those that the trainer logs."""
        kept = {name: copy.deepcopy(getattr(self, name)) for name in _RECORDS if hasattr(self, name)}
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(self, name, value)


@contextmanager
def _computing_again(model: Any) -> Iterator[None]:
    """Let layers compute activations again in the backward pass where they do in training, though nothing is dropped.

    transformers' layers ask whether they train; what is inside them goes on as in an evaluation.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False


def _without_marks(dataset: Dataset) -> Dataset:
    return dataset.remove_columns([name for name in (TASK, DIFFICULTY) if name in dataset.column_names])


def _lengths(dataset: Dataset) -> NDArray[np.int64]:
    """Return how many tokens an example has."""
    if LENGTH in dataset.column_names:
        return np.asarray(dataset[LENGTH][:], np.int64)
    columns = [name for name in dataset.column_names if name in ("chosen_input_ids", "rejected_input_ids", "input_ids")]
    lengths: NDArray[np.int64] = np.sum([[len(ids) for ids in dataset[name]] for name in columns], 0, np.int64)
    return lengths
