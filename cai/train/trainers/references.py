"""DPO's and KTO's trainers, which hold the policy to a reference, and DPO's soft labels.

The reference is the policy as it was loaded, or with the adapter disabled: its log-probabilities are computed once,
before the first step. That costs what an epoch of reference passes would, needs no second model in memory, and can not
pick up the wrong reference (left alone, TRL reloads one from the path in the model's configuration). A later training
on the same examples from the same weights takes them from the one before (`reference_cache.py`).

The soft loss of DPO (`cai.train.methods.dpo`) is TRL's own plus a term that is linear in Δ, the difference of the two
log-ratios: since log sigmoid(-x) = log sigmoid(x) - x, it is -log sigmoid(β·Δ) + (1-p)·β·Δ. So TRL computes what it
always does, and we add the term from the log-probabilities that passed by; at p = 1 it adds exactly nothing.
"""

import copy
import os
from collections import Counter
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.models.utils import prepare_deepspeed
from trl.trainer.dpo_trainer import DataCollatorForPreference

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.data.examples.labels import PROBABILITY
from cai.train.context import Context
from cai.train.trainers.base import BaseTrainer
from cai.train.trainers.lengths import Bucketed, sort_by_length
from cai.train.trainers.reference_cache import hash_examples, keep_reference, key_of, read_reference

TOO_LONG = "prompt fills the maximal length"
ALIKE = "identical within the maximal length"
_TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")


def reference_model(context: Context) -> Any:
    """Return a copy of the policy where the policy itself cannot be asked before training, or None.

    FSDP shards the policy only once training begins, so that the reference has to be a model of its own till then.
    """
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" and context.adapter is None
    return copy.deepcopy(context.model) if sharded else None


class Referring(BaseTrainer):
    """A trainer whose reference is computed before the first step; `_weights` is what names it, None for nothing."""

    def __init__(self, *, weights: str | None, eval_dataset: Dataset | None, **keywords: Any) -> None:
        self._weights = weights
        super().__init__(eval_dataset=eval_dataset, **keywords)
        self.drop_empty_test(eval_dataset)


def add_reference(trainer: Any, dataset: Dataset, batch_size: int, columns: tuple[str, str]) -> Dataset:
    """Return the dataset with what `trainer.compute_ref_log_probs` says of every example, in two new columns.

    TRL's own way hands them over in a cache file, which the processes of one launch do not share for data in memory.
    """
    if not len(dataset):  # a test split of which nothing is left
        return dataset
    key = None
    if trainer._weights is not None:
        arithmetic = "bfloat16" if trainer.args.bf16 else "as the weights"
        settings = {"weights": trainer._weights, "examples": hash_examples(dataset), "arithmetic": arithmetic}
        key = key_of({**settings, "length": trainer.args.max_length, "device": trainer.args.device.type})
    told = [read_reference(key, columns, len(dataset)) if key and trainer.is_world_process_zero() else None]
    broadcast_object_list(told)
    found = told[0]
    if found is not None:
        same = f"what the reference says of {counted(len(dataset), 'example')} is known from an earlier training"
        trainer.remarks = (*trainer.remarks, same)
    else:
        found = _compute_reference(trainer, dataset, batch_size)
        if key and trainer.is_world_process_zero():
            keep_reference(key, dict(zip(columns, found, strict=True)))
    for column, values in zip(columns, found, strict=True):
        dataset = dataset.add_column(column, values)
    return dataset


def _compute_reference(trainer: Any, dataset: Dataset, batch_size: int) -> list[list[float]]:
    """Return the values of both columns, example by example."""
    model = trainer.ref_model or trainer.model
    if trainer.ref_model is None and trainer.is_deepspeed_enabled:
        model = prepare_deepspeed(trainer.model, trainer.accelerator)
    loader = trainer.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=trainer.data_collator))
    found: list[list[float]] = [[], []]
    for batch in loader:
        pair = trainer.accelerator.gather_for_metrics(trainer.compute_ref_log_probs(model, batch))
        for values, part in zip(found, pair, strict=True):
            values += part.tolist()
    return found


class SoftDPOTrainer(Referring, Bucketed, DPOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer with a label of its own for each pair, on batches of like lengths.

    `left_out` counts pairs that cannot teach: the prompt leaves no room, or both answers are the same tokens. Of those
    that are left to train on, `most` are taken.
    """

    def __init__(self, *, most: int | None = None, **keywords: Any) -> None:
        self.left_out = Counter()
        self._most = most
        super().__init__(**keywords)

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: DPOConfig, dataset_name: str) -> Dataset:
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        limit = args.max_length
        different = prepared.filter(lambda pair: _cut(pair, "chosen_ids", limit) != _cut(pair, "rejected_ids", limit))
        self.left_out.update({TOO_LONG: len(dataset) - len(prepared), ALIKE: len(prepared) - len(different)})
        if dataset_name == "train" and self._most is not None and self._most < len(different):
            different = different.select(range(self._most))
        return sort_by_length(different, _TOKENS, dataset_name)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if PROBABILITY not in self._signature_columns:
            self._signature_columns.append(PROBABILITY)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
        return add_reference(self, dataset, batch_size, ("ref_chosen_logps", "ref_rejected_logps"))

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Return the reference's log-probabilities of chosen and rejected answers, each of shape (pairs,)."""
        return super().compute_ref_log_probs(model, _without_labels(inputs))

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        recording = _RecordingModel(model)
        result = super()._compute_loss(recording, _without_labels(inputs), return_outputs)
        answers = recording.log_probs[:, -(inputs["completion_mask"].size(1) - 1) :].sum(dim=1)
        chosen, rejected = answers.chunk(2)
        delta = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        softness = ((1.0 - inputs[PROBABILITY]) * self.beta * delta).mean()
        return (result[0] + softness, result[1]) if return_outputs else result + softness


class _RecordingModel:
    """A model that records the log-probabilities of the first answer it gave, (sequences, tokens - 1)."""

    log_probs: torch.Tensor

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def __call__(self, **inputs: Any) -> Any:
        outputs = self._model(**inputs)
        if "fused_lm_head" in inputs:
            self.log_probs = outputs.log_probs
        return outputs


class ProbabilityCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is not followed
    """TRL's collator, with each pair's probability."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, padded."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch[PROBABILITY] = torch.tensor([example[PROBABILITY] for example in examples], dtype=torch.float32)
        return batch


class LoadedReferenceKTOTrainer(Referring, KTOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer; `left_out` counts the examples whose prompt leaves no room for an answer."""

    left_out: Counter[str]

    def __init__(self, **keywords: Any) -> None:
        self.left_out = Counter()
        super().__init__(**keywords)

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: KTOConfig, dataset_name: str) -> Dataset:
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if dropped := len(dataset) - len(prepared):
            self.left_out[TOO_LONG] += dropped
        if not len(prepared) and dataset_name == "train":
            raise InputError("no example is left to learn from: every prompt fills --max-length")
        return prepared

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
        return add_reference(self, dataset, batch_size, ("ref_logps", "ref_KL_logps"))


def _without_labels(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != PROBABILITY}


def _cut(pair: dict[str, list[int]], answer: str, limit: int | None) -> list[int]:
    return (pair["prompt_ids"] + pair[answer])[:limit]
