"""Bias of labels: whether length, place, form, a refusal or its author decides what is called better."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from cai.data.validation.collecting import CollectedSet
from cai.data.validation.descriptor import DataMeasure, Found, below, percent
from cai.data.validation.shares import majority, share
from cai.data.validation.statistics import rank_correlation
from cai.data.validation.texts import has_list, has_markup, has_refusal

PREDICTS = 0.7
"""From this share on, length alone predicts the label."""

_SURE = 0.01
_PLACE = 0.3
_REFUSALS = 0.9
"""Up to this share refusals are preferred where labels are of harmlessness; beyond it nothing else may be learnt."""

_LEAN = 0.15
"""How far from one half a side has to be to be called favoured, where a test says that it is no chance."""


def _longer(found: CollectedSet) -> Found | None:
    lengths = found.lengths
    return majority(lengths.longer, lengths.shorter, partial(_lean, "longer answers", "shorter answers"))


def _lean(first: str, second: str, value: Found) -> str | None:
    if value.p is None or value.p >= _SURE or abs(value.value - 0.5) < _LEAN:
        return None
    ahead, behind = (first, second) if value.value > 0.5 else (second, first)
    more = max(value.value, 1 - value.value)
    return f"labels prefer {ahead} to {behind} in {percent(more)} of the pairs that differ in this"


def _length_odds(found: CollectedSet) -> Found | None:
    odds = found.lengths.pair_odds() if found.kind == "pairs" else None
    if found.kind == "labelled":
        odds = found.lengths.label_odds()
    return None if odds is None else Found(odds.ratio, found.examples, odds.low, odds.high)


def _predicts(found: CollectedSet) -> Found | None:
    lengths = found.lengths
    if found.kind == "pairs" and found.examples:
        total = lengths.longer + lengths.shorter + lengths.same
        if not total:
            return None
        result = share(max(lengths.longer, lengths.shorter) + lengths.same / 2, total)
        which = "longer" if lengths.longer > lengths.shorter else "shorter"
    elif found.kind == "labelled" and (likely := lengths.label_auc()) is not None:
        result = Found(max(likely, 1 - likely), found.examples)
        which = "longer" if likely > 0.5 else "shorter"
    else:
        return None
    if result.value <= PREDICTS:
        return result
    sentence = (
        f"length alone predicts the label: calling the {which} answer better is right {percent(result.value)} of the "
        "time, and a model will learn that first"
    )
    return Found(result.value, result.count, result.low, result.high, sentence=sentence)


def _score_by_length(found: CollectedSet) -> Found | None:
    scored = [(item.score, len(item.answers[0])) for item in found.sample if item.score is not None]
    if not scored:
        return None
    scores, lengths = np.array(scored, np.float64).T
    value = rank_correlation(scores, lengths)
    if value is None:
        return None
    sentence = f"scores follow length (rank correlation {value:.2f})" if abs(value) > 0.5 else None
    return Found(value, len(scored), sentence=sentence)


def _form(has: Callable[[str], bool], what: str, found: CollectedSet, *, usual: float = 0.5) -> Found | None:
    """Return how often the answer that has something is preferred to one that has not; up to `usual` it is no news."""
    with_it = without = 0
    for item in found.sample if found.kind == "pairs" else ():
        if item.preferred is None:
            continue
        better, worse = has(item.answers[item.preferred]), has(item.answers[1 - item.preferred])
        with_it += better and not worse
        without += worse and not better
    result = majority(with_it, without, partial(_lean, f"answers with {what}", f"answers without {what}"))
    is_usual = result is not None and 0.5 <= result.value <= usual
    return replace(result, sentence=None) if result is not None and is_usual else result


def _place(found: CollectedSet) -> Found | None:
    orders = found.orders if found.run is None else found.run.orders
    if not orders.asked:
        return None
    result = orders.place / orders.asked
    advantage = orders.advantage / orders.asked
    sentence = None
    if result > _PLACE:
        where = "first" if advantage > 0 else "second"
        sentence = f"in {percent(result)} of the verdicts the place decided: the judge favours what stands {where}"
    return share(orders.place, orders.asked, details={"first place ahead by": advantage}, sentence=sentence)


def _is_author(found: CollectedSet) -> Found | None:
    run = found.run
    if run is None or not run.verdicts:
        return None
    own = run.authors & run.judges
    sentence = None
    if own and run.own is None:
        sentence = (
            f"judge and author are one model ({', '.join(sorted(own))}): whether it prefers its own nobody can tell "
            "from this run; judge it again with another (`cai judge`)"
        )
    return Found(float(bool(own)), 1, sentence=sentence)


def _own_answers(found: CollectedSet) -> Found | None:
    """Return how often a judge that wrote answers too preferred its own to another model's."""
    own = None if found.run is None else found.run.own
    if own is None:
        return None
    sentence = None
    if own.share.low > 0.5:
        sentence = f"the judge {own.judge} prefers its own answers; whether they are better, another judge has to tell"
    return Found(own.share.value, own.prompts, own.share.low, own.share.high, sentence=sentence)


BIAS = (
    DataMeasure(
        "longer is preferred",
        "bias of labels",
        "of pairs whose answers differ in length",
        _longer,
        usual="near 50 %",
        source="44 % of HH-RLHF's harmless pairs, measured here; more in sets of helpfulness, 2310.03716",
    ),
    DataMeasure(
        "odds of twice the length",
        "bias of labels",
        "how much likelier an answer is preferred that is twice as long (logistic regression)",
        _length_odds,
        unit="number",
        usual="near 1",
    ),
    DataMeasure(
        "length alone is right",
        "bias of labels",
        "how often the better rule of longer or shorter gives the label",
        _predicts,
        usual=below(PREDICTS),
    ),
    DataMeasure(
        "score by length", "bias of labels", "rank correlation", _score_by_length, unit="number", usual="-0.5 to 0.5"
    ),
    DataMeasure(
        "place decides",
        "bias of labels",
        "verdicts of both orders in which the same place won twice",
        _place,
        usual=below(_PLACE),
        source="of a large judge 18, a small one 21, a very small one 56 %, 2309.00267",
    ),
    DataMeasure("judge is author", "bias of labels", "of a run: 1 if it is", _is_author, unit="number", usual="0"),
    DataMeasure(
        "judge prefers its own",
        "bias of labels",
        "of a run of several models: prompts in which it prefers its own response to another's",
        _own_answers,
        usual="near 50 %",
    ),
    DataMeasure(
        "lists are preferred",
        "bias of labels",
        "of pairs in which one answer has a list",
        partial(_form, has_list, "a list"),
        usual="near 50 %",
    ),
    DataMeasure(
        "markup is preferred",
        "bias of labels",
        "of pairs in which one answer has Markdown",
        partial(_form, has_markup, "markup"),
        usual="near 50 %",
    ),
    DataMeasure(
        "refusals are preferred",
        "bias of labels",
        "of pairs in which one answer refuses, by its words",
        partial(_form, has_refusal, "a refusal", usual=_REFUSALS),
        usual=f"50 to {100 * _REFUSALS:.0f} %; 80 % in HH",
        source="1,400 of HH-RLHF's harmless pairs, measured here; a constitution of helpfulness wants less",
    ),
)
