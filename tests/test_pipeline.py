"""What the pipeline promises: rows are independent, failures are kept, fatal errors stop everything."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from cai.core.errors import ContextError, EngineGoneError, InputError, ModelError, RequestError, RowError, StoreError
from cai.core.records import Failure, Prompt, Provenance, Row, Usage
from cai.pipeline.pipeline import Pipeline
from tests.building import make_prompt

PATIENCE = 60.0
"""Seconds until a test that hangs has failed."""


class Memory:
    """A sink in memory."""

    def __init__(self, finished: set[str] | None = None) -> None:
        self.rows: list[Row] = []
        self.failures: list[Failure] = []
        self.finished = finished or set()

    def is_finished(self, prompt_id: str) -> bool:
        return prompt_id in self.finished

    def commit(self, row: Row) -> None:
        self.rows.append(row)

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)


def row_of(prompt: Prompt) -> Row:
    return Row(prompt, (), (), Usage(0, 0, 0, 0), Provenance("m", "m", "c", "c", "t", "t", "i", 0, 0))


def prompts(count: int) -> Iterator[Prompt]:
    return (make_prompt(str(number), ordinal=number) for number in range(count))


async def work(prompt: Prompt) -> Row:
    await asyncio.sleep(0)
    return row_of(prompt)


def test_every_row_is_committed_once_and_finished_ones_are_passed_over() -> None:
    sink = Memory(finished={"p3", "p7"})
    pipeline = Pipeline(work, sink, concurrency=4)
    asyncio.run(pipeline.run(prompts(50)))
    assert sorted(row.prompt.ordinal for row in sink.rows) == [n for n in range(50) if n not in (3, 7)]
    assert (pipeline.progress.done, pipeline.progress.skipped, pipeline.progress.failed) == (48, 2, 0)


def test_no_more_rows_are_in_flight_than_asked_for_until_the_last_ones_go_in_together() -> None:
    flying, peak, late_peak, read = 0, 0, 0, 0

    def source() -> Iterator[Prompt]:
        nonlocal read
        for prompt in prompts(200):
            read += 1
            yield prompt

    async def busy(prompt: Prompt) -> Row:
        nonlocal flying, peak, late_peak
        flying += 1
        if read < 200:
            peak = max(peak, flying)
        late_peak = max(late_peak, flying)
        assert read <= len(sink.rows) + 9 + 9 + 1  # in flight, read ahead, and an eighth more
        started = prompt.ordinal + 1
        # The reader has its turn first; the last 18 rows, of which 9 are read ahead, end when 12 of them are in flight.
        while read < min(200, started + 9) or (started > 182 and late_peak < 12):  # noqa: ASYNC110
            await asyncio.sleep(0)
        flying -= 1
        return row_of(prompt)

    sink = Memory()
    asyncio.run(asyncio.wait_for(Pipeline(busy, sink, concurrency=8).run(source()), PATIENCE))
    assert len(sink.rows) == 200
    assert peak == 9  # 8 and an eighth
    assert 12 <= late_peak <= 18


def test_an_input_that_breaks_off_is_told_after_all_rows_before_it_are_done() -> None:
    def source() -> Iterator[Prompt]:
        yield from prompts(30)
        raise InputError("the file ends in the middle of a line")

    async def take_long(prompt: Prompt) -> Row:
        for _ in range(prompt.ordinal):
            await asyncio.sleep(0)
        return row_of(prompt)

    sink = Memory()
    with pytest.raises(InputError, match="in the middle"):
        asyncio.run(Pipeline(take_long, sink, concurrency=4).run(source()))
    assert {row.prompt.ordinal for row in sink.rows} == set(range(30))


def test_rows_in_flight_go_on_while_the_input_is_waited_for() -> None:
    finished, in_time = threading.Event(), []

    def source() -> Iterator[Prompt]:
        yield make_prompt("first", ordinal=0)
        in_time.append(finished.wait(PATIENCE / 10))  # a hub's stream, say
        yield make_prompt("second", ordinal=1)

    async def several_steps(prompt: Prompt) -> Row:
        for _ in range(10):
            await asyncio.sleep(0)
        finished.set()
        return row_of(prompt)

    sink = Memory()
    asyncio.run(Pipeline(several_steps, sink, concurrency=4).run(source()))
    assert in_time == [True]
    assert [row.prompt.ordinal for row in sink.rows] == [0, 1]


def test_a_drained_run_waits_for_no_input() -> None:
    ended, read_on = threading.Event(), []

    def source() -> Iterator[Prompt]:
        yield make_prompt("first", ordinal=0)
        read_on.append(ended.wait(PATIENCE / 10))
        yield make_prompt("second", ordinal=1)

    async def then_drain(prompt: Prompt) -> Row:
        pipeline.stop.drain()
        return await work(prompt)

    sink = Memory()
    pipeline = Pipeline(then_drain, sink, concurrency=4)
    asyncio.run(pipeline.run(source()))
    assert read_on == [], "the run has ended, and its input is still waited for"
    ended.set()
    assert [row.prompt.ordinal for row in sink.rows] == [0]


@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_rows_are_started_in_the_order_of_the_input(concurrency: int) -> None:
    started = []

    async def noting(prompt: Prompt) -> Row:
        started.append(prompt.ordinal)
        return await work(prompt)

    asyncio.run(asyncio.wait_for(Pipeline(noting, Memory(), concurrency).run(prompts(3_000)), PATIENCE))
    assert started == list(range(3_000))


def test_an_input_that_is_read_ahead_is_closed_in_its_thread_when_the_run_ends_early() -> None:
    closed, threads = threading.Event(), []

    def source() -> Iterator[Prompt]:
        try:
            yield from prompts(1_000)
        finally:
            threads.append(threading.current_thread().name)
            closed.set()

    async def dying(_prompt: Prompt) -> Row:
        raise EngineGoneError("gone")

    with pytest.raises(EngineGoneError):
        asyncio.run(Pipeline(dying, Memory(), concurrency=4).run(source()))
    assert closed.wait(PATIENCE)
    assert threads == ["cai-reader"]


def test_a_drained_run_ends_though_rows_wait_for_the_last_call() -> None:
    sink = Memory()
    pipeline = Pipeline(work, sink, concurrency=4)

    async def then_drain(prompt: Prompt) -> Row:
        if prompt.ordinal == 10:
            pipeline.stop.drain()
        return await work(prompt)

    pipeline.work = then_drain
    asyncio.run(asyncio.wait_for(pipeline.run(prompts(1_000)), 60))
    assert 10 < len(sink.rows) < 30


def test_a_failed_row_is_kept_with_its_cause_and_harms_no_other() -> None:
    async def sometimes(prompt: Prompt) -> Row:
        if prompt.ordinal == 5:
            raise RowError("the model returned an empty response", stage="response", raw="??")
        if prompt.ordinal == 6:
            raise RequestError("timed out", retryable=True)
        return row_of(prompt)

    sink = Memory()
    asyncio.run(Pipeline(sometimes, sink, concurrency=2).run(prompts(10)))
    assert len(sink.rows) == 8
    assert [(f.id, f.stage, f.raw, f.retryable) for f in sorted(sink.failures, key=lambda f: f.id)] == [
        ("p5", "response", "??", False),
        ("p6", "request", "", True),
    ]


def test_bad_inputs_are_recorded_once() -> None:
    bad = Failure("line-2", 1, "input", "empty", "", retryable=False)
    sink = Memory()
    asyncio.run(Pipeline(work, sink, concurrency=2).run([make_prompt(), bad]))
    assert sink.failures == [bad]
    again = Memory(finished={"line-2"})
    asyncio.run(Pipeline(work, again, concurrency=2).run([make_prompt(), bad]))
    assert again.failures == []


@pytest.mark.parametrize("error", [EngineGoneError("gone"), StoreError("full"), ModelError("no log-probabilities")])
def test_fatal_errors_stop_the_run_and_leave_rows_owed(error: Exception) -> None:
    started = 0

    async def dying(prompt: Prompt) -> Row:
        nonlocal started
        started += 1
        if prompt.ordinal == 20:
            raise error
        await asyncio.sleep(0)
        return row_of(prompt)

    sink = Memory()
    with pytest.raises(type(error)):
        asyncio.run(Pipeline(dying, sink, concurrency=4).run(prompts(10_000)))
    assert started < 40
    assert sink.failures == []


def test_failures_that_are_all_alike_stop_the_run_and_blame_no_row() -> None:
    async def refused(_prompt: Prompt) -> Row:
        raise RequestError("400: unknown parameter", retryable=False)

    sink = Memory()
    with pytest.raises(EngineGoneError, match="unknown parameter"):
        asyncio.run(Pipeline(refused, sink, concurrency=4).run(prompts(10_000)))
    assert sink.failures == []


def test_prompts_that_do_not_fit_are_recorded_however_many_come_in_a_row() -> None:
    async def too_long(prompt: Prompt) -> Row:
        if prompt.ordinal < 100:
            raise ContextError("the request does not fit the model's context")
        return row_of(prompt)

    sink = Memory()
    asyncio.run(Pipeline(too_long, sink, concurrency=4).run(prompts(110)))
    assert (len(sink.failures), len(sink.rows)) == (100, 10)


def test_draining_finishes_the_rows_in_flight_and_takes_no_more() -> None:
    sink = Memory()

    async def stopping(prompt: Prompt) -> Row:
        if prompt.ordinal == 10:
            pipeline.stop.drain()
        await asyncio.sleep(0)
        return row_of(prompt)

    pipeline = Pipeline(stopping, sink, concurrency=4)
    asyncio.run(pipeline.run(prompts(1000)))
    ordinals = sorted(row.prompt.ordinal for row in sink.rows)
    assert 10 in ordinals
    assert ordinals == list(range(len(ordinals)))
    assert len(ordinals) < 20


def test_cycles_are_searched_for_rarely_while_rows_are_in_flight_and_as_before_afterwards() -> None:
    before, during = gc.get_threshold(), []

    async def looking(prompt: Prompt) -> Row:
        during.append(gc.get_threshold()[0])
        return await work(prompt)

    asyncio.run(Pipeline(looking, Memory(), concurrency=2).run(prompts(3)))
    assert min(during) > before[0]
    assert gc.get_threshold() == before
