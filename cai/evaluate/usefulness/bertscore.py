"""BERTScore of answers beside references (Zhang et al. 2019, arXiv 1904.09675, section 3), with a model of the user's.

`--bertscore MODEL` names an encoder (a directory or a hub id). Tokens are not weighed by how rare they are, and scores
not rescaled by a baseline of random texts: they compare models here, and are close to one. The layer is told.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from cai.core.errors import UsageError
from cai.core.records import PartFailure, Prompt, Row, Usage, read_part_failures
from cai.core.threads import in_thread
from cai.evaluate.examining import Conclusion, Examination, Opened
from cai.evaluate.measures import Measure, each
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.usefulness.asking import answer_of

if TYPE_CHECKING:
    from cai.models.embedding import EmbeddingModel  # torch

NAME = "bertscore"


@dataclass(frozen=True, slots=True)
class BertScoreEntry:
    """An answer beside the reference that it matches best; `layer` is the model's whose embeddings were compared."""

    id: str
    ordinal: int
    precision: float
    recall: float
    f1: float
    layer: int
    usage: Usage
    failed: tuple[PartFailure, ...]


@dataclass(slots=True)
class _Embeddings:
    """The model, opened when the first text is to be read, which one row does at a time."""

    name: str
    device: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    model: "EmbeddingModel | None" = None

    def score(self, answer: str, references: Sequence[str]) -> tuple[float, float, float, int]:
        """Return precision, recall, F1 and the layer; raises ModelError when the model cannot be opened."""
        from cai.models.embedding import EmbeddingModel, best_match  # noqa: PLC0415  (torch)

        if self.model is None:
            self.model = EmbeddingModel(self.name, self.device)
        found = best_match(self.model.embed(answer), [self.model.embed(text) for text in references])
        return *found, self.model.layer


@dataclass(frozen=True, slots=True)
class BertScoreExaminer:
    """Compares one model's answers with the references."""

    opened: Opened
    embeddings: _Embeddings
    _found: dict[str, tuple[float, float, float, int]] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return an empty row, once its answer is compared; raises RowError where there is none."""
        answer = answer_of(self.opened, prompt.id)
        async with self.embeddings.lock:
            self._found[prompt.id] = await in_thread(partial(self.embeddings.score, answer.response, prompt.references))
        return Row(prompt, (), (), Usage(), self.opened.provenance)

    def entry(self, row: Row) -> BertScoreEntry:
        """Return what was found of a row's answer."""
        return BertScoreEntry(row.prompt.id, row.prompt.ordinal, *self._found.pop(row.prompt.id), Usage(), ())


def with_bertscore(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[BertScoreEntry], ...]:
    """Return the examination where `--bertscore` is given."""
    spec = plan.settings.usefulness.bertscore
    if spec is None:
        return ()
    items = tuple(prompt for prompt in prompts if prompt.references)
    if not items:
        raise UsageError("--bertscore needs reference answers, and no prompt has one: add a column `reference`")
    name, embeddings = str(spec), _Embeddings(spec.weights, plan.settings.engine.device)
    return (
        Examination(
            name=NAME,
            title="BERTScore",
            about=f"beside right answers, by {name}",
            items=items,
            measures=MEASURES,
            ask=lambda opened: BertScoreExaminer(opened, embeddings),
            read=read_bertscore_entry,
            identity={"bertscore": name},
            conclude=partial(_conclude, name),
        ),
    )


def _conclude(name: str, found: Mapping[str, Mapping[str, BertScoreEntry]], _seed: int) -> Conclusion:
    layers = sorted({entry.layer for entries in found.values() for entry in entries.values()})
    return Conclusion(details={"model": name, "layers": layers})


def read_bertscore_entry(value: dict[str, Any]) -> BertScoreEntry:
    """Return an entry from what JSON says; raises KeyError or TypeError when it is none."""
    return BertScoreEntry(**{**value, "usage": Usage(**value["usage"]), "failed": read_part_failures(value["failed"])})


MEASURES = (
    Measure("BERTScore F1", each(lambda entry: entry.f1), "on average", "number", "high"),
    Measure("BERTScore precision", each(lambda entry: entry.precision), "of the answer's tokens", "number", "high"),
    Measure("BERTScore recall", each(lambda entry: entry.recall), "of the reference's tokens", "number", "high"),
)
