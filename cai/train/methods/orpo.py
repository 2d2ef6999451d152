"""ORPO (arXiv 2403.07691): SFT on the chosen answer and an odds-ratio term against the rejected one, in one stage.

There is no reference. `--beta` is the paper's λ, the weight of the odds-ratio term (equation 6). TRL's trainer computes
the SFT part over the user's words as well; here it falls on the assistant's turn alone, as everywhere in `cai`, and is
got from the log-probabilities that TRL has computed anyway. The odds ratio has no probability of its own to be soft
with: labels are taken as they stand, and a pair whose `chosen_probability` is below one half is turned round.
"""

import warnings
from collections import Counter
from typing import Any

from datasets import Dataset
from transformers import Trainer
from trl.import_utils import TRLExperimentalWarning

from cai.core.errors import InputError
from cai.train.context import Context
from cai.train.finite import StopsAtNan

with warnings.catch_warnings():
    # TRL warns that its experimental part may change without notice; the tests would notice.
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

TOO_LONG = "prompt fills the maximal length"


def build_orpo(context: Context) -> Trainer:
    """Return the trainer; raises InputError when no pair is left within the maximal length."""
    test = context.examples.test
    return AnswerORPOTrainer(
        model=context.model,
        args=ORPOConfig(
            # TRL's collator for pairs wants every column, and says so on each start.
            **{**context.arguments, "remove_unused_columns": False},
            max_length=context.settings.fit.max_length,
            beta=context.settings.preference.beta,
        ),
        train_dataset=_directed(context.examples.train),
        eval_dataset=None if test is None else _directed(test),
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


class AnswerORPOTrainer(StopsAtNan, ORPOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer with the SFT term on answers alone; `left_out` counts pairs whose prompt leaves no room for one."""

    train_dataset: Dataset
    eval_dataset: Dataset | None

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.left_out: Counter[str] = Counter()
        train, test = self.train_dataset, self.eval_dataset
        self.train_dataset = self._answered(train)
        self.eval_dataset = None if test is None else self._answered(test)

    def _answered(self, dataset: Dataset) -> Dataset:
        kept = dataset.filter(lambda pair: all(_answer(pair[side]) for side in ("chosen_labels", "rejected_labels")))
        if dropped := len(dataset) - len(kept):
            self.left_out[TOO_LONG] += dropped
        if not len(kept):
            raise InputError("no pair is left to learn from: every prompt fills --max-length")
        return kept

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> Any:
        """Return TRL's tuple with its fifth member, the chosen answers' loss, taken over the answers' tokens."""
        outputs = super().concatenated_forward(model, batch)
        tokens = (batch["chosen_labels"][:, 1:] != -100).sum(dim=1).to(outputs[0].device)
        loss = -(outputs[0] * tokens).sum() / tokens.sum()
        return (*outputs[:4], loss, *outputs[5:])


def _answer(labels: list[int]) -> bool:
    return any(label != -100 for label in labels)


def _directed(dataset: Dataset) -> Dataset:
    """Return the pairs with the likelier answer as the chosen one."""

    def turned(pair: dict[str, Any]) -> dict[str, Any]:
        if pair["chosen_probability"] >= 0.5:
            return pair
        return {**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]}

    return dataset.map(turned).remove_columns("chosen_probability")
