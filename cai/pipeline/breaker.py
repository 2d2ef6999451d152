"""A circuit breaker: tells a run that fails from rows that fail, and keeps what failed until it is known which it is.

A wrong key, a refused setting or a judge without log-probabilities fails every row, at the same stage; a prompt that
the server refuses fails one. So failures are looked at stage by stage, and rows in the order in which they were
*started*. What finishes first proves nothing: failing rows end sooner than good ones, so of a thousand rows in flight
the few that fail are heard of first. When rows fail each by itself with probability p, `SUSPICIOUS` of them started
one after another all fail with p to that power, 3·10⁻¹⁸ at p = 20 %, however long each of them takes.

The rule. A row is *bad* at a stage that failed in it and was never answered in it, *good* at one that was answered. A
stage is suspect when `SUSPICIOUS` rows, started one after another, were bad at it, and no row started after them was
good. Rows that never came to the stage count neither way; a row still in flight ends a sequence. While a stage is
suspect nothing new is started, and the engine is probed: a row that was good before is made again
(or, where none was and none of those in flight is, one of the bad). When it is not bad any more the stage is trusted,
so many prompts that are refused one after another end no run. When `PROBES` probes were bad, at this stage or at one
before it, and none good, the run ends: an engine that answers nothing ends it after the rows in flight, `SUSPICIOUS`
more and `PROBES` probes; one that fails with p = 20 % never does (10⁻²⁴ a row).

A row with a failure is held until a row that was started later was good at that stage; only then is the failure its
own. Stages of which rows are still held when the input ends are probed in the same way. Where nothing was ever good at
a stage, fewer than `SUSPICIOUS` bad rows are the run's failure when all share one kind and they are `FEW` at least, or
all there is; otherwise they are their own. What is held when the run ends is owed.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from cai.core.evidence import Evidence
from cai.core.records import Failure, Prompt, Row

SUSPICIOUS = 25
"""So many rows, started one after another, that were all bad at one stage."""

PROBES = 10
"""How often a suspected engine is probed before the run ends."""

PROBES_AT_MOST = 3 * PROBES
"""Probes that never came to the suspected stage tell nothing; after so many the failures count as the rows' own."""

FEW = 3

Item = TypeVar("Item", Prompt, Row)


@dataclass(frozen=True, slots=True)
class Held(Generic[Item]):
    """A row with a failure: when it was started, the newest row that was started before it ended, what came of it."""

    number: int
    newest: int
    item: Item
    outcome: Row | Failure
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Probe(Generic[Item]):
    """A row to be made again: a held one, or one that was good; `came_there`: it came to the stage before."""

    item: Item
    is_held: bool
    came_there: bool


