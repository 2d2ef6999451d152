"""What the rows of a run say, in one pass: tallies, shares, distributions, and a few rows drawn as examples.

Names of tallies are what a person lists rows by. What becomes an example of a dataset is asked of the export itself, as
`cai export` without options would write it now; the rest is counted here from the rows alone.
"""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import median

import orjson

from cai.annotation.items import item_key
from cai.annotation.labels import AnswerLabels
from cai.core.corrected import CaseLabel
from cai.core.identity import derive_seed
from cai.core.records import Failure, Row, Trace, Usage, Verdict
from cai.data.export.datasets import DATASETS, ExampleMaker
from cai.data.export.selecting import settled
from cai.data.export.summary import ExportOptions
from cai.data.quality import LedgerEntry, shown_in
from cai.data.quality.filters import FILTERS
from cai.data.quality.personal import PERSONAL
from cai.report.drawn_rows import DrawnRows
from cai.report.shares import PromptShares
from cai.report.tallies import Tallies
from cai.rundir import RunReader

BINS = 10
"""Of label certainty from 0.5 to 1, and a side of the plot of positions from 0 to 1."""

GOOD, BAD, UNDECIDED = "revision preferred", "response preferred", "judge did not decide"
"""The kinds of examples: what the judge says of a final text beside the response that it was revised from."""


@dataclass(slots=True)
class RowFacts:
    """All that was counted; `grid` has verdicts by a's probability shown first and second, `certainty` decided ones.

    `people` are what people said of the rows, by which shares are corrected.
    `lengths` are the characters of each pair's chosen and rejected answer; `fingerprint` is the SHA-256 of the rows as
    JSON lines.
    """

    tallies: Tallies
    people: AnswerLabels
    shares: PromptShares = field(default_factory=PromptShares)
    usage: Usage = field(default_factory=Usage)
    certainty: list[int] = field(default_factory=lambda: [0] * BINS)
    grid: list[list[int]] = field(default_factory=lambda: [[0] * BINS for _ in range(BINS)])
    chosen: "array[int]" = field(default_factory=lambda: array("Q"))
    rejected: "array[int]" = field(default_factory=lambda: array("Q"))
    drawn: dict[str, DrawnRows] = field(default_factory=lambda: {kind: DrawnRows() for kind in (GOOD, BAD, UNDECIDED)})
    fingerprint: str = ""
    rounds: int = 0
    is_own_judge: bool = False

    @property
    def median_lengths(self) -> tuple[float, float] | None:
        """The medians of chosen and rejected answers, in characters; None without pairs."""
        return (median(self.chosen), median(self.rejected)) if self.chosen else None


