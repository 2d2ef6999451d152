"""What alignment cost in language: perplexity on held-out text, and how far a model has moved from the baseline.

`--heldout FILE` has texts, a row each, that no model here was trained on. Measured with the weights in this process,
loaded anew once all models are closed:

- perplexity: exp of the mean negative log-likelihood of a token in nats, over all texts; of models that share a
  tokenizer. Bits per byte (Gao et al. 2020, arXiv 2101.00027, section 3.1) compare those that do not;
- KL(model || baseline): at each token, exactly, over the whole vocabulary, and averaged over tokens. On the model's own
  answers to the evaluation's prompts it is the divergence that preference training is penalised by (Stiennon et al.
  2020, arXiv 2009.01325, section 3.4), with every next token summed over and only the texts sampled; on held-out text
  it says how much has changed where nobody trained. For models that have the baseline's vocabulary.

Intervals resample texts. Weights are needed: of servers, and of `vllm:` models, nothing of this is told, because they
give log-probabilities of some tokens alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite, log
from typing import TYPE_CHECKING, Any

import numpy as np

from cai.core.errors import RequestError, RowError
from cai.core.records import PartFailure, Prompt, Row, Usage, read_part_failures
from cai.core.threads import in_thread
from cai.evaluate.examining import Conclusion, Examination, Opened
from cai.evaluate.measures import Measure, each
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.statistics import Numbers
from cai.evaluate.usefulness.asking import answer_of
from cai.models.spec import ModelSpec

if TYPE_CHECKING:
    from cai.models.reading import ReadingModel  # torch

HELDOUT, DIVERGENCE = "heldout", "divergence"
_READING = "reading"
_NO_WEIGHTS = "its weights are not in this process: perplexity and divergence are of transformers: models and tiny"


@dataclass(frozen=True, slots=True)
class CostEntry:
    """One text as a model reads it: `nats` is the negative log-likelihood of its `tokens`, `bytes` its length in UTF-8.

    `divergence` is the sum over its tokens of the divergence from the baseline, in nats; None: there is no baseline to
    compare with.
    """

    id: str
    ordinal: int
    tokens: int
    nats: float
    bytes: int
    divergence: float | None
    usage: Usage
    failed: tuple[PartFailure, ...]


@dataclass(slots=True)
class _Readers:
    """The models that read, at most two open at once: the baseline, and the one that is looked at."""

    plan: EvaluatePlan
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _open: dict[str, "ReadingModel"] = field(default_factory=dict)

    def spec(self, label: str) -> ModelSpec:
        """Return what a label stands for."""
        return next(model.spec for model in self.plan.models if model.label == label)

    def open(self, label: str) -> "ReadingModel":
        """Return a model that is open, the baseline beside it kept, all others let go; raises ModelError."""
        from cai.models.reading import ReadingModel  # noqa: PLC0415  (torch)

        for other in [name for name in self._open if name not in (label, self.plan.baseline)]:
            del self._open[other]
        if label not in self._open:
            engine = self.plan.settings.engine
            self._open[label] = ReadingModel(self.spec(label).weights, engine.device, engine.dtype)
        return self._open[label]


@dataclass(frozen=True, slots=True)
class CostExaminer:
    """Lets one model read the texts, and the baseline beside it where that can be.

    `encode` gives the tokens before a text's own, its own, and the text.
    """

    opened: Opened
    readers: _Readers
    encode: Callable[["ReadingModel", Prompt, Opened], tuple[list[int], list[int], str]]
    _found: dict[str, CostEntry] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return an empty row, once the text is read; raises RowError where it cannot be."""
        async with self.readers.lock:
            try:
                self._found[prompt.id] = await in_thread(lambda: self._read(prompt))
            except RequestError as error:
                raise RowError(str(error), stage=_READING, kind=error.kind, raw=error.raw) from error
        return Row(prompt, (), (), Usage(), self.opened.provenance)

    def entry(self, row: Row) -> CostEntry:
        """Return what was found of a row's text."""
        return self._found.pop(row.prompt.id)

    def _read(self, prompt: Prompt) -> CostEntry:
        readers, label = self.readers, self.opened.label
        if readers.spec(label).backend.weights is None:
            raise RowError(_NO_WEIGHTS, stage=_READING)
        model = readers.open(label)
        baseline = readers.plan.baseline
        other = None
        if baseline not in (None, label) and readers.spec(str(baseline)).backend.weights is not None:
            other = readers.open(str(baseline))
            other = other if other.vocabulary == model.vocabulary else None
        before, tokens, text = self.encode(model, prompt, self.opened)
        nats, divergence = read(model, other, before, tokens)
        return CostEntry(prompt.id, prompt.ordinal, len(tokens), nats, len(text.encode()), divergence, Usage(), ())