@dataclass(slots=True)
class Breaker(Generic[Item]):
    """Sees every row start and finish."""

    _started: int = 0
    _settled: int = 0
    _open: set[int] = field(default_factory=set)
    _held: dict[str, Held[Item]] = field(default_factory=dict)
    """By the prompts' ids."""
    _good: dict[str, int] = field(default_factory=dict)
    """For each stage the newest row, by its start, that was good."""
    _proofs: defaultdict[str, deque[Item]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=PROBES)))
    """For each stage some rows that were good."""
    _before: deque[Item] = field(default_factory=lambda: deque(maxlen=PROBES // 2))
    """Some rows that were finished by an earlier process: they probably come to every stage."""

    _bad_probes: Counter[str] = field(default_factory=Counter)
    """How many probes, since one was good, were bad at each stage."""

    def skip(self, item: Item) -> None:
        """Note a row that was finished before."""
        self._before.append(item)

    def start(self) -> int:
        """Note that a row is started and return its number."""
        self._started += 1
        self._open.add(self._started)
        return self._started

    def abandon(self, number: int) -> None:
        """Note that a row came to no end."""
        self._open.discard(number)

    def finish(self, number: int, item: Item, outcome: Row | Failure, evidence: Evidence) -> None:
        """Note how a row ended."""
        self._note(number, item, evidence)
        self._held[_id(item)] = Held(number, self._started, item, outcome, evidence)

    def _note(self, number: int, item: Item, evidence: Evidence) -> None:
        self._open.discard(number)
        for stage in evidence.answered:
            self._trust(stage, number)
            self._proofs[stage].append(item)

    def _trust(self, stage: str, number: int) -> None:
        if number > self._good.get(stage, 0):
            self._good[stage] = number

    def settled(self) -> Iterator[Row | Failure]:
        """Yield, once, the outcomes that are known to be the rows' own."""
        for held in list(self._held.values()):
            if all(self._good.get(stage, 0) > held.newest for stage in held.evidence.failed):
                yield self._settle(held)

    def _settle(self, held: Held[Item]) -> Row | Failure:
        self._settled += 1
        del self._held[_id(held.item)]
        return held.outcome

    def suspect(self) -> str | None:
        """Return a stage at which so many rows failed one after another that the engine has to be tested."""
        if len(self._held) < SUSPICIOUS:
            return None
        return next((stage for stage, bad in self._bad().items() if self._sequence(stage, bad) >= SUSPICIOUS), None)

    def _sequence(self, stage: str, bad: list[int]) -> int:
        """Return how many rows, at most, were started one after another and are all bad."""
        longest = sequence = 0
        newest_good = self._good.get(stage, 0)
        for number in sorted([*bad, *self._open]) if len(bad) >= SUSPICIOUS else ():
            sequence = 0 if number in self._open or number < newest_good else sequence + 1
            longest = max(longest, sequence)
        return longest

    def _bad(self) -> Mapping[str, list[int]]:
        bad: dict[str, list[int]] = {}
        for held in self._held.values():
            for stage in held.evidence.failed:
                if held.evidence.is_bad(stage):
                    bad.setdefault(stage, []).append(held.number)
        return bad

    def unsettled(self) -> str | None:
        """Return a stage at which rows failed that are still held, if there is one."""
        for held in self._held.values():
            for stage in held.evidence.failed:
                if self._good.get(stage, 0) <= held.newest:
                    return stage
        return None

    def is_waiting(self, stage: str) -> bool:
        """Tell whether rows are in flight that may yet be the first to be good at the stage."""
        return bool(self._open) and not self.is_proven(stage)

    def is_proven(self, stage: str) -> bool:
        """Tell whether a row of this process was good at the stage, so that its engine did answer once."""
        return stage in self._good

    def probes(self, stage: str) -> Iterator[Probe[Item]]:
        """Yield the rows to make again, one after the other, until `probed` gives an answer."""
        self._bad_probes.clear()
        probes = [Probe(item, is_held=False, came_there=True) for item in self._proofs.get(stage, ())]
        if not probes:
            probes = [Probe(item, is_held=False, came_there=False) for item in self._before]
            probes += [
                Probe(held.item, is_held=True, came_there=True)
                for held in self._held.values()
                if stage in held.evidence.failed
            ]
        for place in range(PROBES_AT_MOST):
            yield probes[place % len(probes)]

    def probed(
        self, probe: Probe[Item], number: int, outcome: Row | Failure, stage: str, evidence: Evidence
    ) -> Literal["trusted", "broken"] | None:
        """Note how a probe ended, which was started as the `number`-th row, and return what is known now, if anything.

        A failed row that was made again has this outcome from now on.
        """
        if probe.is_held:
            self.finish(number, probe.item, outcome, evidence)
        else:
            self._note(number, probe.item, evidence)
        if probe.came_there and isinstance(outcome, Row) and stage not in evidence.failed:
            self._trust(stage, number)
        if self._good.get(stage, 0) >= number:
            return "trusted"
        for name in evidence.answered:
            self._bad_probes.pop(name, None)
        self._bad_probes.update(name for name in evidence.failed if evidence.is_bad(name))
        return "broken" if max(self._bad_probes.values(), default=0) >= PROBES else None

    def is_the_runs(self, stage: str) -> bool:
        """Tell, when all rows are through and every test was bad, whether the failures at the stage are the run's."""
        kinds = [held.evidence.failed[stage] for held in self._held.values() if stage in held.evidence.failed]
        alike = len(set(kinds)) == 1
        return self.is_proven(stage) or (alike and (len(kinds) >= FEW or not self._settled))

    def give_up_on(self, stage: str) -> Iterator[Row | Failure]:
        """Yield the outcomes that are held for the stage, as the rows' own."""
        for held in list(self._held.values()):
            if stage in held.evidence.failed:
                yield self._settle(held)

    def describe(self, stage: str) -> str:
        """Return in one sentence why the run stopped, in the words of the newest failure at the stage."""
        causes = [cause for held in self._held.values() if (cause := _cause(held, stage))]
        return (
            f"{len(causes):,} rows failed at the {stage} and {PROBES} tests of the engine after them too, so the run "
            f"stopped and they are still owed: {causes[-1]}"
        )


def _id(item: Prompt | Row) -> str:
    return item.prompt.id if isinstance(item, Row) else item.id


def _cause(held: Held[Item], stage: str) -> str | None:
    if stage not in held.evidence.failed:
        return None
    if isinstance(held.outcome, Failure):
        return held.outcome.cause
    return next(part.cause for part in held.outcome.failed if part.stage == stage and part.kind)
