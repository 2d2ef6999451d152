"""KTO (arXiv 2402.01306): learning from single answers that are good or bad, without pairs.

Prospect theory's asymmetry is in two weights. The paper asks (equation 8) that the weight of all good answers together
be 1 to 4/3 of that of all bad ones; we take 1: the rarer side is weighted up to the other's size.

TRL estimates the KL term from neighbours in a batch, so the examples are seen in the order they are in, and a
micro-batch holds two at least. The reference is the policy as it was loaded, or with the adapter disabled: its
log-probabilities are computed once before the first step, so that no second model is loaded from the path that the
model's configuration happens to name.
"""

import copy
import os
from collections import Counter
from typing import Any

from datasets import Dataset
from transformers import Trainer
from trl import KTOConfig, KTOTrainer

from cai.core.errors import InputError, UsageError
from cai.train.context import Context
from cai.train.finite import StopsAtNan
from cai.train.methods.reference import add_reference

TOO_LONG = "prompt fills the maximal length"


def build_kto(context: Context) -> Trainer:
    """Return the trainer, the reference's log-probabilities computed.

    Raises InputError when good or bad answers are missing, UsageError when a micro-batch would hold a single example.
    """
    if context.arguments["per_device_train_batch_size"] < 2:
        raise UsageError("kto compares the answers of a batch, and one fits at a time: give a smaller --max-length")
    desirable, undesirable = balanced_weights(context.examples.train["label"])
    configuration = KTOConfig(
        **{**context.arguments, "train_sampling_strategy": "sequential"},
        max_length=context.settings.fit.max_length,
        beta=context.settings.preference.beta,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        precompute_ref_log_probs=True,
    )
    # FSDP shards the policy only once training begins, so that the reference has to be a model of its own till then.
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" and context.adapter is None
    return LoadedReferenceKTOTrainer(
        model=context.model,
        ref_model=copy.deepcopy(context.model) if sharded else None,
        args=configuration,
        train_dataset=context.examples.train,
        eval_dataset=context.examples.test,
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


def balanced_weights(labels: Any) -> tuple[float, float]:
    """Return the weights of good and bad answers, 1 for the side that has more; raises InputError when one has none.

    Law: good answers times their weight are bad answers times theirs.
    """
    good = sum(map(bool, labels))
    bad = len(labels) - good
    if not good or not bad:
        raise InputError(f"kto learns from good and bad answers, and the data has {good} good and {bad} bad ones")
    most = max(good, bad)
    return most / good, most / bad


class LoadedReferenceKTOTrainer(StopsAtNan, KTOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer; `left_out` counts the examples whose prompt leaves no room for an answer."""

    left_out: Counter[str]

    def __init__(self, **keywords: Any) -> None:
        self.left_out = Counter()
        super().__init__(**keywords)

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: KTOConfig, dataset_name: str) -> Dataset:
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if dropped := len(dataset) - len(prepared):
            self.left_out[TOO_LONG] += dropped
        if not len(prepared):
            raise InputError("no example is left to learn from: every prompt fills --max-length")
        return prepared

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
        return add_reference(self, dataset, batch_size, ("ref_logps", "ref_KL_logps"))
