"""Word salad: answers of which a language model did not expect a run of words at all (`cai.models.fluency`)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from cai.data.quality import CHOSEN, COMPLETION, REJECTED, LedgerEntry, Record
from cai.data.quality.ledger import excerpt
from cai.data.validation.descriptor import DataMeasure, Found, below
from cai.data.validation.items import CheckedItem, identity
from cai.data.validation.shares import share
from cai.data.validation.statistics import Numbers, quantile

if TYPE_CHECKING:
    from cai.models.fluency import FluencyModel  # needs torch

WORD_SALAD = "word-salad"
INCOHERENT = "a run of its words makes no sense to the model"
"""The filter's name and reason."""

RUN = 30
"""Tokens in a row whose mean is taken."""

_SALAD = 0.02
_TOGETHER = 64
_FINE = 20
"""Bins a nat."""
_DEEPEST = 20


@dataclass(slots=True)
class Fluency:
    """What a model makes of the answers: `looked_at` were long enough, `salad` of them are below the `least`.

    `scores` is a histogram of the least fluent runs of all.
    """

    model: str
    least: float
    looked_at: int = 0
    short: int = 0
    salad: int = 0
    scores: Numbers = field(default_factory=lambda: np.zeros(_FINE * _DEEPEST + 1))

    def share(self) -> Found | None:
        """Return the share of answers that are word salad; None where none was long enough."""
        if not self.looked_at:
            return None
        median = quantile(self.scores, np.arange(len(self.scores)) / -_FINE, 0.5)
        details = {"median, nats a token": median or 0.0, "too short to tell": float(self.short)}
        sentence = None
        if self.salad > _SALAD * self.looked_at:
            sentence = (
                f"{self.salad:,} of {self.looked_at:,} answers have words in a row that make no sense to {self.model}"
            )
        return share(self.salad, self.looked_at, details=details, sentence=sentence)


def read_fluency(
    items: Iterable[CheckedItem],
    kind: str,
    model: "FluencyModel",
    least: float,
    record: Record,
    tell: Callable[[int], None] = lambda _: None,
) -> Fluency:
    """Read every answer of a set with a model; `record` hears of those below the `least` fluency."""
    found, seen = Fluency(model.name, least), 0
    waiting = iter(items)
    while some := list(islice(waiting, _TOGETHER)):
        answers = [(item, place, text) for item in some for place, text in enumerate(item.answers)]
        runs = model.read([(item.prompt, text) for item, _, text in answers])
        for (item, place, text), run in zip(answers, runs, strict=True):
            if run is None:
                found.short += 1
                continue
            found.looked_at += 1
            found.scores[min(len(found.scores) - 1, round(-run.log_probability * _FINE))] += 1
            if run.log_probability < least:
                found.salad += 1
                name = COMPLETION if len(item.answers) == 1 else (CHOSEN, REJECTED)[place]
                reason = f"{INCOHERENT}: {run.log_probability:.1f} nats a token"
                where = (name, run.start, run.end, excerpt(text, run.start, run.end))
                record(LedgerEntry(kind, identity(item), item.place, WORD_SALAD, "reported", reason, *where))
        seen += len(some)
        tell(seen)
    return found


FLUENCY = (
    DataMeasure(
        "word salad",
        "fluency",
        f"with --fluency: answers with a run of {RUN} tokens that the model least expects; of long enough ones",
        lambda found: None if found.fluency is None else found.fluency.share(),
        usual=below(_SALAD),
    ),
)
