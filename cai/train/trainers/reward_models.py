"""The reward models' trainer on pairs: Bradley-Terry with soft labels, margins, and a length that is held apart.

TRL's trainer knows hard labels only: its loss is -log s(d), to which we add what `reward_equations.pair_losses` is more
than that, which is nothing for a certain label without a margin. A margin is what a certain label asks for, less what
length alone tells (`length_slope`). TRL's own margins are not used: it hands them to the model, too.
"""

from collections import Counter
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from cai.data.examples.labels import PROBABILITY
from cai.train.data.collecting import LENGTH, PRINCIPLES
from cai.train.data.hard_labels import directed
from cai.train.trainers.lengths import Bucketed, sort_by_length
from cai.train.trainers.prompt_batches import ELEMENT, gather_elements, spread
from cai.train.trainers.reward_equations import certainty_margins, length_slope, pair_losses
from cai.train.trainers.reward_measuring import ScoredPair, accuracies, sampled, scale_of, score_answers

TOO_LONG = "longer than the maximal length"
MARGIN = "margin"
"""TRL's name of the column: how much the chosen answer's score has to be ahead."""

_IDS = ("chosen_ids", "rejected_ids")


class SoftRewardTrainer(Bucketed, RewardTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's Bradley-Terry trainer with a label of its own for each pair, on batches of like lengths.

    With `debias_length` what length alone tells of the training pairs is held beside the scores while they are learned.
    """

    def __init__(self, *, debias_length: bool = False, eval_dataset: Dataset | None, **keywords: Any) -> None:
        self.left_out = Counter()
        self._debias_length = debias_length
        self._slope: float | None = None
        super().__init__(eval_dataset=eval_dataset, **keywords)
        self.drop_empty_test(eval_dataset)
        if self._slope is not None:
            apart = f"by length alone a token is worth {self._slope:+.3g} log-odds, which are held apart"
            self.remarks = (*self.remarks, apart)

    def _prepare_dataset(
        self, dataset: Dataset, processing_class: Any, args: RewardConfig, dataset_name: str
    ) -> Dataset:
        if LENGTH in dataset.column_names:
            return dataset
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if dropped := len(dataset) - len(prepared):
            self.left_out[TOO_LONG] += dropped
        if self._debias_length and len(prepared):
            prepared = self._without_length(prepared)
        if ELEMENT in prepared.column_names and len(prepared):
            return gather_elements(prepared)
        return sort_by_length(prepared, ("chosen_ids", "rejected_ids"), dataset_name)

    def _without_length(self, prepared: Dataset) -> Dataset:
        """Return the pairs with a margin that stands for their lengths; those to train on come first, and tell how."""
        chosen, rejected = (torch.tensor([len(ids) for ids in prepared[name]]) for name in _IDS)
        if self._slope is None:
            probabilities, count = torch.tensor(prepared[PROBABILITY]).double(), len(prepared)

            def loss(scores: Tensor) -> Tensor:
                return pair_losses(scores[:count], scores[count:], probabilities, torch.zeros(())).mean()

            self._slope = length_slope(loss, torch.cat([chosen, rejected]))
        margins = -self._slope * (chosen - rejected)
        if MARGIN in prepared.column_names:
            margins = margins + torch.tensor(prepared[MARGIN])
            prepared = prepared.remove_columns(MARGIN)
        return prepared.add_column(MARGIN, margins.tolist())

    def measured(self) -> dict[str, Any]:
        """Return the scale of the scores, and on the test split how often the better answer's is higher."""
        train = sampled(self.train_dataset)
        sample = score_answers(self, [pair[name] for pair in spread(train) for name in _IDS])
        told: dict[str, Any] = {"objective": "bradley-terry", "length_slope": self._slope, "scale": scale_of(sample)}
        if self.eval_dataset is None:
            return told
        pairs = spread(self.eval_dataset)
        scores = np.array(score_answers(self, [pair[name] for pair in pairs for name in _IDS])).reshape(-1, 2)
        lengths = np.array([[len(pair[name]) for name in _IDS] for pair in pairs])
        return told | accuracies(
            ScoredPair.of(values, size, pair[PROBABILITY] > 0.5, tuple(pair.get(PRINCIPLES) or ()))
            for pair, values, size in zip(pairs, scores.tolist(), lengths.tolist(), strict=True)
            if pair[PROBABILITY] != 0.5
        )

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if PROBABILITY not in self._signature_columns:
            self._signature_columns.append(PROBABILITY)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of a batch of pairs, chosen answers first, rejected ones behind them."""
        tokens = {name: value for name, value in inputs.items() if name not in (PROBABILITY, MARGIN)}
        loss, outputs = super().compute_loss(model, tokens, True, num_items_in_batch)
        chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
        probabilities = inputs[PROBABILITY]
        whole = pair_losses(chosen, rejected, probabilities, inputs.get(MARGIN, torch.zeros_like(probabilities)))
        loss = loss + (whole + logsigmoid(chosen - rejected)).mean()
        return (loss, outputs) if return_outputs else loss


def with_margins(pairs: Dataset, most: float) -> Dataset:
    """Return the pairs with a margin each, by how certain its label is; as they are where `most` is 0."""
    if not most:
        return pairs
    pairs = directed(pairs)
    return pairs.add_column(MARGIN, certainty_margins(torch.tensor(pairs[PROBABILITY]), most).tolist())


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is not followed
    """TRL's collator, with each pair's probability; a batch's elements may hold several pairs (`prompt_batches`)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, padded."""
        pairs = spread(examples)
        batch: dict[str, Any] = super().torch_call(pairs)
        batch[PROBABILITY] = torch.tensor([pair[PROBABILITY] for pair in pairs], dtype=torch.float32)
        return batch
