"""The stand-in server costs what it says, and the measurements go through to the end; no figure is judged here."""

import asyncio
import heapq
import itertools
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import click
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import memory, overhead
from benchmarks.costs import BLOCK, Costs, PrefixCache, Slots
from benchmarks.figures import Figure
from benchmarks.pipeline import measure_bare, measure_cai
from benchmarks.processes import MeasuringError, resident_memory, timed
from benchmarks.prompts import write_prompts
from benchmarks.server import listen
from cai.rundir import Run, run

FAST = Costs(slots=8, prefill_us=0.0, decode_us=10.0)


def words(count: int, kind: str = "w") -> list[str]:
    return [f"{kind}{number}" for number in range(count)]


def test_a_prefix_is_found_in_whole_blocks_from_the_start() -> None:
    cache = PrefixCache()
    assert cache.look_up(words(40)) == 0
    assert cache.look_up(words(40)) == 2 * BLOCK
    assert cache.look_up(words(31)) == BLOCK
    assert cache.look_up(words(20) + words(20, "other")) == BLOCK
    assert cache.look_up(words(48)[BLOCK:]) == 0
    cache.clear()
    assert cache.look_up(words(40)) == 0


def test_a_request_costs_its_uncached_and_its_written_tokens() -> None:
    assert Costs(prefill_us=20, decode_us=2000).seconds(100, 64) == pytest.approx(0.130)


