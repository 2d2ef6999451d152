"""The reward models' trainers on answers by themselves and on ranked lists of them, on transformers' own.

A batch holds answers, each with the number of the list that it belongs to: its prompt's, or one of its own. The losses
are `reward_equations`'. With `debias_length` what length alone tells is added to the scores while they are learned, and
not afterwards.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from peft import get_peft_model
from torch import Tensor
from transformers import EvalPrediction
from trl import RewardConfig

from cai.core.errors import InputError
from cai.train.context import Context
from cai.train.data.collecting import DIFFICULTY, LENGTH, TASK
from cai.train.methods.reward import RewardSettings
from cai.train.trainers.lengths import Bucketed
from cai.train.trainers.reward_equations import (
    centre_penalties,
    length_slope,
    list_losses,
    squared_errors,
)
from cai.train.trainers.reward_measuring import (
    ScoredPair,
    accuracies,
    agreement,
    padded,
    sampled,
    scale_of,
    score_answers,
)
from cai.train.trainers.reward_models import TOO_LONG

ANSWER_TOO_LONG = "answer of a list, longer than the maximal length"
REPEATED = "answer of a list that says what another one says"
ONE_RANK = "all answers of the list have one rank"

_IDS, LABELS, _SIZES, _OFFSETS = "answer_ids", "labels", "answer_tokens", "offsets"
_FEATURES = Features(
    {
        _IDS: List(List(Value("int32"))),
        LABELS: List(Value("float32")),
        _SIZES: List(Value("int32")),
        LENGTH: Value("int64"),
    }
)


class AnswerTrainer(Bucketed):
    """What the three objectives share: rows of answers in, their scores' loss out."""

    # The loss is a mean over a micro-batch, so it has to be divided by the number of accumulated ones.
    loss_is_scaled_for_ga = False
    name = ""

    def __init__(self, context: Context, own: RewardSettings, configuration: RewardConfig) -> None:
        self.left_out = Counter()
        self._center = own.center_rewards
        self._slope: float | None = None
        self._notes: defaultdict[str, list[float]] = defaultdict(list)
        tokenizer, test = context.tokenizer, context.examples.test
        train = self._tokenized(context.examples.train, tokenizer, configuration.max_length)
        tested = None if test is None else self._tokenized(test, tokenizer, configuration.max_length)
        if not len(train):
            raise InputError("no example is left to learn from: all are too long for --max-length, or teach nothing")
        self._look_at(train, tested)
        if own.debias_length:
            train, tested = self._with_offsets(train, tested)
        super().__init__(
            model=context.model if context.adapter is None else get_peft_model(context.model, context.adapter),
            args=configuration,
            data_collator=AnswerCollator(tokenizer.pad_token_id),
            train_dataset=train,
            eval_dataset=tested,
            processing_class=tokenizer,
            compute_metrics=self._figures,
        )
        self.drop_empty_test(test)

    def losses(self, scores: Tensor, labels: Tensor, lists: Tensor) -> Tensor:
        """Return the losses of answers or of lists; the lists are numbered from 0."""
        raise NotImplementedError

    def _rows(self, row: dict[str, Any]) -> Iterator[tuple[list[dict[str, str]], float]]:
        yield row["completion"], float(row["score"])

    def _look_at(self, train: Dataset, test: Dataset | None) -> None:
        """Learn what has to be known of the labels before training."""

    def _figures(self, predicted: EvalPrediction) -> dict[str, float]:  # noqa: ARG002
        return {}

    def _tokenized(self, dataset: Dataset, tokenizer: Any, limit: int | None) -> Dataset:
        def tokens(row: dict[str, Any]) -> dict[str, Any]:
            prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
            answers: dict[str, list[Any]] = {name: [] for name in (_IDS, LABELS, _SIZES)}
            for said, label in self._rows(row):
                ids = tokenizer.apply_chat_template(row["prompt"] + said, return_dict=True)["input_ids"]
                answers[_IDS].append(ids)
                answers[LABELS].append(label)
                answers[_SIZES].append(len(ids) - len(prompt["input_ids"]))
            return self._kept(answers, limit)

        # Not from a cache: what is left out is counted on the way.
        marks = {name: kind for name, kind in dataset.features.items() if name in (TASK, DIFFICULTY)}
        prepared = dataset.map(
            tokens,
            remove_columns=[name for name in dataset.column_names if name not in marks],
            features=Features({**marks, **_FEATURES}),
            load_from_cache_file=False,
        )
        lengths = np.array(prepared[LENGTH])
        order = np.argsort(lengths, kind="stable")
        return prepared.select(order[lengths[order] > 0].tolist())

    def _kept(self, row: dict[str, Any], limit: int | None) -> dict[str, Any]:
        """Return a row's answers that can be learned from, with its length: 0 where there are none."""
        length = max(map(len, row[_IDS]))
        if limit is not None and length > limit:
            self.left_out[TOO_LONG] += 1
            length = 0
        return {**row, LENGTH: length}

    def _with_offsets(self, train: Dataset, test: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Return the examples with what their lengths alone tell."""
        chunks = [_tensors(chunk) for chunk in train.iter(batch_size=64)]
        sizes = torch.cat([size for size, _, _ in chunks])
        count = sum(int(lists.max()) + 1 for _, _, lists in chunks)

        def loss(scores: Tensor) -> Tensor:
            parts = zip(torch.split(scores, [len(size) for size, _, _ in chunks]), chunks, strict=True)
            return (
                sum((self.losses(part, labels, lists).sum() for part, (_, labels, lists) in parts), torch.zeros(()))
                / count
            )

        slope, middle = length_slope(loss, sizes), float(sizes.mean())
        self._slope = slope
        self.remarks = (*self.remarks, f"by length alone a token is worth {slope:+.3g} of score, which is held apart")

        def with_offsets(split: Dataset) -> Dataset:
            values = [[slope * (size - middle) for size in row] for row in split[_SIZES]]
            return split.add_column(_OFFSETS, values)

        return with_offsets(train), None if test is None else with_offsets(test)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002  (transformers' signature)
    ) -> Any:
        """Return the mean loss of a batch."""
        shown = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        scores = model(**shown, use_cache=False).logits.squeeze(-1).float()
        learned = scores + inputs[_OFFSETS] if _OFFSETS in inputs else scores
        loss = self.losses(learned, inputs[LABELS], inputs["lists"]).mean()
        if self._center:
            loss = loss + self._center * centre_penalties(scores, inputs["lists"]).mean()
        self._note(scores.detach(), inputs)
        return (loss, {"logits": scores}) if return_outputs else loss

    def _note(self, scores: Tensor, inputs: dict[str, Any]) -> None:
        """Note what is told of a batch beside its loss."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of what was noted since the last line."""
        before = "" if self.model.training else "eval_"
        logs |= {f"{before}{name}": float(np.mean(values)) for name, values in self._notes.items()}
        self._notes.clear()
        super().log(logs, start_time)

    def measured(self) -> dict[str, Any]:
        """Return the scale of the scores, and how they agree with the test split."""
        sample = score_answers(self, [ids for row in sampled(self.train_dataset)[_IDS] for ids in row])
        told: dict[str, Any] = {"objective": self.name, "length_slope": self._slope, "scale": scale_of(sample)}
        if self.eval_dataset is None:
            return told
        scores = score_answers(self, [ids for row in self.eval_dataset[_IDS] for ids in row])
        return told | self._agreement(scores, self.eval_dataset)

    def _agreement(self, scores: Sequence[float], test: Dataset) -> dict[str, Any]:
        labels = [label for row in test[LABELS] for label in row]
        sizes = [size for row in test[_SIZES] for size in row]
        by_length = agreement(scores, sizes).get("correlation")
        return {"agreement": agreement(scores, labels) | {"answers": len(scores), "correlation_with_length": by_length}}


class ScoreTrainer(AnswerTrainer):
    """Learns scores by their squared error."""

    name = "regression"

    def losses(self, scores: Tensor, labels: Tensor, lists: Tensor) -> Tensor:  # noqa: ARG002
        """Return the squared errors."""
        return squared_errors(scores, labels)

    def _figures(self, predicted: EvalPrediction) -> dict[str, float]:
        return agreement(predicted.predictions, predicted.label_ids)


class RankingTrainer(AnswerTrainer):
    """Learns the order of a prompt's answers, all of them at once."""

    name = "plackett-luce"

    def losses(self, scores: Tensor, labels: Tensor, lists: Tensor) -> Tensor:
        """Return each list's negative log-likelihood; the labels are ranks."""
        return list_losses(scores, labels, lists)

    def _rows(self, row: dict[str, Any]) -> Iterator[tuple[list[dict[str, str]], float]]:
        texts: set[str] = set()
        for answer in row["answers"]:
            text = answer["completion"][0]["content"].strip()
            if text in texts:
                self.left_out[REPEATED] += 1
                continue
            texts.add(text)
            yield answer["completion"], float(answer["rank"])

    def _kept(self, row: dict[str, Any], limit: int | None) -> dict[str, Any]:
        # The order of some of the answers has the same likelihood without the others.
        places = [place for place, ids in enumerate(row[_IDS]) if limit is None or len(ids) <= limit]
        if dropped := len(row[_IDS]) - len(places):
            self.left_out[ANSWER_TOO_LONG] += dropped
        kept = {name: [values[place] for place in places] for name, values in row.items()}
        if len(set(kept[LABELS])) < 2:
            self.left_out[ONE_RANK if len(places) > 1 else TOO_LONG] += 1
            return {**kept, LENGTH: 0}
        return {**kept, LENGTH: max(map(len, kept[_IDS])) * len(places)}

    def _note(self, scores: Tensor, inputs: dict[str, Any]) -> None:
        labels, lists = inputs[LABELS], inputs["lists"]
        better = (lists[:, None] == lists[None]) & (labels[:, None] < labels[None])
        leads = (scores[:, None] - scores[None])[better]
        self._notes["accuracy"].append(float((leads > 0).float().mean()))
        self._notes["margin"].append(float(leads.mean()))

    def _agreement(self, scores: Sequence[float], test: Dataset) -> dict[str, Any]:
        found: list[ScoredPair] = []
        at = 0
        for row in test:
            told = list(zip(scores[at : at + len(row[LABELS])], row[_SIZES], row[LABELS], strict=True))
            at += len(told)
            for one, other in combinations(told, 2):
                if one[2] != other[2]:
                    found.append(ScoredPair.of((one[0], other[0]), (one[1], other[1]), one[2] < other[2]))
        return accuracies(found)


class AnswerCollator:
    """Makes a batch of rows: all their answers, and which row each is of."""

    def __init__(self, padding: int) -> None:
        self._padding = padding

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, padded."""
        batch = dict(padded([ids for row in rows for ids in row[_IDS]], self._padding))
        batch["lists"] = torch.tensor([place for place, row in enumerate(rows) for _ in row[_IDS]])
        for name in (LABELS, _OFFSETS):
            if name in rows[0]:
                batch[name] = torch.tensor([value for row in rows for value in row[name]], dtype=torch.float32)
        return batch


def _tensors(chunk: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return of some rows each answer's length, label and row."""
    sizes, labels = (
        torch.tensor([value for row in chunk[name] for value in row]).double() for name in (_SIZES, LABELS)
    )
    return sizes, labels, torch.tensor([place for place, row in enumerate(chunk[_SIZES]) for _ in row])
