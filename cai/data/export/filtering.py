"""Examples of a run's datasets through the quality filters: what these look at, and the example that is left.

An answer of a ranking is looked at by itself: without it the others keep their ranks, and one alone is no ranking.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import pyarrow as pa

from cai.core.records import Round, Row, Trace
from cai.data.export.answers import answers_of
from cai.data.quality import CHOSEN, COMPLETION, REJECTED, Item, Quality, QualityPass, ShownTexts
from cai.method.critique import CLEARLY_KEPT

Example: TypeAlias = dict[str, Any]

Filter: TypeAlias = Callable[[QualityPass, ShownTexts, Row, Example], Example | None]
"""Returns what filters leave of a row's example, None: nothing. What was cleaned has its `cleaned_from`."""

CLEANED_FROM = pa.field("cleaned_from", pa.list_(pa.struct([("field", pa.string()), ("text", pa.string())])))
"""What texts were before a filter cleaned them; a column where a filter may clean."""


def place_of(example: Mapping[str, Any]) -> str:
    """Return where in its row an example comes from."""
    if "completion" in example:
        return f"sample {example['sample']}, round {example['round']}"
    if "chosen" in example:
        return f"{example['chosen_source']} over {example['rejected_source']}"
    return "ranking"


def filter_example(quality: QualityPass, shown: ShownTexts, row: Row, example: Example) -> Example | None:
    """Filter an SFT example."""
    (trace,) = (trace for trace in row.traces if trace.sample == example["sample"])
    critique = trace.rounds[example["round"] - 1].critique if example["round"] else None
    item = quality.check(
        Item(
            id=row.prompt.id,
            messages=row.prompt.messages,
            answers={COMPLETION: example[COMPLETION][0]["content"]},
            place=place_of(example),
            tags=row.prompt.tags,
            critiques={COMPLETION: critique} if critique else {},
            shown=shown,
        )
    )
    if item is None or not item.cleaned_from:
        return None if item is None else example
    answer = [{**example[COMPLETION][0], "content": item.answers[COMPLETION]}]
    return _changed(example, item, {COMPLETION: answer, "messages": [*item.messages, *answer]})


def filter_pair(quality: QualityPass, shown: ShownTexts, row: Row, pair: Example) -> Example | None:
    """Filter a preference pair."""
    sources = {CHOSEN: pair["chosen_source"], REJECTED: pair["rejected_source"]}
    item = quality.check(
        Item(
            id=row.prompt.id,
            messages=row.prompt.messages,
            answers={name: pair[name][0]["content"] for name in sources},
            place=place_of(pair),
            tags=row.prompt.tags,
            critiques=_critiques(row, sources),
            kept=_kept_by_both(row, pair),
            shown=shown,
        )
    )
    if item is None or not item.cleaned_from:
        return None if item is None else pair
    return _changed(pair, item, {name: [{**pair[name][0], "content": item.answers[name]}] for name in sources})


def filter_ranking(quality: QualityPass, shown: ShownTexts, row: Row, ranking: Example) -> Example | None:
    """Filter the answers of a ranking."""
    answers: list[Example] = []
    cleaned_from: dict[str, str | None] = {}
    messages = row.prompt.messages
    for answer in ranking["answers"]:
        item = quality.check(
            Item(
                id=row.prompt.id,
                messages=row.prompt.messages,
                answers={COMPLETION: answer["text"]},
                place=answer["source"],
                tags=row.prompt.tags,
                critiques=_critiques(row, {COMPLETION: answer["source"]}),
                shown=shown,
            )
        )
        if item is not None:
            name = f"answers.{len(answers)}"
            answers.append({**answer, "text": item.answers[COMPLETION]} if item.cleaned_from else answer)
            cleaned_from |= {name if field == COMPLETION else field: text for field, text in item.cleaned_from.items()}
            messages = tuple(item.messages)
    if len(answers) < 2:
        return None
    if not cleaned_from:
        return {**ranking, "answers": answers}
    last = Item(row.prompt.id, messages, {}, cleaned_from=cleaned_from)
    return {**_changed(ranking, last, {}), "answers": answers}


def cleaned_row(quality: Quality, row: Row) -> Row:
    """Return a row as a judge should read it whose verdicts are exported with these filters: with cleaned texts.

    Only what is cleaned changes, not what is left out: a text of which nothing would be left stays as it is.
    """
    cleaning = replace(
        quality, actions={name: "clean" if one == "clean" else "off" for name, one in quality.actions.items()}
    )
    filters = QualityPass(cleaning, "", lambda _entry: None)
    if filters.is_off:
        return row

    def cleaned(text: str) -> Item:
        item = Item(row.prompt.id, row.prompt.messages, {COMPLETION: text})
        return filters.check(item) or item

    traces = tuple(
        replace(
            trace,
            response=cleaned(trace.response).answers[COMPLETION],
            final=cleaned(trace.final).answers[COMPLETION],
        )
        for trace in row.traces
    )
    return replace(row, prompt=replace(row.prompt, messages=tuple(cleaned("").messages)), traces=traces)


def _changed(example: Example, item: Item, texts: Mapping[str, Any]) -> Example:
    """Return an example with what was cleaned, and with what that was before."""
    before = [{"field": name, "text": text} for name, text in item.cleaned_from.items()]
    return {**example, "prompt": item.messages, **texts, "cleaned_from": before}


def _critiques(row: Row, sources: Mapping[str, str]) -> dict[str, str]:
    """Return the critique that came before each final text, by field."""
    answers = answers_of(row)
    return {name: critique for name, source in sources.items() if (critique := answers[source].critique)}


def _kept_by_both(row: Row, pair: Example) -> list[str]:
    """Return the principles of two samples' responses that the gates had found both to keep, clearly."""
    if pair["source"] != "samples" or not pair["chosen_source"].startswith("response:"):
        return []
    samples = [int(pair[name].partition(":")[2]) for name in ("chosen_source", "rejected_source")]
    kept = [
        {turn.principle_id for turn in _of_response(trace) if turn.gate is not None and turn.gate < CLEARLY_KEPT}
        for trace in row.traces
        if trace.sample in samples
    ]
    return [name for name in pair["principles"] if all(name in names for names in kept)]


def _of_response(trace: Trace) -> Iterator[Round]:
    """Yield the rounds whose gate looked at the response itself: up to the first that revised it."""
    for turn in trace.rounds:
        yield turn
        if turn.revision is not None:
            return
