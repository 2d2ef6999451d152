"""The answers of a row by their sources, the verdicts on each two of them, and what these rank.

A row's answers are its first responses (`response:0`) and their final texts (`final:0`). A ranking holds every answer
that is an answer of its own, whole, and connected with the others by comparisons; what it leaves out is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cai.core.errors import RunError
from cai.core.records import Row, Verdict
from cai.data.quality import Record, whole
from cai.method.comparing import is_revised
from cai.method.ranking import Outcome, Ranking, Triples, connected, cyclic_triples, rank
from cai.method.steps import Step, revisions
from cai.method.verdicts import ranked_outcome

TRUNCATED = "truncated"
EMPTY = "empty"
DUPLICATE = "duplicate"
ALONE = "compared with no other"
NOT_SELECTED = "not selected"
NOT_SCORED = "nothing known to select by"
REASONS = {
    TRUNCATED: "the token limit ended it",
    EMPTY: "it says nothing",
    DUPLICATE: "another answer to the same prompt says the same",
    ALONE: "no comparison connects it with the answers that are ranked",
    NOT_SELECTED: "another answer to the same prompt was preferred",
    NOT_SCORED: "what selects says nothing of it",
}
"""Why a text is no answer of its own, in words for the ledger."""

_DIGITS = 6
"""Beyond these, strengths depend on how a machine rounds."""


def spoiled(step: Step) -> str | None:
    """Return why a text is no answer, whatever it is compared with."""
    if step.truncated:
        return TRUNCATED
    return None if step.text.strip() else EMPTY


class _OfLastRow:
    """The answers of the row that was asked for last: a run's datasets and their filters all ask for the same."""

    def __init__(self) -> None:
        self._known: tuple[Row, Mapping[str, Step]] | None = None

    def __call__(self, row: Row) -> Mapping[str, Step]:
        """Return the row's responses and final texts by their sources."""
        known = self._known
        if known is None or known[0] is not row:
            known = self._known = row, _answers_of(row)
        return known[1]


answers_of = _OfLastRow()


def _answers_of(row: Row) -> Mapping[str, Step]:
    answers: dict[str, Step] = {}
    for trace in row.traces:
        steps = revisions(trace)
        answers[f"response:{trace.sample}"] = steps[0]
        answers[f"final:{trace.sample}"] = steps[-1]
    return answers


def whole_answers(row: Row) -> dict[str, Step]:
    """Return the row's answers that are whole by their sources, each text once: what people are shown to rank."""
    found: dict[str, Step] = {}
    for source, step in answers_of(row).items():
        if spoiled(step) is None and all(step.text != other.text for other in found.values()):
            found[source] = step
    return found


def compared(row: Row, answers: Mapping[str, Step]) -> dict[tuple[str, str], list[Verdict]]:
    """Return the verdicts on each comparison; raises RunError when one names an answer that the row does not have."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in row.verdicts:
        sources = verdict.a_source, verdict.b_source
        for source in sources:
            if source not in answers:
                raise RunError(f"the row of prompt {row.prompt.id!r} has a verdict on {source!r} but no such answer.")
        found.setdefault(sources, []).append(verdict)
    return found


@dataclass(frozen=True, slots=True)
class RowRanking:
    """The answers of a row on one scale: `sources` in their numbers, `ranking` of these, from so many comparisons."""

    sources: tuple[str, ...]
    ranking: Ranking
    comparisons: int
    triples: Triples

    @property
    def order(self) -> tuple[str, ...]:
        """The sources, the best first."""
        return tuple([self.sources[item] for item in self.ranking.order])

    def strength(self, source: str) -> float:
        """Return an answer's strength in log-odds; the mean of the row's is 0."""
        return round(self.ranking.strengths[self.sources.index(source)], _DIGITS)

    def error(self, source: str) -> float:
        """Return the standard error of an answer's strength."""
        return round(self.ranking.errors[self.sources.index(source)], _DIGITS)

    def probability(self, a: str, b: str) -> float:
        """Return how likely a is better than b."""
        return round(self.ranking.probability(self.sources.index(a), self.sources.index(b)), _DIGITS)

    def ranks(self) -> dict[str, int]:
        """Return each answer's rank from 1; equally strong answers share one."""
        order = self.order
        strengths = [self.strength(source) for source in order]
        return {source: 1 + strengths.index(own) for source, own in zip(order, strengths, strict=True)}


Said = Sequence[tuple[str, str, float]]
"""Two sources, and how likely the first is the better answer, as often as somebody said so."""


def rank_row(row: Row, dataset: str, record: Record, said: Said | None = None) -> RowRanking | None:
    """Return the ranking of a row's answers, None where no two are left; `record` hears of the others.

    It is made of the row's verdicts, or of what is `said` in their place.

    Answers of the same text are one: the first of them, with none of the comparisons among them. Where comparisons fall
    into groups that nothing connects, the largest is ranked, and the rest counted as `ALONE`.
    """
    answers = answers_of(row)
    sources = _ranked_sources(row, answers, dataset, record)
    texts = {answers[source].text.strip(): item for item, source in enumerate(sources)}
    items = {source: texts[text] for source, step in answers.items() if (text := step.text.strip()) in texts}
    outcomes = [
        Outcome(items[a], items[b], probability)
        for a, b, probability in (_judged(row, answers) if said is None else said)
        if a in items and b in items and items[a] != items[b]
    ]
    groups = connected(len(sources), outcomes)
    kept = groups[0] if groups and len(groups[0]) > 1 else ()
    for item, source in enumerate(sources):
        if item not in kept:
            record(whole(dataset, row.prompt.id, source, ALONE, REASONS[ALONE], source, answers[source].text))
    if not kept:
        return None
    if len(kept) < len(sources):
        numbers = {item: number for number, item in enumerate(kept)}
        sources = [sources[item] for item in kept]
        outcomes = [
            Outcome(numbers[outcome.a], numbers[outcome.b], outcome.probability)
            for outcome in outcomes
            if outcome.a in numbers
        ]
    return RowRanking(tuple(sources), rank(len(sources), outcomes), len(outcomes), cyclic_triples(outcomes))


def _judged(row: Row, answers: Mapping[str, Step]) -> Said:
    found = compared(row, answers).items()
    told = [(*sources, ranked_outcome(verdicts)) for sources, verdicts in found]
    return [(a, b, probability) for a, b, probability in told if probability is not None]


def _ranked_sources(row: Row, answers: Mapping[str, Step], dataset: str, record: Record) -> Sequence[str]:
    """Return the sources of answers that can be ranked; `record` hears of the others."""
    sources: list[str] = []
    texts: set[str] = set()
    for trace in row.traces:
        for source in (f"response:{trace.sample}", *([f"final:{trace.sample}"] if is_revised(trace) else [])):
            text = answers[source].text.strip()
            reason = spoiled(answers[source]) or (DUPLICATE if text in texts else None)
            if reason is not None:
                record(whole(dataset, row.prompt.id, source, reason, REASONS[reason], source, answers[source].text))
            else:
                texts.add(text)
                sources.append(source)
    return sources
