"""How a busy server is asked: by minutes of a clock that runs ahead, and by the law of the pace itself."""

import asyncio
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.models.base import Completion, Request, Sampling
from cai.models.openai.attempts import AttemptHistory, BusyError
from cai.models.openai.engine import OpenAIEngine, open_openai
from cai.models.openai.hosts import Hosts
from cai.models.openai.pacing import Pace
from tests.virtual_time import run_ahead

GOOD = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
TOO_MANY = '{"error": {"message": "Rate limit reached for requests", "code": 429}}'


def request(number: int) -> Request:
    return Request(({"role": "user", "content": f"question {number}"},), Sampling(), number)


async def against(
    allows: Callable[[float], dict[str, str] | None], work: Callable[[OpenAIEngine], Any], **settings: Any
) -> tuple[Any, list[tuple[float, bool]]]:
    """Let `work` use an engine whose server refuses with the headers that `allows` gives for a time, if it does.

    Returns what the work returns, and when each request came and whether it was answered.
    """
    loop = asyncio.get_running_loop()
    began, log = loop.time(), []

    async def chat(request: web.Request) -> web.Response:
        await request.read()
        now = loop.time() - began
        headers = allows(now)
        log.append((now, headers is None))
        if headers is None:
            return web.json_response(GOOD)
        return web.Response(status=429, text=TOO_MANY, headers=headers)

    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(application, keepalive_timeout=1e9, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = OpenAIEngine("any", [f"http://127.0.0.1:{runner.addresses[0][1]}/v1"], **settings)
    try:
        return await work(engine), log
    finally:
        await engine.close()
        await runner.cleanup()


def per_minute(limit: int, *, refusals_count: bool) -> Callable[[float], dict[str, str] | None]:
    """Return a server's rule: so many requests in each minute of the clock, and no word of when to come again."""
    counted: dict[int, int] = {}

    def allows(now: float) -> dict[str, str] | None:
        minute = int(now // 60)
        good = counted.setdefault(minute, 0) < limit
        counted[minute] += good or refusals_count
        return None if good else {}

    return allows


async def ask_all(engine: OpenAIEngine, count: int) -> list[Completion]:
    return list(await asyncio.gather(*(engine.complete(request(number)) for number in range(count))))


@pytest.mark.parametrize("refusals_count", [False, True])
def test_a_run_under_twenty_requests_a_minute_loses_nothing_and_wastes_little(refusals_count: bool) -> None:
    rule = per_minute(20, refusals_count=refusals_count)
    answered, log = run_ahead(against(rule, lambda engine: ask_all(engine, 300), concurrency=64))
    assert len(answered) == 300
    minutes = log[-1][0] / 60
    assert 14 <= minutes <= 22  # 15 are the least; a rest may end after the minute has begun
    refused = sum(not good for _, good in log[64:])
    assert refused < 25 * minutes


def test_requests_on_their_way_fall_and_recover() -> None:
    loud = True

    async def work(engine: OpenAIEngine) -> list[float]:
        nonlocal loud
        limits = []
        pace = engine._hosts.all[0].pace
        first = asyncio.ensure_future(ask_all(engine, 64))
        await asyncio.sleep(30)
        limits.append(pace.limit)
        loud = False
        await first
        await ask_all(engine, 2000)
        return [*limits, pace.limit]

    limits, log = run_ahead(against(lambda _: {} if loud else None, work, concurrency=64))
    assert limits == [1.0, 64.0]
    assert sum(now < 30 and not good for now, good in log) < 64 + 20


@pytest.mark.parametrize("header", ["0", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_wait_of_nothing_does_not_spin(header: str) -> None:
    _, log = run_ahead(
        against(lambda now: {"Retry-After": header} if now < 60 else None, lambda engine: ask_all(engine, 1))
    )
    assert 5 <= len(log) <= 20


def test_a_wait_that_the_server_asks_for_holds_for_all() -> None:
    _, log = run_ahead(
        against(lambda now: {"Retry-After": "90"} if now < 1 else None, lambda engine: ask_all(engine, 40))
    )
    assert [now for now, good in log if not good] == [pytest.approx(0.0, abs=1e-3)] * 40
    assert min(now for now, good in log if good) == pytest.approx(90, abs=1)


def test_a_server_that_refuses_everything_is_given_up_after_minutes_and_for_all_at_once() -> None:
    async def work(engine: OpenAIEngine) -> list[Any]:
        asked = (engine.complete(request(number)) for number in range(100))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    failed, log = run_ahead(against(lambda _: {}, work, concurrency=100))
    assert len(failed) == 100
    for error in failed:
        assert isinstance(error, RequestError)
        assert (error.kind, error.retryable) == ("rate limit", True)
        assert "429: Rate limit reached for requests, and nothing else for 600 s" in str(error)
    assert 600 <= log[-1][0] <= 620


def test_a_day_is_not_waited_for_once_it_was_told_three_times() -> None:
    async def work(engine: OpenAIEngine) -> Any:
        return (await asyncio.gather(engine.complete(request(1)), return_exceptions=True))[0]

    error, log = run_ahead(against(lambda _: {"Retry-After": "86400"}, work))
    assert isinstance(error, RequestError)
    assert (len(log), log[-1][0] < 2) == (3, True)
    once = iter([True, False])
    answered, _ = run_ahead(
        against(lambda _: {"Retry-After": "86400"} if next(once, False) else None, lambda e: ask_all(e, 1))
    )
    assert len(answered) == 1


def test_a_request_that_is_too_large_for_the_limit_does_not_wait_for_ever() -> None:
    trial = AttemptHistory(10, 600.0)
    over = [trial.is_too_large(answered, 60.0 * answered, 600.0) for answered in range(1, 30)]
    assert over.index(True) == 20
    alone = AttemptHistory(10, 600.0)
    assert not any(alone.is_too_large(5, 60.0 * minute, 600.0) for minute in range(30))


def test_what_a_server_said_is_told_while_it_is_waited_for_and_not_too_often() -> None:
    told: list[str] = []
    answered, log = run_ahead(
        against(
            per_minute(5, refusals_count=False), lambda engine: ask_all(engine, 100), concurrency=64, say=told.append
        )
    )
    assert len(answered) == 100
    assert 3 <= len(told) <= 1 + log[-1][0] / 300
    assert re.fullmatch(r"waiting \d+ s: 127\.0\.0\.1:\d+ answered 429: Rate limit reached for requests", told[0])


def test_a_person_is_told_why_a_server_is_asked_again_in_vain() -> None:
    told: list[str] = []

    async def main() -> None:
        engine = OpenAIEngine("m", ["http://127.0.0.1:9/v1"], patience=60.0, say=told.append)
        try:
            with pytest.raises(EngineGoneError):
                await engine.complete(request(1))
        finally:
            await engine.close()

    run_ahead(main())
    assert len(told) == 1
    assert re.fullmatch(r"nothing answered for \d+ s, asking again: no connection to 127\.0\.0\.1:9 .*", told[0])


def test_a_person_is_told_of_a_server_that_lists_its_models_slowly() -> None:
    told: list[str] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until nobody waits any more
        writer.close()
        left.set()

    left = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ModelError, match="does not answer"):
            await open_openai("m", [f"http://127.0.0.1:{port}/v1"], say=told.append)
        await left.wait()
        server.close()
        await server.wait_closed()
        assert told == [f"waiting for 127.0.0.1:{port} to list its models"]

    run_ahead(main())


def test_nothing_is_told_while_another_server_answers() -> None:
    hosts = Hosts(["a:1", "b:2"], 1.0)
    hosts.all[0].pace.refuse(3, 0, 0.0, 40.0, "a:1 answered 429: slow down")
    assert hosts.notice(10.0, 5.0) == ""
    hosts.all[1].pace.refuse(3, 0, 0.0, 30.0, "b:2 answered 503: loading")
    assert hosts.notice(10.0, 5.0) == "waiting 20 s: b:2 answered 503: loading"
    assert hosts.notice(26.0, 5.0) == ""


def test_those_who_wait_go_in_turn_and_a_cancelled_one_passes_its_turn_on() -> None:
    async def main() -> None:
        hosts = Hosts(["a:1"], 1.0, most=1)
        host = await hosts.take(b"")
        order: list[int] = []

        async def wait(number: int) -> None:
            taken = await hosts.take(b"")
            order.append(number)
            hosts.release(taken)

        tasks = [asyncio.create_task(wait(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        hosts.release(host)
        tasks[0].cancel()  # it was woken, and has not gone
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [2, 3]
        assert host.in_flight == 0

    asyncio.run(main())


EVENTS = st.lists(st.tuples(st.sampled_from(["refuse", "answer"]), st.floats(0, 50), st.integers(1, 64)), max_size=80)


@given(EVENTS)
def test_a_pace_stays_in_its_bounds(events: list[tuple[str, float, int]]) -> None:
    pace, now = Pace(64, 600.0), 0.0
    for event, later, in_flight in events:
        now += later
        if event == "refuse":
            before = pace.limit
            pace.refuse(in_flight, pace.pauses, now, None, "no")
            assert pace.limit <= before
            assert now < pace.paused_until <= max(now + 15.0, pace.paused_until)
        else:
            before = pace.limit
            pace.answer(pace.pauses)
            assert pace.limit >= before
            assert pace.busy_since is None
        assert 1.0 <= pace.limit <= 64.0
        assert math.isfinite(pace.paused_until)
        assert pace.allows(0, pace.paused_until)


def test_refusals_of_one_burst_count_once() -> None:
    pace = Pace(64, 600.0)
    for _ in range(64):
        pace.refuse(64, 0, 1.0, None, "no")
    assert (pace.limit, pace.pauses) == (32.0, 1)
    assert pace.paused_until < 1.2


def test_every_waiting_request_is_told_when_all_is_hopeless() -> None:
    async def main() -> list[Any]:
        hosts = Hosts(["a:1"], 1.0, most=1, busy_patience=0.0)
        host = await hosts.take(b"")
        waiting = [asyncio.create_task(hosts.take(b"")) for _ in range(3)]
        await asyncio.sleep(0)
        assert hosts.refused(host, 0, BusyError("a:1 answered 429"))
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    assert all(isinstance(error, BusyError) for error in asyncio.run(main()))
