"""Single answers that people judged or wrote: SFT examples, `labelled` from thumbs (KTO, arXiv 2402.01306), `scored`.

Of thumbs and ratings every text of a row counts, responses and revisions of all rounds alike. A score is the mean
rating, 1 to 5. What people wrote in the place of an answer stands in its place in SFT.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa

from cai.core.arrow import MESSAGES
from cai.core.records import Row
from cai.data.export.people import FOUND_BAD, LABEL_BY, NOT_LABELLED, REASONS, People
from cai.data.export.sft import answer_message, example_of, sft_examples
from cai.data.quality import COMPLETION, Record, whole
from cai.method.steps import sourced
from cai.rundir.layout import SFT

_COMMON = [
    ("id", pa.string()),
    ("messages", MESSAGES),
    ("prompt", MESSAGES),
    ("completion", MESSAGES),
    ("sample", pa.int64()),
    ("round", pa.int64()),
    ("source", pa.string()),
    ("model", pa.string()),
]
LABELLED = pa.schema([*_COMMON, ("label", pa.bool_())])
SCORED = pa.schema([*_COMMON, ("score", pa.float64())])


LABELLED_BY = (LABEL_BY, pa.string())


def sft_with_people(
    row: Row, all_revisions: bool, record: Record, people: People, *, reasoning: bool, only: bool
) -> Iterator[dict[str, Any]]:
    """Yield what people wrote, once each, then the row's own examples that nobody rewrote or found bad.

    With `only` what people said nothing of is left out too; `record` hears of it. `label_by` is `people` where they
    wrote the answer or found it good.
    """
    written: set[str] = set()
    edited: set[int] = set()
    messages = row.prompt.messages
    for trace in row.traces:
        for _, step in sourced(trace):
            for text in people.edits(messages, step.text):
                edited.add(trace.sample)
                if text not in written:
                    written.add(text)
                    example = example_of(row, trace, step, answer_message(text, None, thinking=reasoning))
                    yield {**example, LABEL_BY: "people"}
    for example in sft_examples(row, all_revisions, record, reasoning=reasoning):
        text = example[COMPLETION][0]["content"]
        if example["sample"] in edited or text in written:
            continue
        good = people.thumb(messages, text)
        reason = FOUND_BAD if good is False else NOT_LABELLED if only and not good else None
        if reason is None:
            yield {**example, LABEL_BY: "people" if good else None}
        else:
            place = f"sample {example['sample']}, round {example['round']}"
            record(whole(SFT, row.prompt.id, place, reason, REASONS[reason], COMPLETION, text))


def judged_answers(
    row: Row, people: People | None, column: Literal["label", "score"], *, reasoning: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield each answer of a row that people gave a thumb, or a rating, in the columns of LABELLED or SCORED."""
    if people is None:
        return
    ask: Mapping[str, Any] = {"label": people.thumb, "score": people.rating}
    seen: set[str] = set()
    for trace in row.traces:
        for source, step in sourced(trace):
            value = None if step.text in seen else ask[column](row.prompt.messages, step.text)
            if value is not None:
                seen.add(step.text)
                answer = answer_message(step.text, step.reasoning, thinking=reasoning)
                yield {
                    "id": row.prompt.id,
                    "messages": [*row.prompt.messages, answer],
                    "prompt": row.prompt.messages,
                    "completion": [answer],
                    "sample": trace.sample,
                    "round": step.round,
                    "source": source,
                    "model": trace.model,
                    column: value,
                }