class Clock:
    """Time that passes only when somebody has waited for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), function))

    def run(self) -> None:
        while self._due:
            self.now, _, function = heapq.heappop(self._due)
            function()


@given(st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_slots_are_filled_first_come_first_served_and_idle_only_without_a_queue(slots: int, holds: list[int]) -> None:
    clock = Clock()
    served = Slots(Costs(slots=slots), clock.call_later)
    finished: dict[int, float] = {}
    for number, seconds in enumerate(holds):
        served.hold(seconds, lambda number=number: finished.update({number: clock.now}))  # type: ignore[misc]
    clock.run()
    free = [0.0] * slots
    for number, seconds in enumerate(holds):
        end = heapq.heappop(free) + seconds
        heapq.heappush(free, end)
        assert finished[number] == end
    assert served.counters.peak == min(slots, len(holds))
    assert served.counters.busy_slot_seconds == sum(holds)


def with_server(costs: Costs, talk: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def run() -> None:
        server, address = await listen(costs)
        async with server, aiohttp.ClientSession(address) as session:
            await talk(session)

    asyncio.run(run())


async def chat(session: aiohttp.ClientSession, content: str, **settings: Any) -> dict[str, Any]:
    body = {"model": "mock", "messages": [{"role": "user", "content": content}], **settings}
    async with session.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


async def stats(session: aiohttp.ClientSession) -> dict[str, float]:
    async with session.get("/stats") as response:
        counted: dict[str, float] = await response.json()
        return counted


def test_the_server_answers_counts_and_forgets() -> None:
    async def talk(session: aiohttp.ClientSession) -> None:
        prompt = " ".join(words(39))
        first = await chat(session, prompt, seed=1)
        again = await chat(session, prompt, seed=1, max_tokens=10)
        other = await chat(session, prompt, seed=2)
        assert len(first["choices"][0]["message"]["content"].split()) == 64
        assert first["choices"][0]["message"] != other["choices"][0]["message"]
        short = again["choices"][0]
        assert (len(short["message"]["content"].split()), short["finish_reason"]) == (10, "length")
        assert first["choices"][0]["message"]["content"].startswith(short["message"]["content"])
        assert again["usage"] == {
            "prompt_tokens": 40,
            "completion_tokens": 10,
            "total_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 32},
        }
        counted = await stats(session)
        assert (counted["requests"], counted["prompt_tokens"], counted["cached_tokens"]) == (3, 120, 64)
        assert counted["completion_tokens"] == 64 + 10 + 64
        assert counted["busy_slot_seconds"] == pytest.approx(138 * 10e-6)
        assert counted["ideal_seconds"] == pytest.approx(counted["busy_slot_seconds"] / 8)
        await (await session.post("/reset")).read()
        assert (await stats(session))["requests"] == 0
        assert (await chat(session, prompt))["usage"]["prompt_tokens_details"]["cached_tokens"] == 0

    with_server(FAST, talk)


def test_no_more_slots_are_busy_than_there_are() -> None:
    async def talk(session: aiohttp.ClientSession) -> None:
        await asyncio.gather(*(chat(session, f"question {number}") for number in range(40)))
        counted = await stats(session)
        assert (counted["requests"], counted["peak"]) == (40, 8)
        assert counted["busy_share"] > 0

    with_server(FAST, talk)


@pytest.mark.parametrize(
    ("question", "options"), [("Is it so?\nAnswer Yes or No.", {"Yes", "No"}), ("Answer A or B.", {"A", "B"})]
)
def test_a_choice_is_one_token_between_the_options_that_were_named(question: str, options: set[str]) -> None:
    async def talk(session: aiohttp.ClientSession) -> None:
        answer = await chat(session, question, max_tokens=64, logprobs=True, top_logprobs=20)
        entry = answer["choices"][0]["logprobs"]["content"][0]
        assert answer["usage"]["completion_tokens"] == 1
        assert options < {item["token"] for item in entry["top_logprobs"]}
        assert entry["token"] == max(entry["top_logprobs"], key=lambda item: item["logprob"])["token"]

    with_server(FAST, talk)


def test_what_is_no_request_is_refused_and_harms_no_other() -> None:
    async def talk(session: aiohttp.ClientSession) -> None:
        for body in (b"", b"{", b"[]", b'{"messages": [{"role": "user"}]}', b'{"messages": []}'):
            async with session.post("/v1/chat/completions", data=body) as response:
                assert response.status == 400
        async with session.get("/v1/nowhere") as response:
            assert response.status == 404
        await chat(session, "hello")
        counted = await stats(session)
        assert (counted["requests"], counted["refused"]) == (1, 5)

    with_server(FAST, talk)


def test_a_request_may_come_in_pieces_and_the_next_one_right_behind_it() -> None:
    async def run() -> None:
        server, address = await listen(FAST)
        async with server:
            port = int(address.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = orjson.dumps({"messages": [{"role": "user", "content": "hello"}]})
            request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            stream = request + b"GET /v1/models HTTP/1.1\r\n\r\n"
            for cut in (10, 60, len(request) - 5, len(request) + 4, len(stream)):
                writer.write(stream[:cut])
                stream = stream[cut:]
                await writer.drain()
                await asyncio.sleep(0)
            heads = [await reader.readuntil(b"\r\n\r\n")]
            answers = [orjson.loads(await reader.readexactly(int(heads[0].split(b"length: ")[1])))]
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            answers.append(orjson.loads(await reader.readexactly(int(heads[1].split(b"length: ")[1]))))
            writer.close()
            await writer.wait_closed()
        assert [answer["object"] for answer in answers] == ["chat.completion", "list"]

    asyncio.run(run())


def test_prompts_are_different_and_the_same_every_time(tmp_path: Path) -> None:
    write_prompts(tmp_path / "one", 50)
    write_prompts(tmp_path / "two", 50)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    rows = [orjson.loads(line) for line in (tmp_path / "one").read_bytes().splitlines()]
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == 50


@pytest.mark.slow
def test_a_whole_command_and_the_bare_loop_are_measured(tmp_path: Path) -> None:
    write_prompts(tmp_path / "prompts.jsonl", 40)
    for measured in (measure_cai(tmp_path, "run", FAST, 40), measure_bare(tmp_path, FAST, 40)):
        assert measured.seconds > 0
        assert measured.ideal_seconds > 40 * 3 * 64 * 10e-6 / 8
        assert measured.busy_share > 0
    assert (tmp_path / "run" / "sft" / "train.parquet").exists()


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(MeasuringError, match="ended with 3: alas"):
        timed([sys.executable, "-c", "import sys; print('alas', file=sys.stderr); sys.exit(3)"])


def test_memory_is_read_while_a_process_lives() -> None:
    memory = resident_memory(os.getpid())
    assert memory is not None
    now, most = memory
    assert 1 < now <= most
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert resident_memory(ended.pid) is None


def test_a_figure_meets_its_target_or_not() -> None:
    assert Figure("speed", 5, "rows/s", 5, "at least").met
    assert not Figure("time", 5.1, "s", 5, "at most").met
    assert Figure("time", 5.1, "s").met is None


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (3.0, 1)])
def test_results_are_written_and_a_missed_target_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, code: int
) -> None:
    monkeypatch.setitem(command.PARTS, "memory", lambda: [Figure("growth", value, "x", 2.0)])
    result = CliRunner().invoke(command.main, ["memory", "--results", str(tmp_path)])
    assert result.exit_code == code
    written = orjson.loads((tmp_path / "memory.json").read_bytes())
    figure = {"name": "growth", "value": value, "unit": "x", "target": 2.0, "bound": "at most", "met": code == 0}
    assert written["figures"] == [figure]
    assert {"date", "machine", "versions"} < set(written)


@pytest.mark.slow
def test_a_profile_is_of_the_command_and_goes_to_rooms(tmp_path: Path) -> None:
    write_prompts(tmp_path / "prompts.jsonl", 20)
    shares = overhead.shares("one round, judged once", tmp_path / "prompts.jsonl", tmp_path / "run")
    assert Run.read(tmp_path / "run").count() == 20
    assert len(shares) == overhead.SHOWN
    assert 50 < sum(figure.value for figure in shares) <= 100
    assert overhead.room(run.__file__) == "cai/rundir/run"
    assert overhead.room(click.__file__) == "click"


@pytest.mark.slow
def test_memory_and_store_are_measured_to_the_end() -> None:
    figures = memory.measure(few=2_000, many=20_000) + command.measure_store(2_000)
    assert all(figure.value > 0 for figure in figures)
    assert sum(figure.target is not None for figure in figures) == 5
