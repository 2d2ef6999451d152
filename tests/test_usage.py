"""Tokens are added up, and taken apart again, field by field."""

import asyncio
from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from cai.core.records import Usage
from cai.models.base import Completion, Request, Sampling
from cai.models.meter import Meter, UsageCounter
from cai.models.scripted import ScriptedEngine

usages = st.builds(Usage, *[st.integers(0, 10**12)] * 4)


@given(usages, usages)
def test_what_is_added_can_be_taken_away(one: Usage, other: Usage) -> None:
    assert astuple(one + other) == tuple(a + b for a, b in zip(astuple(one), astuple(other), strict=True))
    assert (one + other) - other == one
    assert one + Usage() == one


def test_a_meter_tells_every_counter_what_each_request_took() -> None:
    engine = ScriptedEngine(lambda _: Completion("hello", "stop", 7, 4, 2), lambda *_: (0.5, 0.5))
    row, run = UsageCounter(), UsageCounter()
    run.add(Usage(10, 100, 50, 20))

    async def main() -> None:
        metered = Meter(engine, row, run)
        await metered.complete(Request(({"role": "user", "content": "x"},), Sampling(), 0))
        await metered.choose(Request(({"role": "user", "content": "three words here"},)), ("A", "B"))

    asyncio.run(main())
    assert row.usage == Usage(2, 10, 4, 3)
    assert run.usage == Usage(12, 110, 54, 23)
