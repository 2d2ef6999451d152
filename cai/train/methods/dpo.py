"""DPO (arXiv 2305.18290) whose labels may be soft, pair by pair.

With probability p that the chosen answer is better, and Δ the difference of the two log-ratios to the reference,

    L = -p·log sigmoid(β·Δ) - (1-p)·log sigmoid(-β·Δ)

which is conservative DPO (Mitchell, "A note on DPO with noisy preferences", 2023) with a p of each pair's own: the
soft-label form that GDPO (arXiv 2409.06691) sets out from. Since
log sigmoid(-x) = log sigmoid(x) - x, the loss is -log sigmoid(β·Δ) + (1-p)·β·Δ: TRL's own loss plus a term that is
linear in Δ. So TRL computes what it always does, and we add the term from the log-probabilities that passed by; at
p = 1 it adds exactly nothing.

The reference is the policy as it was loaded, or with the adapter disabled: its log-probabilities are computed once,
before the first step. That costs what an epoch of reference passes would, needs no second model in memory, and can not
pick up the wrong reference (left alone, TRL reloads one from the path in the model's configuration).
"""

import copy
import math
import os
from collections import Counter
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from cai.core.errors import UsageError
from cai.train.context import Context
from cai.train.lengths import Bucketed, sort_by_length
from cai.train.methods.reference import add_reference

PROBABILITY = "chosen_probability"
TOO_LONG = "prompt fills the maximal length"
ALIKE = "identical within the maximal length"
_TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")


def build_dpo(context: Context) -> Trainer:
    """Return the trainer, the reference's log-probabilities computed; raises InputError when no pair is left."""
    preference, fit = context.settings.preference, context.settings.fit
    if context.examples.train.column_names.count(PROBABILITY) == 0 and preference.labels == "soft":
        raise UsageError("--labels soft needs a column chosen_probability; use --labels hard")
    with_sft = preference.sft_term > 0
    configuration = DPOConfig(
        **context.arguments,
        max_length=fit.max_length,
        beta=preference.beta,
        loss_type=["sigmoid", "sft"] if with_sft else ["sigmoid"],
        loss_weights=[1.0, preference.sft_term] if with_sft else None,
        precompute_ref_log_probs=True,
    )
    # FSDP shards the policy only once training begins, so that the reference has to be a model of its own till then.
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" and context.adapter is None
    train, test = _labelled(context.examples.train, preference.labels), context.examples.test
    return SoftDPOTrainer(
        model=context.model,
        ref_model=copy.deepcopy(context.model) if sharded else None,
        args=configuration,
        data_collator=_Collator(pad_token_id=context.tokenizer.pad_token_id, max_length=fit.max_length),
        train_dataset=_enough(train, context),
        eval_dataset=None if test is None else _labelled(test, preference.labels),
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


class SoftDPOTrainer(Bucketed, DPOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer with a label of its own for each pair, on batches of like lengths.

    `left_out` counts pairs that cannot teach: the prompt leaves no room, or both answers are the same tokens.
    """

    def __init__(self, **keywords: Any) -> None:
        self.left_out = Counter()
        super().__init__(**keywords)

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: DPOConfig, dataset_name: str) -> Dataset:
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        limit = args.max_length
        different = prepared.filter(lambda pair: _cut(pair, "chosen_ids", limit) != _cut(pair, "rejected_ids", limit))
        self.left_out.update({TOO_LONG: len(dataset) - len(prepared), ALIKE: len(prepared) - len(different)})
        return sort_by_length(different, _TOKENS)

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
        listener = _Listener(model)
        result = super()._compute_loss(listener, _without_labels(inputs), return_outputs)
        answers = listener.log_probs[:, -(inputs["completion_mask"].size(1) - 1) :].sum(dim=1)
        chosen, rejected = answers.chunk(2)
        delta = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        softness = ((1.0 - inputs[PROBABILITY]) * self.beta * delta).mean()
        return (result[0] + softness, result[1]) if return_outputs else result + softness


class _Listener:
    """A model that remembers the log-probabilities of the first answer it gave, (sequences, tokens - 1)."""

    log_probs: torch.Tensor

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def __call__(self, **inputs: Any) -> Any:
        outputs = self._model(**inputs)
        if "fused_lm_head" in inputs:
            self.log_probs = outputs.log_probs
        return outputs


class _Collator(DataCollatorForPreference):  # type: ignore[misc]  # trl is not followed
    """TRL's collator, with each pair's probability."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        batch[PROBABILITY] = torch.tensor([example[PROBABILITY] for example in examples], dtype=torch.float32)
        return batch


def _without_labels(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != PROBABILITY}


def _labelled(dataset: Dataset, labels: str) -> Dataset:
    if labels == "soft":
        return dataset
    if PROBABILITY in dataset.column_names:
        dataset = dataset.remove_columns(PROBABILITY)
    return dataset.add_column(PROBABILITY, [1.0] * len(dataset))


def _enough(dataset: Dataset, context: Context) -> Dataset:
    """Return no more pairs than `--max-steps` can look at: each costs a pass of the reference."""
    fit = context.settings.fit
    if fit.max_steps is None or fit.batch_size is None:
        return dataset
    needed = math.ceil(fit.max_steps * fit.batch_size)
    return dataset.select(range(needed)) if needed < len(dataset) else dataset


def _cut(pair: dict[str, list[int]], answer: str, limit: int | None) -> list[int]:
    return (pair["prompt_ids"] + pair[answer])[:limit]
