"""Balance: what stands on either side of the labels, and what the examples are of."""

from collections import Counter
from collections.abc import Callable
from functools import partial

from cai.core.shares import sign_test
from cai.data.validation.collecting import CollectedSet
from cai.data.validation.descriptor import DataMeasure, Found, below, listed, percent
from cai.data.validation.shares import share
from cai.data.validation.texts import has_refusal, script

_RATIO = 1.5
_SURE = 0.05
_ONE_SIDED = 0.9
_LEAST = 0.2
_REFUSES = 0.5
_CHOSEN, _REJECTED = 0, 1


def _length(found: CollectedSet) -> Found | None:
    lengths = found.lengths
    chosen, rejected = lengths.median(_CHOSEN), lengths.median(_REJECTED)
    if chosen is None or rejected is None or not rejected:
        return None
    names = ("chosen", "rejected") if found.kind == "pairs" else ("good", "bad")
    ratio = chosen / rejected
    decided = lengths.longer + lengths.shorter
    p = sign_test(lengths.longer, lengths.shorter) if decided else None
    sentence = None
    # Of a few pairs that lean neither way, medians say nothing.
    if not 1 / _RATIO <= ratio <= _RATIO and (p is None or p < _SURE):
        longer, shorter = names if ratio > 1 else names[::-1]
        sentence = f"{longer} answers are {max(ratio, 1 / ratio):.1f} times as long as {shorter} ones"
    count = decided + lengths.same or int(lengths.sides.sum())
    return Found(ratio, count, p=p, details={names[0]: chosen, names[1]: rejected}, sentence=sentence)


def _answer_length(found: CollectedSet) -> Found | None:
    median = found.lengths.median()
    return None if median is None else Found(median, int(found.lengths.sides.sum()))


def _good(found: CollectedSet) -> Found | None:
    if found.kind != "labelled" or not found.examples:
        return None
    result = share(found.good, found.examples)
    sentence = None
    if not _LEAST <= result.value <= 1 - _LEAST:
        sentence = f"{percent(result.value)} of the answers are good: weigh the two sides when you train (KTO does)"
    return share(found.good, found.examples, sentence=sentence)


def _column(columns: tuple[str, ...], what: str, found: CollectedSet) -> Found | None:
    """Return the share of the commonest name of the first of these columns that is there."""
    counts: Counter[str] = next((found.names[name] for name in columns if found.names.get(name)), Counter())
    if not counts:
        return None
    details = dict(counts.most_common())
    name, count = counts.most_common(1)[0]
    sentence = None
    if len(counts) > 1 and count > _ONE_SIDED * counts.total():
        sentence = f"{percent(count / counts.total())} have one {what}, {name!r} ({listed(details)})"
    return share(count, counts.total(), details=details, sentence=sentence)


def _language(found: CollectedSet) -> Found | None:
    if found.names.get("language"):
        return _column(("language",), "language", found)
    counts = Counter(script(item.prompt_text or "".join(item.answers)) for item in found.sample)
    if not counts:
        return None
    return share(counts.most_common(1)[0][1], counts.total(), details=dict(counts.most_common()))


def _refusals(side: Callable[[CollectedSet, int], str | None], found: CollectedSet) -> Found | None:
    texts = [text for place in range(len(found.sample)) if (text := side(found, place)) is not None]
    if not texts:
        return None
    count = sum(map(has_refusal, texts))
    sentence = f"{percent(count / len(texts))} of these answers refuse" if count > _REFUSES * len(texts) else None
    return share(count, len(texts), sentence=sentence)


def _chosen(found: CollectedSet, place: int) -> str | None:
    item = found.sample[place]
    if found.kind == "pairs":
        return None if item.preferred is None else item.answers[item.preferred]
    return item.answers[0] if item.answers and item.label is not False else None


def _rejected(found: CollectedSet, place: int) -> str | None:
    item = found.sample[place]
    if found.kind == "pairs":
        return None if item.preferred is None else item.answers[1 - item.preferred]
    return item.answers[0] if item.label is False else None


BALANCE = (
    DataMeasure(
        "median length, chosen / rejected",
        "balance",
        "ratio of the medians, in characters; the test is of pairs, a sign test",
        _length,
        unit="number",
        usual=f"{1 / _RATIO:.2f} to {_RATIO}",
    ),
    DataMeasure("median length, characters", "balance", "of all answers", _answer_length, unit="number"),
    DataMeasure(
        "good answers", "balance", "of labelled ones", _good, usual=f"{100 * _LEAST:.0f} to {100 * (1 - _LEAST):.0f} %"
    ),
    DataMeasure(
        "largest source",
        "balance",
        "examples of the commonest source",
        partial(_column, ("source", "dataset", "subset"), "source"),
        usual=below(_ONE_SIDED),
    ),
    DataMeasure(
        "largest principle",
        "balance",
        "judgements under the commonest principle",
        partial(_column, ("principles",), "principle"),
        usual=below(_ONE_SIDED),
    ),
    DataMeasure("largest language", "balance", "a column language, or else the script of prompts", _language),
    DataMeasure(
        "chosen answers refuse",
        "balance",
        "by their words",
        partial(_refusals, _chosen),
        usual="3.6 % in HH",
        source="1,400 of HH-RLHF's harmless pairs, measured here",
    ),
    DataMeasure(
        "rejected answers refuse",
        "balance",
        "by their words",
        partial(_refusals, _rejected),
        usual="1.0 % in HH",
        source="the same pairs",
    ),
)
