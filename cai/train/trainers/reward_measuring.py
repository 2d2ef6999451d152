"""What a reward model's scores are like when training has ended: their scale, and where they are right.

The scale is that of answers it was trained on, by which an ensemble brings several models to one unit
(`cai.train.rewards.ensemble`). How often the better answer has the higher score is told of the test split: of all
comparisons, by which of the two answers is longer (a model that has learned nothing but length is right on the one half
and wrong on the other; Singhal et al., 2310.03716), and by the principles that the label was given under.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset

from cai.core.shares import Proportion

_SAMPLE = 512
"""Examples that the scale is taken from, spread over all lengths."""


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """The scores of two answers of which the first is the better one, their lengths in tokens, and the principles."""

    better: float
    worse: float
    better_length: int
    worse_length: int
    principles: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Sequence[float], lengths: Sequence[int], first: bool, principles: tuple[str, ...] = ()) -> Self:
        """Return two answers of which the first is the better one, or the second."""
        better, worse = (0, 1) if first else (1, 0)
        return cls(scores[better], scores[worse], lengths[better], lengths[worse], principles)

    @property
    def right(self) -> float:
        """1 where the better answer's score is higher, one half where both are equal."""
        return float(self.better > self.worse) + 0.5 * (self.better == self.worse)

    @property
    def longer(self) -> str:
        """Which answer is longer."""
        if self.better_length == self.worse_length:
            return "both as long"
        return f"the {'better' if self.better_length > self.worse_length else 'worse'} one longer"


def accuracies(comparisons: Iterable[ScoredPair]) -> dict[str, Any]:
    """Return the share that is ranked right, in all, by length and by principle, each with its counts and interval.

    An interval is Wilson's over comparisons; those of one prompt are not independent of each other.
    """
    right: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for one in comparisons:
        for group in (
            ("accuracy", "all"),
            ("accuracy", one.longer),
            *(("principles", name) for name in one.principles),
        ):
            right[group].append(one.right)
    told: dict[str, Any] = {"accuracy": {}, "principles": {}}
    for (kind, name), values in sorted(right.items()):
        told[kind][name] = Proportion(sum(values), len(values)).as_json()
    return told


def scale_of(scores: Sequence[float]) -> dict[str, float]:
    """Return mean and deviation of the scores, and how many there are."""
    return {"mean": statistics.fmean(scores), "deviation": statistics.pstdev(scores), "answers": len(scores)}


def agreement(scores: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """Return the mean absolute error, and Pearson's correlation where both sides vary."""
    one, other = np.ravel(scores), np.ravel(labels)
    figures = {"mean_absolute_error": float(np.abs(one - other).mean())}
    if one.std() > 0 and other.std() > 0:
        figures["correlation"] = float(np.corrcoef(one, other)[0, 1])
    return figures


def sampled(dataset: Dataset) -> Dataset:
    """Return examples of all lengths, at most 512, of a data set that is sorted by length."""
    if len(dataset) <= _SAMPLE:
        return dataset
    return dataset.select(np.linspace(0, len(dataset) - 1, _SAMPLE).astype(int).tolist())


def score_answers(trainer: Any, ids: Sequence[Sequence[int]]) -> list[float]:
    """Return the score of each answer, given as the tokens of its prompt and itself; every process scores all."""
    model, padding = trainer.model_wrapped, trainer.processing_class.pad_token_id
    order, size = sorted(range(len(ids)), key=lambda place: len(ids[place])), trainer.args.per_device_eval_batch_size
    scores = [0.0] * len(ids)
    training = model.training
    model.eval()
    for start in range(0, len(order), size):
        places = order[start : start + size]
        batch = padded([ids[place] for place in places], padding, trainer.args.device)
        with torch.no_grad(), trainer.accelerator.autocast():
            found = model(**batch, use_cache=False).logits.squeeze(-1).float().tolist()
        for place, score in zip(places, found, strict=True):
            scores[place] = score
    model.train(training)
    return scores


def padded(rows: Sequence[Sequence[int]], padding: int, device: Any = None) -> Mapping[str, Any]:
    """Return rows of tokens as a model's input, padded behind."""
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), padding, device=device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return {"input_ids": tokens, "attention_mask": mask}
