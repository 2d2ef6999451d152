"""Reward models' trainers: Bradley-Terry with soft labels on pairs, and regression on scores.

TRL's trainer knows hard labels only; as log s(-d) = log s(d) - d, the soft loss (`cai.train.methods.reward`) is TRL's
own plus (1-p) d, which is all we add: nothing at p = 1.
"""

from collections import Counter
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import DataCollatorWithPadding, EvalPrediction
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from cai.data.examples.labels import PROBABILITY
from cai.train.context import Context
from cai.train.trainers.lengths import Bucketed, sort_by_length
from cai.train.trainers.prompt_batches import ELEMENT, gather_elements, spread

TOO_LONG = "longer than the maximal length"


class SoftRewardTrainer(Bucketed, RewardTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's Bradley-Terry trainer with a label of its own for each pair, on batches of like lengths."""

    def __init__(self, **keywords: Any) -> None:
        self.left_out = Counter()
        super().__init__(**keywords)

    def _prepare_dataset(
        self, dataset: Dataset, processing_class: Any, args: RewardConfig, dataset_name: str
    ) -> Dataset:
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if dropped := len(dataset) - len(prepared):
            self.left_out[TOO_LONG] += dropped
        if ELEMENT in prepared.column_names and len(prepared):
            return gather_elements(prepared)
        return sort_by_length(prepared, ("chosen_ids", "rejected_ids"))

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if PROBABILITY not in self._signature_columns:
            self._signature_columns.append(PROBABILITY)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of a batch of pairs, chosen answers first, rejected ones behind them."""
        tokens = {name: value for name, value in inputs.items() if name != PROBABILITY}
        loss, outputs = super().compute_loss(model, tokens, True, num_items_in_batch)
        chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
        loss = loss + ((1.0 - inputs[PROBABILITY]) * (chosen - rejected)).mean()
        return (loss, outputs) if return_outputs else loss


class ScoreTrainer(Bucketed):
    """Learns scores by regression: transformers' own loss for one label, the mean squared error."""

    # The loss is a mean over a micro-batch, so it has to be divided by the number of accumulated ones.
    loss_is_scaled_for_ga = False

    def __init__(self, context: Context, configuration: RewardConfig) -> None:
        self.left_out = Counter()
        tokenizer, test = context.tokenizer, context.examples.test
        super().__init__(
            model=context.model if context.adapter is None else get_peft_model(context.model, context.adapter),
            args=configuration,
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=self._tokenized(context.examples.train, tokenizer, configuration.max_length),
            eval_dataset=None if test is None else self._tokenized(test, tokenizer, configuration.max_length),
            processing_class=tokenizer,
            compute_metrics=_agreement,
        )

    def _tokenized(self, dataset: Dataset, tokenizer: Any, limit: int | None) -> Dataset:
        def tokens(row: dict[str, Any]) -> dict[str, Any]:
            encoded = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)
            return {"input_ids": encoded["input_ids"], "labels": float(row["score"])}

        prepared = dataset.map(tokens, remove_columns=dataset.column_names)
        if limit is not None:
            prepared = prepared.filter(lambda row: len(row["input_ids"]) <= limit)
        if dropped := len(dataset) - len(prepared):
            self.left_out[TOO_LONG] += dropped
        return sort_by_length(prepared, ("input_ids",))


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is not followed
    """TRL's collator, with each pair's probability; a batch's elements may hold several pairs (`prompt_batches`)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, padded."""
        pairs = spread(examples)
        batch: dict[str, Any] = super().torch_call(pairs)
        batch[PROBABILITY] = torch.tensor([pair[PROBABILITY] for pair in pairs], dtype=torch.float32)
        return batch


def _agreement(predicted: EvalPrediction) -> dict[str, float]:
    """Return the mean absolute error, and Pearson's correlation where both sides vary."""
    scores, labels = np.ravel(predicted.predictions), np.ravel(predicted.label_ids)
    figures = {"mean_absolute_error": float(np.abs(scores - labels).mean())}
    if scores.std() > 0 and labels.std() > 0:
        figures["correlation"] = float(np.corrcoef(scores, labels)[0, 1])
    return figures
