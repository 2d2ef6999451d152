"""SFT examples of a row: the final revisions, or every revision that changed something.

Constitutional AI fine-tunes on the responses of all revisional steps (arXiv 2212.08073, section 3.1); with a gate a
response that needed no revision is its own final answer.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from cai.core.arrow import MESSAGES
from cai.core.records import Row, Trace
from cai.data.export.answers import DUPLICATE, REASONS, spoiled
from cai.data.export.selecting import preferred
from cai.data.quality import COMPLETION, Record, whole
from cai.method.selectors import SelectorName
from cai.method.steps import Step, revisions
from cai.rundir.layout import SFT

SELECTED = (("selected_by", pa.string()), ("score", pa.float64()))
"""Columns more where one answer a prompt was selected."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", MESSAGES),
        ("prompt", MESSAGES),
        ("completion", MESSAGES),
        ("sample", pa.int64()),
        ("round", pa.int64()),
        ("principles", pa.list_(pa.string())),
    ]
)


def sft_examples(
    row: Row,
    all_revisions: bool,
    record: Record,
    *,
    reasoning: bool = False,
    select: SelectorName | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the row's examples in the columns of SCHEMA; `record` hears of what is left out.

    `round` counts from 1 in the order of the trace's rounds, 0 being the response itself; `principles` are those of
    the rounds that changed the text so far. With `reasoning` the answer has what the model thought before it. With
    `select` all answers that can be chosen are there, the preferred first, in the columns of SELECTED too.
    """
    if select is not None:
        for one in preferred(row, select, record):
            answer = answer_message(one.step.text, one.step.reasoning, thinking=reasoning)
            yield {**example_of(row, one.trace, one.step, answer), "selected_by": select, "score": one.score}
        return
    seen: set[str] = set()
    for trace in row.traces:
        steps = revisions(trace)
        # The response itself is an example only where nothing had to be revised.
        for step in (steps[1:] or steps) if all_revisions else steps[-1:]:
            reason = spoiled(step) or (DUPLICATE if step.text in seen else None)
            if reason is not None:
                place = f"sample {trace.sample}, round {step.round}"
                record(whole(SFT, row.prompt.id, place, reason, REASONS[reason], COMPLETION, step.text))
            else:
                seen.add(step.text)
                yield example_of(row, trace, step, answer_message(step.text, step.reasoning, thinking=reasoning))


def answer_message(text: str, reasoning: str | None, *, thinking: bool) -> dict[str, Any]:
    """Return an answer as a message; with `thinking` it has that field, None where the model did not think."""
    message = {"role": "assistant", "content": text}
    return {**message, "thinking": reasoning} if thinking else message


def example_of(row: Row, trace: Trace, step: Step, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the example of an answer, which stands in the place of a step."""
    return {
        "id": row.prompt.id,
        "messages": [*row.prompt.messages, answer],
        "prompt": row.prompt.messages,
        "completion": [answer],
        "sample": trace.sample,
        "round": step.round,
        "principles": list(step.principles),
    }
