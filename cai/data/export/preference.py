"""Preference pairs of a row, with soft labels (`method.verdicts`, `method.ranking`).

`all` gives one for each comparison that a judge decided. `best-worst` and `adjacent` give pairs of the row's ranking:
the best answer against the worst, or each against the next, with the probability that the whole ranking gives them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import pyarrow as pa

from cai.core.arrow import MESSAGES
from cai.core.records import Row, Verdict
from cai.data.export import people as words
from cai.data.export.answers import EMPTY, TRUNCATED, answers_of, compared, rank_row, spoiled, whole_answers
from cai.data.export.people import LABEL_BY, VOTES, Labels, PairLabel, People
from cai.data.export.sft import answer_message
from cai.data.quality import CHOSEN, LedgerEntry, Record, whole
from cai.method.comparing import comparisons as every_comparison
from cai.method.steps import Step
from cai.method.verdicts import IDENTICAL, TIE, combine, is_tie
from cai.rundir.layout import PREFERENCE

Pairs = Literal["all", "best-worst", "adjacent"]

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("chosen_probability", pa.float64()),
        ("source", pa.string()),
        ("principles", pa.list_(pa.string())),
        ("first", pa.list_(pa.float64())),
        ("second", pa.list_(pa.float64())),
        ("chosen_source", pa.string()),
        ("rejected_source", pa.string()),
    ]
)

ABSTAINED = "abstained"
_REASONS = {
    IDENTICAL: "both answers say the same",
    EMPTY: "an answer says nothing",
    TRUNCATED: "the token limit ended an answer",
    ABSTAINED: "every verdict abstained",
    TIE: "the verdicts prefer neither answer",
    **words.REASONS,
}


LABELLED_BY = ((LABEL_BY, pa.string()), (VOTES, pa.int64()))
"""Columns more where people were asked."""


def preference_pairs(
    row: Row,
    record: Record,
    *,
    pairs: Pairs = "all",
    reasoning: bool = False,
    labels: Labels = "judge",
    people: People | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the row's pairs in the columns of SCHEMA; `record` hears of what gives none.

    That are comparisons, and of a ranking also answers that it could not hold. `first` and `second` hold, for each
    principle, the probability that the chosen answer is better when it was shown first and when it was shown second; a
    pair of a ranking that was never judged itself has none. With `reasoning` each answer has what the model thought
    before it. With `labels` of `human` or `both` the label is people's where they gave one (`people`), and the columns
    of LABELLED_BY say so. Raises RunError when a verdict names an answer that the row does not have.
    """
    answers = answers_of(row)
    comparisons = compared(row, answers)
    if pairs != "all":
        yield from _ranked_pairs(row, answers, comparisons, record, pairs, reasoning=reasoning)
        return
    if people is not None and labels != "judge":
        can_be = [(one.a_source, one.b_source) for one in every_comparison(row.prompt, row.traces)]
        for sources in can_be:
            comparisons.setdefault(sources, [])
    for sources, verdicts in comparisons.items():
        combined = combine(verdicts)
        a, b = (answers[source] for source in sources)
        label = None
        if people is not None and labels != "judge":
            ranked = [step.text for step in whole_answers(row).values()]
            among = ranked if {a.text, b.text} <= set(ranked) else ()
            label = people.pair(row.prompt.messages, a.text, b.text, among)
        probability = combined.probability if label is None else label.probability
        reason = _reason(a, b) or _not_peoples(labels, label)
        if reason is None and probability is not None:
            pair = _pair(row, combined.decided, sources, _messages((a, b), reasoning), probability)
            yield pair if labels == "judge" else pair | _said_by(label)
        elif verdicts or label is not None:
            record(_left_out(row, sources, reason or (TIE if combined.decided else ABSTAINED), a.text))


def _not_peoples(labels: Labels, label: PairLabel | None) -> str | None:
    """Return why a pair is none for what people said, or did not say."""
    if label is None:
        return words.NOT_LABELLED if labels == "human" else None
    return words.PEOPLE_TIE if is_tie(label.probability) else None


def _said_by(label: PairLabel | None) -> dict[str, Any]:
    return {LABEL_BY: "judge", VOTES: None} if label is None else {LABEL_BY: "people", VOTES: label.votes}


def _reason(a: Step, b: Step) -> str | None:
    """Return why two answers are no pair, whatever a judge says of them."""
    if a.text.strip() == b.text.strip():
        return IDENTICAL
    reasons = {spoiled(a), spoiled(b)}
    return EMPTY if EMPTY in reasons else TRUNCATED if TRUNCATED in reasons else None


def _left_out(row: Row, sources: tuple[str, str], reason: str, text: str) -> LedgerEntry:
    return whole(PREFERENCE, row.prompt.id, " against ".join(sources), reason, _REASONS[reason], CHOSEN, text)


def _ranked_pairs(
    row: Row,
    answers: Mapping[str, Step],
    comparisons: Mapping[tuple[str, str], Sequence[Verdict]],
    record: Record,
    pairs: Pairs,
    *,
    reasoning: bool,
) -> Iterator[dict[str, Any]]:
    ranking = rank_row(row, PREFERENCE, record)
    if ranking is None:
        return
    order = ranking.order
    for better, worse in [(order[0], order[-1])] if pairs == "best-worst" else pairwise(order):
        probability = ranking.probability(better, worse)
        if is_tie(probability):
            record(_left_out(row, (better, worse), TIE, answers[better].text))
            continue
        sources, frame = (better, worse), probability
        if sources not in comparisons and sources[::-1] in comparisons:
            sources, frame = sources[::-1], 1.0 - probability
        decided = combine(comparisons.get(sources, ())).decided
        found = [answers[source] for source in sources]
        yield _pair(row, decided, sources, _messages(found, reasoning), frame) | {"chosen_probability": probability}


def _messages(answers: Sequence[Step], reasoning: bool) -> list[list[dict[str, Any]]]:
    return [[answer_message(one.text, one.reasoning, thinking=reasoning)] for one in answers]


def _pair(
    row: Row,
    decided: Sequence[Verdict],
    sources: tuple[str, str],
    answers: Sequence[list[dict[str, Any]]],
    probability: float,
) -> dict[str, Any]:
    """Return the pair in the chosen answer's frame: what b wins a loses, with the orders exchanged."""
    first = [verdict.first for verdict in decided]
    second = [verdict.second for verdict in decided]
    if probability < 0.5:
        sources, answers = sources[::-1], answers[::-1]
        probability = 1.0 - probability
        first, second = _complements(second), _complements(first)
    same_sample = sources[0].partition(":")[2] == sources[1].partition(":")[2]
    return {
        "id": row.prompt.id,
        "prompt": row.prompt.messages,
        "chosen": answers[0],
        "rejected": answers[1],
        "chosen_probability": probability,
        "source": "revision" if same_sample else "samples",
        "principles": [verdict.principle_id for verdict in decided],
        "first": first,
        "second": second,
        "chosen_source": sources[0],
        "rejected_source": sources[1],
    }


def _complements(probabilities: Sequence[float | None]) -> list[float | None]:
    return [None if probability is None else 1.0 - probability for probability in probabilities]