def read(
    model: "ReadingModel", baseline: "ReadingModel | None", before: Sequence[int], tokens: Sequence[int]
) -> tuple[float, float | None]:
    """Return the tokens' negative log-likelihood, and their divergence from the baseline, summed, both in nats.

    Both models have one vocabulary. Raises RequestError where either is no number.
    """
    import torch  # noqa: PLC0415  (an extra)

    window = model.window if baseline is None else min(model.window, baseline.window)
    beside = None if baseline is None else baseline.log_probabilities(before, tokens, window)
    nats, divergence, start = 0.0, 0.0, 0
    for found in model.log_probabilities(before, tokens, window):
        chosen = torch.tensor(tokens[start : start + len(found)])[:, None]
        nats -= float(found.gather(1, chosen).double().sum())
        if beside is not None:
            weights = found.exp()
            gaps = torch.where(weights > 0, found - next(beside), 0.0)
            divergence += float((weights * gaps).double().sum())
        start += len(found)
    if not (isfinite(nats) and isfinite(divergence)):
        raise RequestError("the text has a token that one of the models rules out", retryable=False)
    return nats, None if beside is None else divergence


def cost_of_alignment(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[CostEntry], ...]:
    """Return the examinations on held-out text and on own answers, where there is such text."""
    if plan.heldout is None:
        return ()
    readers = _Readers(plan)
    compared = plan.baseline is not None and len(plan.models) > 1
    heldout: Examination[CostEntry] = Examination(
        name=HELDOUT,
        title="Held-out text",
        about=plan.heldout.told,
        items=plan.heldout.texts,
        measures=_heldout_measures(with_baseline=compared),
        ask=lambda opened: CostExaminer(opened, readers, _encode_text),
        read=read_cost_entry,
        identity={"heldout": plan.heldout.fingerprint},
        conclude=partial(_conclude, plan.baseline),
        apart=True,
    )
    if not compared:
        return (heldout,)
    divergence: Examination[CostEntry] = Examination(
        name=DIVERGENCE,
        title="Distance from the baseline",
        about="on each model's own answers",
        items=tuple(prompts),
        measures=(_divergence("KL to the baseline, own answers"),),
        ask=lambda opened: CostExaminer(opened, readers, _encode_answer),
        read=read_cost_entry,
        conclude=partial(_conclude, plan.baseline),
        apart=True,
    )
    return heldout, divergence


def read_cost_entry(value: dict[str, Any]) -> CostEntry:
    """Return an entry from what JSON says; raises KeyError or TypeError when it is none."""
    return CostEntry(**{**value, "usage": Usage(**value["usage"]), "failed": read_part_failures(value["failed"])})


def perplexity_of(sums: Numbers) -> Numbers:
    """Return perplexities by sums of nats and tokens, of shape (rows, 2)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.exp(sums[:, 0] / sums[:, 1]))


def _heldout_measures(*, with_baseline: bool) -> tuple[Measure, ...]:
    return (
        Measure(
            "perplexity",
            each(lambda entry: (entry.nats, float(entry.tokens))),
            "exp of the mean nats a token; of models with one tokenizer",
            "number",
            "low",
            combine=perplexity_of,
        ),
        Measure(
            "bits per byte",
            each(lambda entry: (entry.nats / log(2), float(entry.bytes))),
            "whatever the tokenizer",
            "number",
            "low",
        ),
        *((_divergence("KL to the baseline, held-out"),) if with_baseline else ()),
    )


def _divergence(name: str) -> Measure:
    return Measure(
        name,
        each(lambda entry: None if entry.divergence is None else (entry.divergence, float(entry.tokens))),
        "nats a token, exactly over the vocabulary",
        "number",
    )


def _encode_text(model: "ReadingModel", prompt: Prompt, _opened: Opened) -> tuple[list[int], list[int], str]:
    text = "\n\n".join(turn["content"] for turn in prompt.messages)
    return *model.encode_text(text), text


def _encode_answer(model: "ReadingModel", prompt: Prompt, opened: Opened) -> tuple[list[int], list[int], str]:
    answer = answer_of(opened, prompt.id)
    return *model.encode_answer(answer.messages, answer.response), answer.response


def _conclude(baseline: str | None, found: Mapping[str, Mapping[str, CostEntry]], _seed: int) -> Conclusion:
    """Say of which models no divergence is told."""
    silent = [
        label
        for label, entries in found.items()
        if label != baseline and entries and all(entry.divergence is None for entry in entries.values())
    ]
    return Conclusion(
        remarks=tuple(
            f"{label}: no divergence from {baseline}, whose vocabulary is another or whose weights are not here"
            for label in silent
            if baseline is not None
        )
    )