def read_run_facts(reader: RunReader, people: AnswerLabels, seed: int, whole: str | None = None) -> RowFacts:
    """Read a run's rows, failures and rows left out; all rows of the tally `whole` are kept.

    Raises RunError where the run cannot be read.
    """
    facts = RowFacts(Tallies(whole), people)
    tallies = facts.tallies

    def record(entry: LedgerEntry) -> None:
        what = "filter" if entry.filter in FILTERS else "no example"
        tallies.add(f"{what} {entry.dataset}: {entry.outcome}: {entry.filter}", entry.id)
        if entry.filter in {one.name for one in PERSONAL}:
            tallies.add("personal data", entry.id)

    options = settled(ExportOptions(), reader.manifest)
    shown = shown_in(reader.manifest.settings)
    makers = {name: ExampleMaker(name, options, record, shown) for name in DATASETS}
    digest = hashlib.sha256()
    for row in reader.rows():
        tallies.begin_row()
        digest.update(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        _count_row(facts, row)
        for name, maker in makers.items():
            examples = list(maker.examples(row))
            tallies.add(f"examples {name}", row.prompt.id, len(examples))
            if name == "preference":
                for pair in examples:
                    _count_pair(facts, pair["chosen"], pair["rejected"], row.prompt.id)
        _draw(facts, row, seed)
        facts.shares.end_prompt()
    for maker in makers.values():
        maker.finish()
    for failure in reader.failures():
        _count_failure(tallies, failure)
    for reason, prompt_id in _left_out(reader):
        tallies.begin_row()
        tallies.add(f"left out: {reason}", prompt_id)
    for drawn in facts.drawn.values():
        drawn.mask(tallies)
    facts.fingerprint = digest.hexdigest()
    return facts


def _left_out(reader: RunReader) -> Iterator[tuple[str, str]]:
    from cai.rundir.left_out import prompt_key  # noqa: PLC0415

    left_out = reader.left_out()
    if len(left_out):
        for row in reader.rows("left out"):
            reason = "not in the input any more" if prompt_key(row.prompt) in left_out.not_asked else "dropped"
            yield reason, row.prompt.id


def _count_failure(tallies: Tallies, failure: Failure) -> None:
    tallies.begin_row()
    tallies.add(f"failed prompts: {failure.stage}: {failure.cause}", failure.id)
    tallies.add("failed prompts", failure.id)


def _count_row(facts: RowFacts, row: Row) -> None:
    tallies, name = facts.tallies, row.prompt.id
    tallies.add("rows", name)
    facts.usage += row.usage
    facts.is_own_judge |= row.provenance.judge == row.provenance.model
    tallies.add("prompts: several turns", name, len(row.prompt.messages) > 1)
    for tag in row.prompt.tags:
        tallies.add(f"prompts: tag {tag}", name)
    for part in row.failed:
        tallies.add(f"failed parts: {part.stage}: {part.cause}", name)
        tallies.add("failed parts", name)
    for trace in row.traces:
        _count_trace(facts, trace, row)
    _count_scores(facts, row)
    for verdict in row.verdicts:
        _count_verdict(facts, verdict, row)


def _count_scores(facts: RowFacts, row: Row) -> None:
    """Count what gates said of the same samples before and after; one that nothing was changed of counts in both."""
    scores = {score.source: score for score in row.scores if score.by == "gates"}
    for trace in row.traces:
        before = scores.get(f"response:{trace.sample}")
        after = before if trace.final == trace.response else scores.get(f"final:{trace.sample}")
        if before is None or after is None:
            continue
        for stage, score, text in (("before", before, trace.response), ("after", after, trace.final)):
            for finding in score.findings:
                kept = _kept(facts, row, text, finding.about)
                facts.shares.add(f"{stage}: {finding.about}", finding.probability, kept)
                facts.tallies.add(f"gates {stage} revision: {finding.about}", row.prompt.id)


def _kept(facts: RowFacts, row: Row, text: str, principle: str) -> CaseLabel | None:
    """Return whether a text keeps a principle, by people; None where they do not say."""
    breaks = facts.people.breaks(row.prompt.messages, text, principle)
    return None if breaks is None else CaseLabel(item_key("gate", row.prompt.messages, [text], principle), not breaks)


def _count_trace(facts: RowFacts, trace: Trace, row: Row) -> None:
    tallies, name, text = facts.tallies, row.prompt.id, trace.response
    tallies.add("responses", name)
    tallies.add("responses cut", name, trace.truncated)
    tallies.add("responses revised", name, trace.final != trace.response)
    facts.rounds = max(facts.rounds, len(trace.rounds))
    for number, turn in enumerate(trace.rounds, start=1):
        asked_about, text = text, text if turn.revision is None else turn.revision
        tallies.add("revisions", name, turn.revision is not None)
        tallies.add("revisions cut", name, turn.revision is not None and turn.truncated)
        if turn.gate is None and turn.gate_mass is None:
            continue
        kept = None if turn.gate is None else 1.0 - turn.gate
        state = "unanswered" if kept is None else "kept" if kept > 0.5 else "broken"
        tallies.add("gates", name)
        tallies.add(f"gates {state}", name)
        tallies.add(f"gates {state}: {turn.principle_id}", name)
        tallies.add(f"gates of round {number}", name)
        label = _kept(facts, row, asked_about, turn.principle_id)
        facts.shares.add(f"kept: {turn.principle_id}", kept, label)
        facts.shares.add(f"round: {number:03}", kept, label)


def _count_verdict(facts: RowFacts, verdict: Verdict, row: Row) -> None:
    tallies, probability, name = facts.tallies, verdict.probability, row.prompt.id
    tallies.add("verdicts", name)
    if verdict.abstained is not None:
        tallies.add("verdicts not decided", name)
        tallies.add(f"verdicts not decided: {verdict.abstained}", name)
    if probability is not None:
        certainty = max(probability, 1.0 - probability)
        place = min(int((certainty - 0.5) * 2 * BINS), BINS - 1)
        facts.certainty[place] += 1
        tallies.add("verdicts decided", name)
        tallies.add(f"certainty {0.5 + place / (2 * BINS):.2f} to {0.5 + (place + 1) / (2 * BINS):.2f}", name)
    revised = revised_first(verdict)
    if revised is not None:
        known = None if probability is None else probability if revised else 1.0 - probability
        facts.shares.add(f"better: {verdict.principle_id}", known, _prefers_final(facts, verdict, row))
        tallies.add(f"revision beside response: {verdict.principle_id}", name)
    if verdict.first is not None and verdict.second is not None:
        column, line = (min(int(value * BINS), BINS - 1) for value in (verdict.first, verdict.second))
        facts.grid[line][column] += 1
        tallies.add("both orders", name)
        tallies.add(f"both orders: {winner(verdict.first, verdict.second)}", name)
        facts.shares.add("same place", float(winner(verdict.first, verdict.second) in PLACES))


def _prefers_final(facts: RowFacts, verdict: Verdict, row: Row) -> CaseLabel | None:
    """Return whether people prefer the final text of a verdict's sample, as a whole, to its response."""
    sample = verdict.a_source.partition(":")[2]
    trace = next((trace for trace in row.traces if str(trace.sample) == sample), None)
    if trace is None:
        return None
    prefers = facts.people.prefers(row.prompt.messages, trace.final, trace.response)
    key = item_key("pair", row.prompt.messages, [trace.final, trace.response])
    return None if prefers is None else CaseLabel(key, prefers)


SHOWN_FIRST, SHOWN_SECOND, SAME_ANSWER, EVEN = "first place wins", "second place wins", "same answer wins", "even"
PLACES = (SHOWN_FIRST, SHOWN_SECOND)


def winner(first: float, second: float) -> str:
    """Return what wins both times a comparison was shown, of a's probability when a stood first, and second."""
    if first == 0.5 or second == 0.5:
        return EVEN
    if (first > 0.5) == (second > 0.5):
        return SAME_ANSWER
    return SHOWN_FIRST if first > 0.5 else SHOWN_SECOND


def revised_first(verdict: Verdict) -> bool | None:
    """Tell whether a is a final text and b the response that it was revised from; None for another comparison."""
    (a, _, one), (b, _, other) = (source.partition(":") for source in (verdict.a_source, verdict.b_source))
    if one != other or {a, b} != {"final", "response"}:
        return None
    return a == "final"


def _count_pair(facts: RowFacts, chosen: list[dict[str, str]], rejected: list[dict[str, str]], name: str) -> None:
    longer, shorter = (sum(len(turn["content"]) for turn in answer) for answer in (chosen, rejected))
    facts.chosen.append(longer)
    facts.rejected.append(shorter)
    which = "longer" if longer > shorter else "shorter" if longer < shorter else "as long"
    facts.tallies.add(f"chosen {which}", name)


def _draw(facts: RowFacts, row: Row, seed: int) -> None:
    """Offer a row as an example of what the judge says first of a revision, each time with that trace alone."""
    for verdict in row.verdicts:
        revised = revised_first(verdict)
        if revised is None:
            continue
        kind = UNDECIDED if verdict.probability is None else GOOD if (verdict.probability > 0.5) is revised else BAD
        sample = verdict.a_source.partition(":")[2]
        traces = tuple(trace for trace in row.traces if str(trace.sample) == sample)
        facts.tallies.add(kind, row.prompt.id)
        facts.drawn[kind].offer(
            derive_seed(seed, row.prompt.id, kind), replace(row, traces=traces, verdicts=(verdict,))
        )
        return
