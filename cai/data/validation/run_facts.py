"""What only a run knows of its pairs: verdicts in both orders, gates beside verdicts, and who wrote and who judged."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cai.core.records import Row, Trace, Verdict
from cai.data.examples.labels import BAD_ABOVE
from cai.data.export.standings import JudgedOwn, StandingsCounter


@dataclass(slots=True)
class Orders:
    """Verdicts that were asked in both orders: in `place` of `asked` the same place won both times.

    `advantage` is by how much more likely the answer that is shown first is found better, summed over them.
    """

    asked: int = 0
    place: int = 0
    advantage: float = 0.0

    def add(self, first: float | None, second: float | None) -> None:
        """Take in the probabilities that one answer is better, when it was shown first and when second."""
        if first is None or second is None:
            return
        self.asked += 1
        self.place += (first - 0.5) * (second - 0.5) < 0
        self.advantage += first - second


@dataclass(slots=True)
class RunFacts:
    """What a run's rows say beyond their pairs.

    `abstained` verdicts of `verdicts` by reason; `cut` of `texts` ended at the token limit; `lacking` rows miss a part.
    In `against` of `gated` decided verdicts the answer that a gate found bad was preferred to one that none did.
    `authors` are the models that wrote, `judges` those that judged; `own` says how often a judge that wrote too
    preferred its own answers to another model's, None where nobody else wrote.
    """

    rows: int = 0
    lacking: int = 0
    verdicts: int = 0
    abstained: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    cut: int = 0
    gated: int = 0
    against: int = 0
    orders: Orders = field(default_factory=Orders)
    authors: set[str] = field(default_factory=set)
    judges: set[str] = field(default_factory=set)
    own: JudgedOwn | None = None


def read_run_facts(rows: Iterable[Row]) -> RunFacts:
    """Go through a run's rows once."""
    facts, standings = RunFacts(), StandingsCounter()
    for row in rows:
        facts.rows += 1
        facts.lacking += bool(row.failed)
        facts.authors |= {trace.model or row.provenance.model for trace in row.traces}
        facts.judges.add(row.provenance.judge)
        for trace in row.traces:
            cuts = [trace.truncated, *(turn.truncated for turn in trace.rounds if turn.revision is not None)]
            facts.texts += len(cuts)
            facts.cut += sum(cuts)
        bad = {source for trace in row.traces for source in _found_bad(trace)}
        for verdict in row.verdicts:
            _count_verdict(verdict, bad, facts)
        standings.count(row)
    facts.own = standings.standings().own
    return facts


def _found_bad(trace: Trace) -> list[str]:
    """Return the answers of a trace that a gate found bad: a revision was not asked about what came before it."""
    asked: list[float] = []
    revised = False
    for turn in trace.rounds:
        if turn.gate is not None:
            asked.append(turn.gate)
        revised = turn.revision is not None and turn.revision != trace.response
        if revised:
            break
    if not any(gate > BAD_ABOVE for gate in asked):
        return []
    return [f"response:{trace.sample}", *([] if revised else [f"final:{trace.sample}"])]


def _count_verdict(verdict: Verdict, bad: set[str], facts: RunFacts) -> None:
    facts.verdicts += 1
    facts.orders.add(verdict.first, verdict.second)
    if verdict.abstained is not None:
        facts.abstained[verdict.abstained] += 1
    a_is_bad, b_is_bad = verdict.a_source in bad, verdict.b_source in bad
    if verdict.probability not in (None, 0.5) and a_is_bad != b_is_bad:
        facts.gated += 1
        facts.against += (verdict.probability > 0.5) == a_is_bad
