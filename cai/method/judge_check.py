"""What a judge was found to be on known pairs, in counts and in sentences: `JudgeCheck`, which a run records.

`problems` says why such a judge would label little or wrongly, and what can be done about it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cai.core.records import Usage
from cai.core.shares import Interval95, wilson
from cai.method.choosing import MINIMUM_MASS
from cai.method.verdicts import UNREADABLE

FEW = 10
"""Fewer answers than this tell whether the position decides, and not how often the judge is right."""

FEWEST_PAIRS = 4
"""Fewer pairs than this tell nothing."""


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A judge beside known pairs, and a gate beside their answers.

    `judge` and `gate` are the models' names, None for what the run does not ask. `about` says what the pairs are about.
    Of `pairs`, whose verdicts were had, `answered` gave a probability in both orders: of these the better answer was
    preferred in `right` (half a pair an order), and the same place won both times in `same_place`. `first` is how
    likely the first of two identical answers was found better, on average. `mass` is what the letters weigh, the median
    (None: judged by text). Judged as the run does, the pairs give `verdicts`, of which `labelled` are decided; the
    others abstain for the reasons in `abstained`. Of `gates`, so many were answered and right. `failed` requests have
    the `cause` of the first; `left` pairs were not finished in time. `usage` and `seconds` are the check's own.
    """

    judge: str | None
    gate: str | None
    about: str
    pairs: int
    answered: int
    right: float
    same_place: int
    first: float | None
    mass: float | None
    verdicts: int
    labelled: int
    abstained: Mapping[str, int]
    gates: int
    gates_answered: int
    gates_right: int
    gate_mass: float | None
    failed: int
    cause: str
    left: int
    usage: Usage
    seconds: float

    @property
    def accuracy(self) -> Interval95 | None:
        """How often the better answer was preferred; None where no pair was answered."""
        return wilson(self.right, self.answered) if self.answered else None

    @property
    def gate_accuracy(self) -> Interval95 | None:
        """How often an answered gate was right; None where none was."""
        return wilson(self.gates_right, self.gates_answered) if self.gates_answered else None

    @property
    def labelled_share(self) -> float | None:
        """The share of verdicts that are decided; None where there are none."""
        return self.labelled / self.verdicts if self.verdicts else None

    def covers(self, *, judge: bool, gate: bool) -> bool:
        """Tell whether it says something of the judge, and of the gate, where these are asked for.

        It does not where they were not asked, or too slow to answer a few questions in time.
        """
        judged = self.judge is not None and (self.pairs >= FEWEST_PAIRS or not self.left)
        gated = self.gate is not None and (self.gates >= FEWEST_PAIRS or not self.left)
        return (judged or not judge) and (gated or not gate)

    def as_json(self) -> dict[str, Any]:
        """Return the check as what JSON can say, with its shares, its sentence and its problems."""
        shares = {
            name: None if found is None else asdict(found)
            for name, found in (("accuracy", self.accuracy), ("gate_accuracy", self.gate_accuracy))
        }
        return asdict(self) | shares | {"told": self.told(), "problems": list(self.problems())}

    def told(self) -> str:
        """Return what was found, in one line for a person."""
        parts = []
        if self.judge is not None:
            parts.append(_told_share("the better answer preferred in", self.right, self.accuracy, self.answered))
            if self.answered:
                parts.append(f"the same place won {self.same_place} of {self.answered} shown both ways")
            if self.first is not None:
                parts.append(f"the first of two identical answers preferred with {self.first:.2f}")
            if self.mass is not None:
                parts.append(f"letters' mass {self.mass:.2f} (median)")
            if self.verdicts:
                reasons = "".join(f", {reason} {count}" for reason, count in self.abstained.items())
                parts.append(f"{self.labelled} of {self.verdicts} verdicts decided{reasons}")
        if self.gate is not None:
            parts.append(_told_share("gates right on", self.gates_right, self.gate_accuracy, self.gates_answered))
            if self.gates > self.gates_answered:
                parts.append(f"{self.gates - self.gates_answered} of {self.gates} gates unanswered")
        if self.failed:
            parts.append(f"{self.failed} requests failed ({self.cause})")
        if self.left:
            parts.append(f"{self.left} pairs not finished in time")
        return f"known pairs ({self.about}): {'; '.join(parts)}"

    def problems(self, *, reasoning: bool = False, comparisons: int | None = None) -> tuple[str, ...]:
        """Return a sentence for each thing that makes the judge, or the gate, unfit, with what could be done.

        `reasoning`: whether the judge writes down reasons already. `comparisons`: how many pairs the run has at most.
        """
        found = []
        judge = self._faults() if self.judge is not None else []
        if judge:
            reason = "" if reasoning else ", let it write down reasons first (--judge-reasoning)"
            found.append(
                f"the judge {self.judge} {'; it '.join(judge)}: {self._consequence(comparisons)}; take another "
                f"--judge{reason}, or judge each pair under more principles (--judge-principles)"
            )
        elif self.judge is not None and self.pairs < FEWEST_PAIRS and self.left:
            found.append(_too_slow(f"judge {self.judge}", self.pairs, self.seconds))
        gate = self._gate_faults() if self.gate is not None else []
        if gate:
            found.append(
                f"the gate of {self.gate} {'; it '.join(gate)}: its answers say little; "
                "ask another model, or leave the gate out (--no-gate)"
            )
        elif self.gate is not None and self.gates < FEWEST_PAIRS and self.left:
            found.append(_too_slow(f"gate of {self.gate}", self.gates, self.seconds))
        return tuple(found)

    def _faults(self) -> list[str]:
        """Return what is wrong with the judge, each as what it does."""
        if not self.pairs and self.failed:
            return [f"answered none of the known pairs ({self.cause})"]
        faults = []
        if self.answered >= FEWEST_PAIRS and 2 * self.same_place >= self.answered:
            faults.append(
                f"sees positions, not answers: the same place won in {self.same_place} of {self.answered} known pairs "
                "that it was shown both ways"
            )
        elif self.accuracy is not None and self.answered >= FEW and self.accuracy.low <= 0.5:
            faults.append(
                f"cannot be told from one that guesses: right on {self.right:g} of {self.answered} known pairs"
            )
        if self.mass is not None and self.mass < MINIMUM_MASS and self.pairs >= FEWEST_PAIRS:
            faults.append(f"wants to say something else than a letter: the letters weigh {self.mass:.2f} (median)")
        unreadable = self.abstained.get(UNREADABLE, 0)
        if 2 * unreadable > self.verdicts >= FEWEST_PAIRS:
            faults.append(f"names no letter in {unreadable} of {self.verdicts} verdicts on known pairs")
        return faults

    def _consequence(self, comparisons: int | None) -> str:
        share = self.labelled_share
        if share is None:
            return "nothing would be labelled"
        guessed = share > 0 and self.accuracy is not None and self.accuracy.low <= 0.5
        how = ", with labels that cannot be told from guesses" if guessed else ""
        if comparisons:
            return f"about {share * comparisons:,.0f} of up to {comparisons:,} pairs will be labelled{how}"
        return f"about {100 * share:.0f} of 100 pairs will be labelled{how}"

    def _gate_faults(self) -> list[str]:
        if not self.gates and self.failed:
            return [f"answered nothing about the known pairs ({self.cause})"]
        unanswered = self.gates - self.gates_answered
        if 2 * unanswered > self.gates >= FEWEST_PAIRS:
            return [f"leaves {unanswered} of {self.gates} questions unanswered: the answers weigh {self.gate_mass:.2f}"]
        accuracy = self.gate_accuracy
        if accuracy is not None and self.gates_answered >= FEW and accuracy.low <= 0.5:
            right = f"right on {self.gates_right} of {self.gates_answered} answers"
            return [f"does not know an answer that breaks a principle from one that keeps it: {right}"]
        return []


def _too_slow(who: str, count: int, seconds: float) -> str:
    return (
        f"nothing is known of the {who}: it answered {count} of the known pairs' questions in {seconds:.0f} s; "
        "cai models check --judge tests it again, best on a quiet machine"
    )


def _told_share(what: str, right: float, share: Interval95 | None, count: int) -> str:
    if share is None:
        return f"{what} 0 of 0"
    interval = f" ({share.value:.0%} [{100 * share.low:.0f}, {100 * share.high:.0f}])" if count >= FEW else ""
    return f"{what} {right:g} of {count}{interval}"


def read_judge_check(value: Mapping[str, Any]) -> JudgeCheck:
    """Return the check that JSON spells out; raises KeyError or TypeError when it is none."""
    return JudgeCheck(**{**value, "usage": Usage(**value["usage"])})
