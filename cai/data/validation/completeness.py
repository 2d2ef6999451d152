"""Completeness: rows that give no example, turns without text, and what a run lacks."""

from collections import Counter

from cai.data.validation.collecting import CollectedSet
from cai.data.validation.descriptor import DataMeasure, Found, below, listed, percent
from cai.data.validation.shares import share
from cai.data.validation.truncation import cut_share

_ABSTAINS = 0.5
_CUT = 0.05


def _without_example(found: CollectedSet) -> Found | None:
    if not found.rows:
        return None
    reasons = Counter(found.left_out)
    count = reasons.total()
    details = dict(reasons.most_common())
    sentence = f"{count:,} of {found.rows:,} rows give no example: {listed(details)}" if count else None
    return share(count, found.rows, details=details, sentence=sentence)


def _empty_turns(found: CollectedSet) -> Found | None:
    if not found.turns:
        return None
    count = found.empty_turns
    sentence = f"{count:,} prompts have a turn that says nothing" if count else None
    return share(count, found.examples, sentence=sentence)


def _lacking(found: CollectedSet) -> Found | None:
    run = found.run
    if run is None or not run.rows:
        return None
    result = run.lacking / run.rows
    sentence = f"{percent(result)} of the run's rows lack a sample or a verdict that failed" if run.lacking else None
    return share(run.lacking, run.rows, sentence=sentence)


def _abstained(found: CollectedSet) -> Found | None:
    run = found.run
    if run is None or not run.verdicts:
        return None
    details = dict(run.abstained.most_common())
    count = run.abstained.total()
    sentence = None
    if count > _ABSTAINS * run.verdicts:
        sentence = f"most verdicts were not decided ({listed(details)}): the pairs are those that the judge found easy"
    return share(count, run.verdicts, details=details, sentence=sentence)


def _cut(found: CollectedSet) -> Found | None:
    run = found.run
    if run is None or not run.texts:
        return None
    sentence = None
    if run.cut > _CUT * run.texts:
        sentence = f"{run.cut:,} of {run.texts:,} texts ended at the token limit; raise --max-tokens"
    return share(run.cut, run.texts, sentence=sentence)


COMPLETENESS = (
    DataMeasure(
        "rows without an example",
        "completeness",
        "fields missing, empty or not to be read",
        _without_example,
        usual="0 %",
    ),
    DataMeasure("prompts with an empty turn", "completeness", "a turn that says nothing", _empty_turns, usual="0 %"),
    DataMeasure(
        "rows that lack a part", "completeness", "of a run: a sample or verdict failed for good", _lacking, usual="0 %"
    ),
    DataMeasure(
        "verdicts not decided",
        "completeness",
        "of a run: the judge abstained",
        _abstained,
        usual=below(_ABSTAINS),
    ),
    DataMeasure("texts cut", "completeness", "of a run: at the token limit", _cut, usual=below(_CUT)),
    DataMeasure(
        "answers that do not fit",
        "completeness",
        "with --max-length: examples with an answer whose end training cuts off, or whose prompt leaves no room",
        lambda found: cut_share(found.truncation),
        usual="0 %",
    ),
)
