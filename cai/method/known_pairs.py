"""Known pairs: two answers of which it is known that one keeps a principle and the other breaks it.

A judge is shown each pair in both orders, as it is shown the pairs that it labels, and two identical answers too; a
gate is asked about both answers. `conclude` says what came of it. Nothing is asked here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from cai.constitution import Principle
from cai.core.identity import steady
from cai.core.records import Comparison, Usage, Verdict
from cai.method.choosing import MINIMUM_MASS
from cai.method.gate import GateAnswer
from cai.method.judge_check import JudgeCheck
from cai.method.verdicts import LOW_MASS, TIE, UNREADABLE, is_tie


@dataclass(frozen=True, slots=True)
class KnownPair:
    """Two answers to one prompt: the better one keeps the principle, the worse one breaks it."""

    principle: Principle
    prompt: str
    better: str
    worse: str

    @property
    def comparison(self) -> Comparison:
        """The pair as a judge is shown it; a is the better answer."""
        return Comparison(({"role": "user", "content": self.prompt},), self.better, self.worse, "better", "worse")


@dataclass(frozen=True, slots=True)
class PairAnswers:
    """What was said about one pair: the verdict, in the frame of the better answer, and the gates of either answer.

    None is what was not asked. `first` is how likely the first of two identical answers was found better.
    """

    verdict: Verdict | None = None
    first: float | None = None
    better: GateAnswer | None = None
    worse: GateAnswer | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a check knows beside the answers; see `JudgeCheck`. `both_orders`: whether the run shows pairs both ways."""

    judge: str | None
    gate: str | None
    about: str
    both_orders: bool
    failed: int
    cause: str
    left: int
    usage: Usage
    seconds: float


def conclude(answers: Sequence[PairAnswers], known: Circumstances) -> JudgeCheck:
    """Return what the answers come to."""
    verdicts = [answer.verdict for answer in answers if answer.verdict is not None]
    scores = [score for verdict in verdicts if (score := _score(verdict)) is not None]
    masses = [mass for item in verdicts for mass in (item.first_mass, item.second_mass) if mass is not None]
    reasons = [reason for verdict in verdicts for reason in _reasons(verdict, both_orders=known.both_orders)]
    abstained = Counter(reason for reason in reasons if reason is not None)
    leans = [answer.first for answer in answers if answer.first is not None]
    gates = [(gate, breaks) for answer in answers for gate, breaks in ((answer.better, False), (answer.worse, True))]
    asked_gates = [(gate, breaks) for gate, breaks in gates if gate is not None]
    said = [(gate.probability, breaks) for gate, breaks in asked_gates if gate.probability is not None]
    return JudgeCheck(
        judge=known.judge,
        gate=known.gate,
        about=known.about,
        pairs=len(verdicts),
        answered=len(scores),
        right=sum(scores),
        same_place=sum(_same_place(verdict) for verdict in verdicts),
        first=steady(fmean(leans)) if leans else None,
        mass=steady(median(masses)) if masses else None,
        verdicts=len(reasons),
        labelled=reasons.count(None),
        abstained=dict(abstained.most_common()),
        gates=len(asked_gates),
        gates_answered=len(said),
        gates_right=sum((probability > 0.5) is breaks for probability, breaks in said),
        gate_mass=steady(median(gate.mass for gate, _ in asked_gates)) if asked_gates else None,
        failed=known.failed,
        cause=known.cause,
        left=known.left,
        usage=known.usage,
        seconds=known.seconds,
    )


def _score(verdict: Verdict) -> float | None:
    """Return how much of a pair was right: half of it an order; None where an order gave no probability."""
    if verdict.first is None or verdict.second is None:
        return None
    return sum(0.5 if value == 0.5 else float(value > 0.5) for value in (verdict.first, verdict.second)) / 2


def _same_place(verdict: Verdict) -> bool:
    """Tell whether the same place won in both orders; both probabilities are those of the better answer."""
    return (
        verdict.first is not None and verdict.second is not None and (verdict.first - 0.5) * (verdict.second - 0.5) < 0
    )


def _reasons(verdict: Verdict, *, both_orders: bool) -> list[str | None]:
    """Return why a run's verdicts on this pair abstain, None for one that does not: one, or one for either order."""
    if both_orders:
        return [verdict.abstained]
    orders = ((verdict.first, verdict.first_mass), (verdict.second, verdict.second_mass))
    return [_reason(probability, mass) for probability, mass in orders]


def _reason(probability: float | None, mass: float | None) -> str | None:
    if probability is None:
        return UNREADABLE
    if mass is not None and mass < MINIMUM_MASS:
        return LOW_MASS
    return TIE if is_tie(probability) else None
