"""ORPO's trainer, with the SFT term on answers alone, and conversations as the chat template prints them.

TRL's computes that part over the user's words as well; here it falls on the assistant's turn, as everywhere in `cai`,
and is got from the log-probabilities that TRL has computed anyway. TRL's puts a token that begins texts before every
conversation and one that ends them behind every answer, whatever the template has there; here nothing is added.
"""

import warnings
from collections import Counter
from typing import Any

from datasets import Dataset, Features, Value
from trl.data_utils import apply_chat_template
from trl.import_utils import TRLExperimentalWarning

from cai.core.errors import InputError
from cai.train.data.collecting import DIFFICULTY, TASK
from cai.train.trainers.tasked import TaskedTrainer

with warnings.catch_warnings():
    # TRL warns that its experimental part may change without notice; tests/test_train_trl.py notices.
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

__all__ = ["TOO_LONG", "AnswerORPOTrainer", "ORPOConfig", "ORPOTrainer"]

TOO_LONG = "prompt fills the maximal length"


class AnswerORPOTrainer(TaskedTrainer, ORPOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's trainer with the SFT term on answers alone; `left_out` counts pairs whose prompt leaves no room for one."""

    train_dataset: Dataset
    eval_dataset: Dataset | None

    def __init__(self, *, train_dataset: Dataset, eval_dataset: Dataset | None, **keywords: Any) -> None:
        tokenizer = keywords["processing_class"]
        super().__init__(
            train_dataset=_rendered(train_dataset, tokenizer),
            eval_dataset=None if eval_dataset is None else _rendered(eval_dataset, tokenizer),
            **keywords,
        )
        self.left_out: Counter[str] = Counter()
        train, test = self.train_dataset, self.eval_dataset
        self.train_dataset = self._answered(train)
        if not len(self.train_dataset):
            raise InputError("no pair is left to learn from: every prompt fills --max-length")
        self.eval_dataset = None if test is None else self._answered(test)
        self.drop_empty_test(eval_dataset)

    def _answered(self, dataset: Dataset) -> Dataset:
        kept = dataset.filter(lambda pair: all(_answer(pair[side]) for side in ("chosen_labels", "rejected_labels")))
        if dropped := len(dataset) - len(kept):
            self.left_out[TOO_LONG] += dropped
        return kept

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:  # noqa: ARG002  (TRL's)
        """Return both sides of a rendered pair as tokens, no more than the maximal length, with the answers' labels."""
        prompt = self._tokens(feature["prompt"])
        wholes = {side: self._tokens(feature["prompt"] + feature[side]) for side in ("chosen", "rejected")}
        # An answer's first letters may melt into the prompt's last token, which is the answer's then.
        begins = min(_common(prompt, whole) for whole in wholes.values())
        row = {"prompt_input_ids": prompt[:begins], "prompt_attention_mask": [1] * begins}
        for side, whole in wholes.items():
            ids = whole[: self.max_length]
            row[f"{side}_input_ids"] = ids
            row[f"{side}_attention_mask"] = [1] * len(ids)
            row[f"{side}_labels"] = [-100] * min(begins, len(ids)) + ids[begins:]
        return row

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.processing_class(text, add_special_tokens=False)["input_ids"]
        return ids

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> Any:
        """Return TRL's tuple with its fifth member, the chosen answers' loss, taken over the answers' tokens."""

        def read(ids: Any, **inputs: Any) -> Any:
            found = model(ids, **inputs)
            found.logits = found.logits[:, -ids.shape[1] :]  # an adapter's virtual tokens stand before the text
            return found

        outputs = super().concatenated_forward(read, batch)
        tokens = (batch["chosen_labels"][:, 1:] != -100).sum(dim=1).to(outputs[0].device)
        loss = -(outputs[0] * tokens).sum() / tokens.sum()
        return (*outputs[:4], loss, *outputs[5:])


def _rendered(dataset: Dataset, tokenizer: Any) -> Dataset:
    """Return the pairs as texts, as TRL's would make them, were all conversations of plain turns."""
    marks = {name: kind for name, kind in dataset.features.items() if name in (TASK, DIFFICULTY)}
    texts = Features({**dict.fromkeys(("prompt", "chosen", "rejected"), Value("string")), **marks})
    return dataset.map(apply_chat_template, fn_kwargs={"processing_class": tokenizer}, features=texts)


def _common(one: list[int], other: list[int]) -> int:
    """Return how many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def _answer(labels: list[int]) -> bool:
    return any(label != -100 for label in labels)
