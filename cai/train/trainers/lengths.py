"""Batches of examples of about the same length, so that little of a batch is padding; and SFT's trainer, on such.

The order is drawn from the seed and the epoch alone: a resumed run sees what the undisturbed one would have seen, which
transformers' own length-grouped sampler (drawn from the global generator) does not promise.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from torch.utils.data import Sampler
from trl import SFTConfig, SFTTrainer

from cai.core.errors import InputError
from cai.core.identity import derive_seed
from cai.train.data.collecting import LENGTH
from cai.train.trainers.tasked import TaskedTrainer

TOO_LONG = "nothing to learn from within the maximal length"
_BATCHES_PER_POOL = 50


class LengthSampler(Sampler[int]):
    """Shuffles, sorts pools of 50 batches by length, and shuffles the batches; every index comes once an epoch."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng(derive_seed(self._seed, "order", self._epoch))
        order = generator.permutation(len(self._lengths))
        pool = self._batch * _BATCHES_PER_POOL
        batches = []
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [part[at : at + self._batch] for at in range(0, len(part), self._batch)]
        # A short batch has to be the last, or all that follow would straddle two lengths.
        full = [batch for batch in batches if len(batch) == self._batch]
        short = [batch for batch in batches if len(batch) < self._batch]
        for index in generator.permutation(len(full)):
            yield from full[index].tolist()
        for batch in short:
            yield from batch.tolist()


class Bucketed(TaskedTrainer):
    """A trainer whose prepared training data has a column `length`."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int] | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if LENGTH not in dataset.column_names:
            sampler: Sampler[int] | None = super()._get_train_sampler(train_dataset)
            return sampler
        arguments = self.args
        batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        return LengthSampler(dataset[LENGTH][:], batch, arguments.seed)


class BucketedSFTTrainer(Bucketed, SFTTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer for SFT on batches of like lengths."""

    def __init__(self, *, eval_dataset: Dataset | None = None, **keywords: Any) -> None:
        self.left_out = Counter()
        super().__init__(eval_dataset=eval_dataset, **keywords)
        self.drop_empty_test(eval_dataset)

    def _prepare_dataset(
        self,
        dataset: Dataset,
        processing_class: Any,
        args: SFTConfig,
        packing: bool,
        formatting_func: None,
        dataset_name: str,
    ) -> Dataset:
        prepared = super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
        if packing:
            return prepared
        if dropped := len(dataset) - len(prepared):
            self.left_out[TOO_LONG] += dropped
        return sort_by_length(prepared, ("input_ids",), dataset_name)


def sort_by_length(dataset: Dataset, columns: Sequence[str], name: str) -> Dataset:
    """Return the dataset with a column `length`, the list columns' lengths added up, shortest first.

    `name` is what TRL calls the split, `train` or `eval`. Raises InputError when no example is left to train on.
    """
    if not len(dataset):
        if name != "train":
            return dataset
        raise InputError("no example is left to learn from: all are too long for --max-length, or teach nothing")
    table: Any = dataset.with_format("arrow")[:]
    total = np.sum([pc.list_value_length(table.column(name)).to_numpy() for name in columns], axis=0)
    return dataset.add_column(LENGTH, total.tolist()).select(np.argsort(total, kind="stable"))
