"""A judge asked about known pairs, within a bounded time.

The requests are those of a run: the same templates, in both orders, with the same thinking and the same way to answer.
What was answered when the time is up is about the first pairs, and about the judge rather than the gate.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

from cai.constitution import Principle
from cai.core.errors import RowError
from cai.core.identity import derive_seed
from cai.core.records import GATE, Comparison, Message
from cai.judge_checking.pairs import KnownPairs
from cai.method.gate import GateAnswer, ask_gate
from cai.method.judge import JudgeConfiguration, first_of_identical, judge
from cai.method.judge_check import FEWEST_PAIRS, JudgeCheck
from cai.method.known_pairs import Circumstances, KnownPair, PairAnswers, conclude
from cai.models.asking import Asker
from cai.models.base import Engine
from cai.models.meter import Meter, UsageCounter

SECONDS = 30.0
"""How long a check lasts at most."""

FIRST_AT_ONCE, AT_ONCE = 2, 16
"""Questions that are asked side by side: few at first, one more with each answer, and never more than so many.

On a slow machine the first ones are answered before the time is up; a fast one soon has many.
"""

IDENTICAL = 4
"""Pairs of which the better answer is shown beside itself too."""

_TOLD_AFTER = 8.0  # seconds; a check that is done by then needs no announcement


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is tested, and how a run asks: `judge` and `gate` are None where the run has no use for one.

    `configuration` says how pairs are judged, and with its seed, sampling and thinking how gates are asked.
    """

    judge: Engine | None
    gate: Engine | None
    configuration: JudgeConfiguration


async def check_judge(
    subject: Subject, known: KnownPairs, say: Callable[[str], None], seconds: float = SECONDS
) -> JudgeCheck:
    """Ask about the pairs for so many seconds at most and return what was found; raises EngineGoneError.

    What has not been answered by then is given up; a pair counts with what was answered about it. `say` is told what is
    done where it takes more than a moment.
    """
    began = time.monotonic()
    asking = _Asking(subject, known)
    tasks = asking.begin()
    try:
        await _first_error(tasks, min(_TOLD_AFTER, seconds))
        if not all(task.done() for task in tasks):
            say(f"testing the judge on {len(known.pairs)} known pairs, for {seconds:.0f} s at most (--no-judge-check)")
            await _first_error(tasks, seconds - (time.monotonic() - began))
    finally:
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return conclude(
        asking.answers,
        Circumstances(
            judge=None if subject.judge is None else subject.judge.name,
            gate=None if subject.gate is None else subject.gate.name,
            about=known.about,
            both_orders=subject.configuration.settings.judge_orders == "both",
            failed=asking.failed,
            cause=asking.cause,
            left=len({tasks[task] for task in late}),
            usage=asking.tally.usage,
            seconds=round(time.monotonic() - began, 1),
        ),
    )


async def _first_error(tasks: Iterable[asyncio.Task[None]], seconds: float) -> None:
    """Wait for the tasks, but not for longer; raises the first error among them."""
    done, _ = await asyncio.wait(tasks, timeout=max(0.0, seconds), return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


class _Asking:
    """The pairs while they are asked about: what was answered so far, by their place, and what failed."""

    def __init__(self, subject: Subject, known: KnownPairs) -> None:
        self.answers = [PairAnswers() for _ in known.pairs]
        self.failed = 0
        self.cause = ""
        self.tally = UsageCounter()
        self._pairs = known.pairs
        self._subject = subject
        both = replace(subject.configuration.settings, judge_orders="both")
        # A calibration is of the orders that a run asks, and changes neither who is right nor what the place does.
        self._configuration = replace(subject.configuration, settings=both, calibrations=None)
        self._room = asyncio.Semaphore(FIRST_AT_ONCE)
        self._at_once = FIRST_AT_ONCE

    def begin(self) -> dict[asyncio.Task[None], int]:
        """Begin to ask, in the order of the pairs, and return the questions with the place of their pair.

        Each raises EngineGoneError alone: another failure is counted.
        """
        places = range(len(self._pairs))
        verdicts = [(place, self._judge) for place in places if self._subject.judge is not None]
        others = [
            question
            for place in places
            for question, is_asked in (
                ((place, self._gates), self._subject.gate is not None),
                ((place, self._show_identical), self._subject.judge is not None and place < IDENTICAL),
            )
            if is_asked
        ]
        early, later = verdicts[:FEWEST_PAIRS], verdicts[FEWEST_PAIRS:]
        in_turn = [question for turn in zip_longest(later, others) for question in turn if question is not None]
        return {asyncio.ensure_future(self._in_room(ask, place)): place for place, ask in (*early, *in_turn)}

    async def _in_room(self, ask: Callable[[int], Awaitable[None]], place: int) -> None:
        """Ask once there is room, and make more room afterwards."""
        async with self._room:
            await ask(place)
        if self._at_once < AT_ONCE:
            self._at_once += 1
            self._room.release()

    async def _judge(self, place: int) -> None:
        """Ask for the verdict on a pair."""
        await self._keep(place, "verdict", judge(*self._shown(place)))

    async def _show_identical(self, place: int) -> None:
        """Ask what the place alone does."""
        await self._keep(place, "first", first_of_identical(*self._shown(place)))

    def _shown(self, place: int) -> tuple[Engine, JudgeConfiguration, Comparison, Principle, str]:
        """Return what a judge is asked with about a pair."""
        assert self._subject.judge is not None  # noqa: S101  (else nobody is asked)
        pair = self._pairs[place]
        engine = Meter(self._subject.judge, self.tally)
        return engine, self._configuration, pair.comparison, pair.principle, _id(place)

    async def _gates(self, place: int) -> None:
        """Ask whether either answer of a pair breaks the principle."""
        assert self._subject.gate is not None  # noqa: S101
        engine, pair = Meter(self._subject.gate, self.tally), self._pairs[place]
        for name, response in (("better", pair.better), ("worse", pair.worse)):
            await self._keep(place, name, self._gate(engine, pair, response, place))

    async def _keep(self, place: int, name: str, answering: Awaitable[Any]) -> None:
        """Wait for one of the answers about a pair; a request that fails is counted."""
        try:
            answer = await answering
        except RowError as error:
            self.failed += 1
            self.cause = self.cause or str(error)
        else:
            self.answers[place] = replace(self.answers[place], **{name: answer})

    async def _gate(self, engine: Engine, pair: KnownPair, response: str, place: int) -> GateAnswer:
        configuration = self._configuration
        dialogue: tuple[Message, ...] = (*pair.comparison.messages, {"role": "assistant", "content": response})
        return await ask_gate(
            partial(Asker(engine).choose, GATE),
            configuration.templates,
            dialogue,
            pair.principle,
            thinking=configuration.thinking,
            sampling=configuration.sampling,
            seed=derive_seed(configuration.seed, _id(place), "gate", pair.principle.id),
        )


def _id(place: int) -> str:
    return f"known pair {place}"
