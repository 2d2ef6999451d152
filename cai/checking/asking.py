"""A judge asked about known pairs, within a bounded time.

The requests are those of a run: the same templates, in both orders, with the same thinking and the same way to answer.
Pairs are asked side by side, a few at once, so that what was answered when the time is up is of the first ones.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cai.checking.pairs import KnownPairs
from cai.core.errors import RowError
from cai.core.identity import derive_seed
from cai.core.records import GATE, Message
from cai.method.gate import GateAnswer, ask_gate
from cai.method.judge import JudgeConfiguration, first_of_identical, judge
from cai.method.judge_check import JudgeCheck
from cai.method.known_pairs import Circumstances, KnownPair, PairAnswers, conclude
from cai.models.asking import Asker
from cai.models.base import Engine
from cai.models.meter import Meter, UsageCounter

SECONDS = 40.0
"""How long a check lasts at most."""

AT_ONCE = 16
"""Pairs that are asked about side by side."""

IDENTICAL = 6
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

    What has not been answered by then is given up; a pair counts with what was answered about it. `say` is told what
    is done where it takes more than a moment.
    """
    began = time.monotonic()
    asking = _Asking(subject, known)
    tasks = [asyncio.ensure_future(asking.ask(place)) for place in range(len(known.pairs))]
    try:
        await _first_error(tasks, min(_TOLD_AFTER, seconds))
        if not all(task.done() for task in tasks):
            say(f"testing the judge on {len(tasks)} pairs whose better answer is known, for {seconds:.0f} s at most")
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
            left=len(late),
            usage=asking.tally.usage,
            seconds=round(time.monotonic() - began, 1),
        ),
    )


async def _first_error(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
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
        self._configuration = replace(subject.configuration, settings=both)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def ask(self, place: int) -> None:
        """Ask all about one pair; a request that fails is counted, and the others are made. Raises EngineGoneError."""
        pair, judging, gating = self._pairs[place], self._subject.judge, self._subject.gate
        async with self._room:
            if judging is not None:
                engine = Meter(judging, self.tally)
                comparison, configuration = pair.comparison, self._configuration
                verdict = judge(engine, configuration, comparison, pair.principle, _id(place))
                await self._keep(place, "verdict", verdict)
                if place < IDENTICAL:
                    first = first_of_identical(engine, configuration, comparison, pair.principle, _id(place))
                    await self._keep(place, "first", first)
            if gating is not None:
                engine = Meter(gating, self.tally)
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
