"""Preference pairs of a row: one for each comparison that a judge decided, with its soft label (`method.verdicts`)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from cai.core.arrow import MESSAGES
from cai.core.errors import RunError
from cai.core.records import Row, Verdict
from cai.data.export.sft import Step, answer_message, revisions
from cai.method.verdicts import IDENTICAL, TIE, combine

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
EMPTY = "empty"
TRUNCATED = "truncated"


def preference_pairs(row: Row, left_out: Counter[str], *, reasoning: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the row's pairs in the columns of SCHEMA; comparisons that give none are counted in `left_out` by reason.

    `first` and `second` hold, for each principle, the probability that the chosen answer is better when it was shown
    first and when it was shown second. With `reasoning` each answer has what the model thought before it. Raises
    RunError when a verdict names an answer that the row does not have.
    """
    answers: dict[str, Step] = {}
    for trace in row.traces:
        steps = revisions(trace)
        answers |= {f"response:{trace.sample}": steps[0], f"final:{trace.sample}": steps[-1]}
    comparisons: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in row.verdicts:
        comparisons.setdefault((verdict.a_source, verdict.b_source), []).append(verdict)
    for sources, verdicts in comparisons.items():
        missing = [source for source in sources if source not in answers]
        if missing:
            raise RunError(f"the row of prompt {row.prompt.id!r} has a verdict on {missing[0]!r} but no such answer.")
        combined = combine(verdicts)
        a, b = (answers[source] for source in sources)
        if a.text.strip() == b.text.strip():
            left_out[IDENTICAL] += 1
        elif not (a.text.strip() and b.text.strip()):
            left_out[EMPTY] += 1
        elif a.truncated or b.truncated:
            left_out[TRUNCATED] += 1
        elif combined.probability is not None:
            messages = [[answer_message(one.text, one.reasoning, thinking=reasoning)] for one in (a, b)]
            yield _pair(row, combined.decided, messages, combined.probability)
        else:
            left_out[TIE if combined.decided else ABSTAINED] += 1


def _pair(
    row: Row, decided: Sequence[Verdict], answers: Sequence[list[dict[str, Any]]], probability: float
) -> dict[str, Any]:
    """Return the pair in the chosen answer's frame: what b wins a loses, with the orders exchanged."""
    sources = decided[0].a_source, decided[0].b_source
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
