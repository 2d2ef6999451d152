"""Consistency and certainty of labels: whether they contradict each other or a run's gates, and how sure they are."""

from cai.data.validation.collecting import BINS, CollectedSet
from cai.data.validation.descriptor import DataMeasure, Found, below, percent
from cai.data.validation.shares import share

_CIRCLES = 0.05
_AGAINST = 0.1
_UNSURE = 0.5


def _contradicted(found: CollectedSet) -> Found | None:
    repeats = found.repeats
    if not repeats.comparisons:
        return None
    sentence = None
    if repeats.contradicted:
        what = "two answers to one prompt are" if found.kind == "pairs" else "an answer to a prompt is"
        sentence = f"{repeats.contradicted:,} times {what} labelled both ways, of {repeats.repeated:,} labelled twice"
    details = {"labelled more than once": float(repeats.repeated)}
    return share(repeats.contradicted, repeats.comparisons, details=details, sentence=sentence)


def _circles(found: CollectedSet) -> Found | None:
    repeats = found.repeats
    if found.kind != "pairs" or not repeats.ranked:
        return None
    sentence = None
    if repeats.cycles > _CIRCLES * repeats.ranked:
        sentence = f"the answers to {repeats.cycles:,} prompts beat each other in a circle: no order of them fits"
    return share(repeats.cycles, repeats.ranked, sentence=sentence)


def _against_gate(found: CollectedSet) -> Found | None:
    run = found.run
    if run is None or not run.gated:
        return None
    sentence = None
    if run.against > _AGAINST * run.gated:
        sentence = (
            f"in {run.against:,} of {run.gated:,} verdicts the judge preferred the answer that a gate had found to "
            "break a principle"
        )
    return share(run.against, run.gated, sentence=sentence)


def _unsure(found: CollectedSet) -> Found | None:
    if found.kind != "pairs" or not found.soft:
        return None
    bins = {f"{0.5 + place / 2 / BINS:.3f}": float(count) for place, count in enumerate(found.certainty.tolist())}
    result = share(found.unsure, found.examples, details=bins)
    sentence = None
    if result.value > _UNSURE:
        sentence = f"{percent(result.value)} of the labels lie between 0.4 and 0.6: most say next to nothing"
    return Found(result.value, result.count, result.low, result.high, details=bins, sentence=sentence)


def _hard(found: CollectedSet) -> Found | None:
    if found.kind != "pairs" or not found.examples:
        return None
    return share(found.examples - found.soft, found.examples)


def _undecided(found: CollectedSet) -> Found | None:
    if found.kind != "pairs" or not found.examples:
        return None
    sentence = f"{found.undecided:,} pairs prefer neither answer" if found.undecided else None
    return share(found.undecided, found.examples, sentence=sentence)


CONSISTENCY = (
    DataMeasure(
        "labelled both ways",
        "consistency",
        "the same answers to the same prompt with opposite labels, of all that are compared",
        _contradicted,
        usual="0 %",
        source="people agree with each other on about 73 % of pairs, 2203.02155",
    ),
    DataMeasure(
        "prompts in a circle",
        "consistency",
        "A over B over C over A, of prompts with three comparisons or more",
        _circles,
        usual=below(_CIRCLES),
        source="25 % of three answers whose labels are drawn by lot",
    ),
    DataMeasure(
        "verdict against gate",
        "consistency",
        "of a run: the judge prefers what its gate found bad",
        _against_gate,
        usual=below(_AGAINST),
    ),
)

CERTAINTY = (
    DataMeasure(
        "labels between 0.4 and 0.6",
        "certainty",
        "soft labels that hardly prefer either",
        _unsure,
        usual=below(_UNSURE),
        source="all of them where a judge reasons first and is clamped, 2212.08073",
    ),
    DataMeasure("labels of 0 or 1", "certainty", "no soft label is known, or it is certain", _hard),
    DataMeasure("labels of one half", "certainty", "neither answer is preferred", _undecided, usual="0 %"),
)
