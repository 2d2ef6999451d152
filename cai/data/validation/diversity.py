"""Diversity: how different prompts and answers are from each other, what they are about, how answers begin."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from cai.data.validation.collecting import CollectedSet
from cai.data.validation.descriptor import DataMeasure, Found, below, listed, percent
from cai.data.validation.near_duplicates import NearDuplicates
from cai.data.validation.shares import share
from cai.data.validation.texts import distinct, openings, self_bleu

_ALIKE = 0.6
_SAME_OPENING = 0.1
_CLUSTERED = 0.1
_ONE_TOPIC = 0.5
_TOPICS = ("tags", "category", "domain")
_FEWEST = 50
"""Examples from which something is said of variety."""


def _answers(found: CollectedSet) -> Sequence[str]:
    """Return what would be learned: each example's preferred answer."""
    return [item.answers[item.preferred or 0] for item in found.sample if item.answers]


def _distinct(order: int, found: CollectedSet) -> Found | None:
    result = distinct(_answers(found), order)
    return None if result is None else Found(result[0], result[1])


def _self_bleu(found: CollectedSet) -> Found | None:
    result = self_bleu(_answers(found))
    if result is None:
        return None
    value, count = result
    sentence = None
    if value > _ALIKE and count >= _FEWEST:
        sentence = "answers are much alike: most of an answer's four-word runs stand in others too"
    return Found(value, count, sentence=sentence)


def _same_opening(found: CollectedSet) -> Found | None:
    counts = openings(_answers(found))
    if not counts:
        return None
    most = dict(counts.most_common(5))
    total = counts.total()
    opening, count = next(iter(most.items()))
    sentence = None
    if count > _SAME_OPENING * total and total >= _FEWEST:
        sentence = f"{percent(count / total)} of the answers begin with the same words, {opening!r}"
    return share(count, total, details=most, sentence=sentence)


def _different_prompts(found: CollectedSet) -> Found | None:
    repeats = found.repeats
    if not repeats.rows or (found.kind == "supervised" and not found.turns):
        return None
    details = {"most rows of one prompt": float(repeats.largest), "prompts with several rows": float(repeats.several)}
    return share(repeats.prompts, repeats.rows, details=details)


def _clusters(found: CollectedSet) -> Found | None:
    prompts = [text for text in dict.fromkeys(item.prompt_text for item in found.sample) if text]
    if not prompts:
        return None
    with NearDuplicates() as near:
        near.add(prompts)
        sizes = np.bincount(near.firsts())
    clustered = int(sizes[sizes > 1].sum())
    sentence = None
    if clustered > _CLUSTERED * len(prompts) and len(prompts) >= _FEWEST:
        sentence = (
            f"{percent(clustered / len(prompts))} of the different prompts have a near-duplicate among them, up to "
            f"{sizes.max():,} together"
        )
    details = {"clusters": float((sizes > 1).sum()), "largest": float(sizes.max())}
    return share(clustered, len(prompts), details=details, sentence=sentence)


def _topics(found: CollectedSet) -> Found | None:
    counts: Counter[str] = next((found.names[name] for name in _TOPICS if found.names.get(name)), Counter())
    if not counts:
        return None
    details = dict(counts.most_common())
    largest = counts.most_common(1)[0]
    sentence = None
    if largest[1] > _ONE_TOPIC * found.examples and len(counts) > 2:
        sentence = f"more than half of the examples are about {largest[0]!r} ({listed(details)})"
    return share(min(largest[1], found.examples), found.examples, details=details, sentence=sentence)


DIVERSITY = (
    DataMeasure(
        "distinct-1",
        "diversity",
        "different words by words, of the first 20,000 of the answers (1510.03055); fewer words have a greater share",
        partial(_distinct, 1),
        usual="14 % of 20,000 in HH",
        source="1,400 of HH-RLHF's harmless pairs, measured here",
    ),
    DataMeasure(
        "distinct-2",
        "diversity",
        "different word pairs by word pairs, likewise",
        partial(_distinct, 2),
        usual="57 % of 20,000 in HH",
        source="the same pairs",
    ),
    DataMeasure(
        "self-BLEU",
        "diversity",
        "BLEU-4 of an answer against 300 others (1802.01886); low is various",
        _self_bleu,
        unit="number",
        usual="0.34 of 300 in HH",
        source="the same pairs",
    ),
    DataMeasure(
        "same opening",
        "diversity",
        "answers that begin with the three commonest words",
        _same_opening,
        usual=below(_SAME_OPENING),
    ),
    DataMeasure("different prompts", "diversity", "different prompts by rows", _different_prompts),
    DataMeasure(
        "prompts in clusters",
        "diversity",
        "different prompts with a near-duplicate among them",
        _clusters,
        usual=below(_CLUSTERED),
    ),
    DataMeasure("largest topic", "diversity", "examples with the commonest tag", _topics, usual=below(_ONE_TOPIC)),
)
