"""Depth first: the oldest rows do not wait, the others advance together, and no place is lost."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from cai.models.base import Choice, Completion, Engine, Request, Sampling
from cai.models.places import EngineInOrder, Places, Slots

_ASKED = Request(({"role": "user", "content": "?"},), Sampling(), seed=0)


@dataclass(slots=True)
class _Counting:
    """Answers after some turns of the event loop, and knows how many it held at once."""

    concurrency: int = 4
    name: str = "counting"
    context_length: int | None = None
    held: int = 0
    most: int = 0
    asked: list[int] = field(default_factory=list)

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request.seed)
        self.held += 1
        self.most = max(self.most, self.held)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            self.held -= 1
        return Completion("", "stop", 1, 0, 1)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        raise NotImplementedError

    async def close(self) -> None:
        """Hold nothing."""


def _rows(engine: Engine, rows: int, samples: int, steps: int) -> list[int]:
    """Return the rows in the order in which they are done; every sample asks `steps` times, one after another."""
    done: list[int] = []

    async def row(number: int, places: Places) -> None:
        mine = EngineInOrder(engine, places, number)

        async def sample() -> None:
            for _ in range(steps):
                await mine.complete(_ASKED)

        places.begin(number)
        await asyncio.gather(*(sample() for _ in range(samples)))
        places.end(number)
        done.append(number)

    async def main() -> None:
        places = Places(engine.concurrency)
        await asyncio.gather(*(row(number, places) for number in range(rows)))

    asyncio.run(main())
    return done


def test_the_oldest_row_is_done_as_if_it_were_alone_and_the_engine_is_full() -> None:
    engine = _Counting()
    done = _rows(engine, rows=12, samples=2, steps=5)
    assert done[:2] == [0, 1]
    assert engine.most == 5


def test_the_others_advance_together_so_that_none_is_left_for_the_end() -> None:
    engine = _Counting()
    asked: dict[int, int] = {}

    async def row(number: int, places: Places) -> None:
        mine = EngineInOrder(engine, places, number)
        places.begin(number)
        for _ in range(10):
            await mine.complete(_ASKED)
            asked[number] = asked.get(number, 0) + 1
            if number == 0 and asked[0] == 10:  # the oldest row is done
                others = [asked.get(one, 0) for one in range(1, 9)]
                assert 0 < min(others) <= max(others) <= min(others) + 1 < 10
        places.end(number)

    async def main() -> None:
        places = Places(engine.concurrency)
        await asyncio.gather(*(row(number, places) for number in range(9)))

    asyncio.run(main())
    assert set(asked.values()) == {10}


@given(rows=st.integers(1, 9), samples=st.integers(1, 3), steps=st.integers(1, 4), held=st.integers(1, 6))
def test_every_row_is_done_and_no_place_is_lost(rows: int, samples: int, steps: int, held: int) -> None:
    engine = _Counting(concurrency=held)
    assert sorted(_rows(engine, rows, samples, steps)) == list(range(rows))
    assert len(engine.asked) == rows * samples * steps


def test_who_is_cancelled_while_waiting_or_answered_leaves_the_place_to_the_next() -> None:
    async def main() -> None:
        engine, places = _Counting(concurrency=1), Places(1)
        others = [asyncio.create_task(EngineInOrder(engine, places, 0).complete(_ASKED)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting = asyncio.create_task(EngineInOrder(engine, places, 1).complete(_ASKED))
        last = asyncio.create_task(EngineInOrder(engine, places, 2).complete(_ASKED))
        await asyncio.sleep(0)
        waiting.cancel()
        others[0].cancel()
        await asyncio.wait_for(last, 5)
        places.give()
        given_back = asyncio.create_task(places.take(3))
        await asyncio.wait_for(given_back, 5)

    asyncio.run(main())


def test_a_place_given_to_who_is_cancelled_in_that_moment_goes_on() -> None:
    async def main() -> None:
        places = Places(1)
        await places.take(0)
        await places.take(0)
        first, second = asyncio.create_task(places.take(1)), asyncio.create_task(places.take(2))
        await asyncio.sleep(0)
        places.give()
        first.cancel()
        await asyncio.wait_for(second, 5)

    asyncio.run(main())


def test_slots_go_to_who_came_first_and_none_is_lost_with_who_is_cancelled() -> None:
    held: list[int] = []

    async def hold(number: int, slots: Slots, end: asyncio.Event) -> None:
        async with slots:
            held.append(number)
            await end.wait()

    async def main() -> None:
        slots, end = Slots(2), asyncio.Event()
        tasks = [asyncio.create_task(hold(number, slots, end)) for number in range(6)]
        await asyncio.sleep(0)
        assert held == [0, 1]
        tasks[2].cancel()  # while it waits
        end.set()
        await asyncio.sleep(0)
        tasks[3].cancel()  # at the moment in which it was given a slot
        await asyncio.gather(*tasks, return_exceptions=True)
        assert held == [0, 1, 4, 5]
        for _ in range(2):
            await asyncio.wait_for(slots.__aenter__(), 5)

    asyncio.run(main())
