"""Choosing one answer of each prompt for SFT, among all its samples' responses and revisions.

A selector (`cai.method.selectors`) gives answers a value, and the best is chosen; equal ones are drawn from. What it
decides by is in the row: the judge's verdicts, or the scores that were asked for when the row was made. So the same
rows can be exported in several ways, and a run that is judged again is chosen from by its new verdicts. An answer of
which nothing is known is never chosen before one of which something is; where nothing is known of any, nothing is.
Quality filters come first: where they leave the best answer out, the next is chosen.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cai.core.errors import RunError
from cai.core.identity import draw
from cai.core.records import Row, Trace
from cai.data.export.answers import DUPLICATE, NOT_SCORED, NOT_SELECTED, REASONS, answers_of, rank_row, spoiled
from cai.data.export.filtering import place_of
from cai.data.export.summary import ExportOptions, Selected
from cai.data.quality import COMPLETION, LedgerEntry, Record, whole
from cai.method.selectors import SELECTORS, SelectorName
from cai.method.steps import Step, answers, sourced
from cai.rundir import Manifest
from cai.rundir.layout import SFT


@dataclass(frozen=True, slots=True)
class Chosen:
    """The answer that was chosen; `score` is what it was chosen by, None where it was drawn or the only one."""

    trace: Trace
    step: Step
    source: str
    score: float | None


def settled(options: ExportOptions, manifest: Manifest) -> ExportOptions:
    """Return the options with what chooses filled in: what the run was made with, where nothing is said.

    Raises RunError where the run's rows have no scores of that kind.
    """
    asked = manifest.identity.get("select")
    if options.labels != "judge":
        return options
    if options.select is None:
        made = str(manifest.settings.get("select") or "").partition(":")[0]
        name = next((known for known in SELECTORS if known == made), None)
        return options if name is None or options.all_revisions else replace(options, select=name)
    if options.select == "final":
        return options
    if SELECTORS[options.select].asks and asked is not None and asked.partition(":")[0] != options.select:
        raise RunError(
            f"the run's rows have no scores by {options.select}, which are asked for while they are made: "
            f"use `cai generate --select {options.select}`, or select by judge or random"
        )
    return options


def preferred(row: Row, by: SelectorName, record: Record) -> list[Chosen]:
    """Return the row's answers as the selector prefers them, the best first; `record` hears of those that it cannot.

    Equal ones are in a drawn order.
    """
    pool = answers(row.traces)
    traces: dict[str, Trace] = {}
    for trace in row.traces:
        for source, step in sourced(trace):
            traces[source] = trace
            if source not in pool:
                record(_left_out(row, trace, step, spoiled(step) or DUPLICATE))
    values = _values(row, by, pool)
    if not values and len(pool) == 1:
        values = dict.fromkeys(pool, 0.0)
    for source, step in pool.items():
        if source not in values:
            record(_left_out(row, traces[source], step, NOT_SCORED))
    seed, name = row.provenance.seed, row.prompt.id
    order = sorted(values, key=lambda source: (-values[source], draw(seed, name, source, "tie")))
    drawn = by == "random" or len(pool) == 1
    return [Chosen(traces[source], pool[source], source, None if drawn else values[source]) for source in order]


def not_selected(example: Mapping[str, Any]) -> LedgerEntry:
    """Return the entry of an example that another one was preferred to."""
    text = example[COMPLETION][0]["content"]
    return whole(SFT, example["id"], place_of(example), NOT_SELECTED, REASONS[NOT_SELECTED], COMPLETION, text)


def _left_out(row: Row, trace: Trace, step: Step, reason: str) -> LedgerEntry:
    place = f"sample {trace.sample}, round {step.round}"
    return whole(SFT, row.prompt.id, place, reason, REASONS[reason], COMPLETION, step.text)


def _values(row: Row, by: SelectorName, pool: Mapping[str, Step]) -> dict[str, float]:
    """Return what is known of each answer, by its source; higher is better."""
    if by == "random":
        return {source: draw(row.provenance.seed, row.prompt.id, source, "select") for source in pool}
    if by != "judge":
        return {
            score.source: score.value
            for score in row.scores
            if score.by == by and score.value is not None and score.source in pool
        }
    ranking = rank_row(row, SFT, lambda _entry: None)
    if ranking is None:
        return {}
    texts = {step.text.strip(): source for source, step in pool.items()}
    judged = answers_of(row)
    return {texts[judged[source].text.strip()]: ranking.strength(source) for source in ranking.sources}


class SelectionCounter:
    """Counts what was chosen while a run is exported, beside the scores of all that could be."""

    def __init__(self, options: ExportOptions) -> None:
        self._by = options.selector
        self._chosen: list[float] = []
        self._rounds: Counter[bool] = Counter()
        self._all: defaultdict[str, list[float]] = defaultdict(list)

    def count(self, row: Row, examples: Sequence[Mapping[str, Any]]) -> None:
        """Count a row and its SFT examples."""
        if self._by is None:
            return
        self._rounds.update(bool(example["round"]) for example in examples)
        self._chosen += [example["score"] for example in examples if example["score"] is not None]
        self._all["scores"] += [score.value for score in row.scores if score.by == self._by and score.value is not None]

    def selected(self) -> Selected | None:
        """Return what was counted; None where all final texts are exported."""
        if self._by is None:
            return None
        return Selected(
            self._by, self._rounds[False], self._rounds[True], _mean(self._chosen), _mean(self._all["scores"])
        )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
