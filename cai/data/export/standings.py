"""Model against model, where several answered the same prompts: who is preferred over whom, by one judge.

First responses alone are compared, so that what a model revises does not count for it. A prompt is one observation: the
mean probability of its comparisons between two models' responses. Shares have Wilson intervals over prompts, strengths
are Bradley and Terry's with theirs: both as if each prompt was won or lost, which soft labels are less uncertain than.

A judge that is one of the models may prefer what it would have said itself; `JudgedOwn` says how often it did.
"""

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from cai.core.counts import counted
from cai.core.records import Row, Verdict
from cai.core.shares import NORMAL_95, Interval95, is_enough, wilson
from cai.method.ranking import Outcome, rank
from cai.method.verdicts import ranked_outcome


@dataclass(frozen=True, slots=True)
class ModelPair:
    """How often model `a` was preferred over `b`, over so many prompts with a decided comparison of those compared."""

    a: str
    b: str
    share: Interval95
    prompts: int
    compared: int

    @property
    def told(self) -> str:
        """The share with its interval; where few prompts were decided, the counts alone."""
        return _told(self.share, self.prompts, self.compared)


@dataclass(frozen=True, slots=True)
class ModelStrength:
    """A model's strength in log-odds with its 95 % interval; the models' mean is 0."""

    model: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class JudgedOwn:
    """How often a judge that answered itself preferred its own response over another model's, over so many prompts."""

    judge: str
    share: Interval95
    prompts: int
    compared: int

    @property
    def told(self) -> str:
        """A sentence on it."""
        if not is_enough(self.prompts, self.compared):
            return f"the judge {self.judge} answered too; whether it prefers its own responses, too few prompts tell"
        share = _told(self.share, self.prompts, self.compared)
        return (
            f"the judge {self.judge} answered too and preferred its own response in {share}; whether they are better, "
            "the labels of another judge tell: cai judge --judge MODEL"
        )


@dataclass(frozen=True, slots=True)
class Standings:
    """Every two models that were compared, every model's strength, the strongest first, and the judge's own answers."""

    pairs: tuple[ModelPair, ...] = ()
    strengths: tuple[ModelStrength, ...] = ()
    own: JudgedOwn | None = None


@dataclass(slots=True)
class _Tally:
    """The sum of prompts' means, how many had one, and how many were compared at all."""

    preferred: float = 0.0
    prompts: int = 0
    compared: int = 0

    def add(self, probabilities: list[float | None]) -> None:
        """Take in a prompt's comparisons."""
        decided = [probability for probability in probabilities if probability is not None]
        self.compared += 1
        if decided:
            self.prompts += 1
            self.preferred += fmean(decided)


class StandingsCounter:
    """Looks at the verdicts of the rows that it is given."""

    def __init__(self) -> None:
        self._pairs: defaultdict[tuple[str, str], _Tally] = defaultdict(_Tally)
        self._own: defaultdict[str, _Tally] = defaultdict(_Tally)

    def count(self, row: Row) -> None:
        """Take in a row."""
        models = {f"response:{trace.sample}": trace.model for trace in row.traces if trace.model is not None}
        if len({*models.values()}) < 2:
            return
        verdicts: defaultdict[tuple[str, str], list[Verdict]] = defaultdict(list)
        for verdict in row.verdicts:
            verdicts[verdict.a_source, verdict.b_source].append(verdict)
        found: defaultdict[tuple[str, str], list[float | None]] = defaultdict(list)
        for (a, b), on_pair in verdicts.items():
            if a in models and b in models and models[a] != models[b]:
                probability = ranked_outcome(on_pair)
                found[models[a], models[b]].append(probability)
                found[models[b], models[a]].append(None if probability is None else 1.0 - probability)
        own: list[float | None] = []
        for (a, b), probabilities in found.items():
            if a < b:
                self._pairs[a, b].add(probabilities)
            if a == row.provenance.judge:
                own += probabilities
        if own:
            self._own[row.provenance.judge].add(own)

    def standings(self) -> Standings:
        """Return what they come to."""
        pairs = [
            ModelPair(a, b, _interval(tally), tally.prompts, tally.compared)
            for (a, b), tally in sorted(self._pairs.items())
            if tally.prompts
        ]
        own = [
            JudgedOwn(judge, _interval(tally), tally.prompts, tally.compared)
            for judge, tally in self._own.items()
            if tally.prompts
        ]
        return Standings(tuple(pairs), _strengths(pairs), own[0] if len(own) == 1 else None)


def _strengths(pairs: list[ModelPair]) -> tuple[ModelStrength, ...]:
    models = sorted({model for pair in pairs for model in (pair.a, pair.b)})
    ranking = rank(
        len(models),
        [Outcome(models.index(pair.a), models.index(pair.b), pair.share.value, weight=pair.prompts) for pair in pairs],
    )
    found = []
    for item in ranking.order:
        value, width = ranking.strengths[item], NORMAL_95 * ranking.errors[item]
        found.append(ModelStrength(models[item], *(round(end, 6) for end in (value, value - width, value + width))))
    return tuple(found)


def _interval(tally: _Tally) -> Interval95:
    found = wilson(tally.preferred, tally.prompts)
    return Interval95(*(round(value, 6) for value in (found.value, found.low, found.high)))


def _told(share: Interval95, prompts: int, compared: int) -> str:
    if not is_enough(prompts, compared):
        return f"too few prompts for a share, {prompts:,} of {compared:,} decided"
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {counted(prompts, 'prompt')}"
