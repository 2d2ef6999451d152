"""The server engine against real aiohttp servers on 127.0.0.1 that misbehave on purpose."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import ContextError, EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models import EngineOptions, open_engine
from cai.models.base import Choice, Completion, Request, Sampling
from cai.models.openai.attempts import AttemptError, AttemptHistory, backoff, retry_after
from cai.models.openai.chat import weigh_options
from cai.models.openai.engine import OpenAIEngine, open_openai
from cai.models.openai.hosts import Host, Hosts
from cai.models.openai.refusals import is_overflow
from cai.models.spec import ModelSpec

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _messages(text: str = "hello") -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def _request(text: str = "hello", seed: int = 5) -> Request:
    return Request(_messages(text), Sampling(0.7, 0.9, 33), seed)


def _answer(content: str | None = "hi there", reason: str = "stop", **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason, **more}
    return {"choices": [choice], "usage": usage}


def _logprobs(*tokens: tuple[str, float]) -> dict[str, Any]:
    top = [{"token": token, "logprob": math.log(p), "bytes": list(token.encode())} for token, p in tokens]
    return _answer("A", "length", logprobs={"content": [{**top[0], "top_logprobs": top}]})


class _Server:
    """A chat server that answers with the given responses in turn, and with the last one for ever after."""

    def __init__(self, *responses: Handler | dict[str, Any], models: dict[str, Any] | None = None) -> None:
        self.responses = list(responses)
        self.models = models
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self.runner: web.AppRunner | None = None

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(orjson.loads(await request.read()))
        self.headers.append(dict(request.headers))
        response = self.responses[0] if len(self.responses) == 1 else self.responses.pop(0)
        return web.json_response(response) if isinstance(response, dict) else await response(request)

    async def list_models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.models) if self.models else web.Response(status=404)

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self.chat)
        application.router.add_get("/v1/models", self.list_models)
        self.runner = web.AppRunner(application, shutdown_timeout=0.01)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


@asynccontextmanager
async def _serving(*servers: _Server, **settings: Any) -> AsyncIterator[OpenAIEngine]:
    for server in servers:
        await server.start()
    settings = {"backoff_base": 0.0001, "patience": 0.05, "timeout": 5.0, **settings}
    engine = OpenAIEngine("llama", [server.url for server in servers], **settings)
    try:
        yield engine
    finally:
        await engine.close()
        for server in servers:
            await server.stop()


def _status(status: int, text: str = "no", headers: dict[str, str] | None = None) -> Handler:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return respond


async def _hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def _drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def _complete(*responses: Handler | dict[str, Any], **settings: Any) -> tuple[Completion, _Server]:
    server = _Server(*responses)

    async def main() -> Completion:
        async with _serving(server, **settings) as engine:
            return await engine.complete(_request())

    return asyncio.run(main()), server


def _choose(response: Handler | dict[str, Any], options: Sequence[str] = ("A", "B")) -> tuple[Choice, _Server]:
    server = _Server(response)

    async def main() -> Choice:
        async with _serving(server) as engine:
            return await engine.choose(Request(_messages()), options)

    return asyncio.run(main()), server


def test_a_request_says_all_that_decides_the_answer() -> None:
    completion, server = _complete(_answer())
    assert completion == Completion("hi there", "stop", 7, 4, 2)
    assert server.bodies == [
        {
            "model": "llama",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 33,
            "seed": 5,
        }
    ]


def test_finish_reasons_are_told_apart() -> None:
    assert _complete(_answer(reason="length"))[0].finish_reason == "length"
    assert _complete(_answer(reason="eos_token"))[0].finish_reason == "stop"
    with pytest.raises(RequestError, match="filter") as caught:
        _complete(_answer(reason="content_filter"))
    assert (caught.value.kind, caught.value.retryable) == ("content_filter", False)


def test_usage_may_be_missing() -> None:
    answer = _answer()
    del answer["usage"]
    assert _complete(answer)[0].prompt_tokens == 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_a_passing_failure_is_asked_again(status: int) -> None:
    completion, server = _complete(_status(status), _status(status, headers={"Retry-After": "0"}), _answer())
    assert completion.text == "hi there"
    assert len(server.bodies) == 3


def test_a_lasting_fault_is_retryable_later_and_keeps_the_answer() -> None:
    with pytest.raises(RequestError, match="answered 500: out of order, asked 4 times") as caught:
        _complete(_status(500, "out of order"), attempts=4)
    assert caught.value.retryable
    assert (caught.value.kind, caught.value.raw) == ("server error", "out of order")


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 422])
def test_a_refusal_is_believed_at_the_second_time(status: int) -> None:
    server = _Server(_status(status, "bad parameter"))

    async def main() -> RequestError:
        async with _serving(server) as engine:
            with pytest.raises(RequestError, match=f"answered {status}: .*bad parameter") as caught:
                await engine.complete(_request())
            return caught.value

    error = asyncio.run(main())
    assert len(server.bodies) == 2
    assert error.kind == f"http {status}"
    assert error.retryable is (status not in (400, 413, 422))
    assert "bad parameter" in error.raw


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 422])
def test_a_refusal_by_a_server_that_answers_others_is_asked_again(status: int) -> None:
    server = _Server(_answer(), *[_status(status, "no such thing")] * 5, _answer())

    async def main() -> None:
        async with _serving(server) as engine:
            assert (await engine.complete(_request())).text == "hi there"
            assert (await engine.complete(_request())).text == "hi there"

    asyncio.run(main())
    assert len(server.bodies) == 7


OVERFLOW = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_context_overflow_is_recognised_at_once(status: int) -> None:
    server = _Server(_status(status, OVERFLOW), _answer())

    async def main() -> None:
        async with _serving(server) as engine:
            with pytest.raises(ContextError, match="does not fit the model's context") as caught:
                await engine.complete(_request())
            assert not caught.value.retryable

    asyncio.run(main())
    assert len(server.bodies) == 1


def test_a_server_at_fault_that_speaks_of_the_context_is_believed_when_it_does_not_change_its_mind() -> None:
    assert _complete(_status(500, OVERFLOW), _answer())[0].text == "hi there"
    with pytest.raises(ContextError):
        _complete(_status(500, OVERFLOW))


def test_overflow_messages_of_several_servers() -> None:
    assert is_overflow("the request exceeds the available context size. try increasing it")
    assert is_overflow("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000")
    assert is_overflow("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).")
    assert not is_overflow("temperature must be below 2; the context is missing")


@pytest.mark.parametrize(("status", "words"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "llama")])
def test_what_a_person_can_mend_is_told(status: int, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        _complete(_status(status))


def test_a_hanging_server_is_asked_again_for_as_long_as_a_minute_lasts() -> None:
    with pytest.raises(RequestError, match=r"within 0\.05 s, asked 3 times") as caught:
        _complete(_hang, timeout=0.05, attempts=3)
    assert (caught.value.kind, caught.value.retryable) == ("timeout", True)
    assert _complete(_hang, _answer(), timeout=0.1)[0].text == "hi there"
    timeout = AttemptError("late", kind="timeout")
    for seconds, attempts in ((600.0, 3), (60.0, 3), (10.0, 6), (1.0, 10)):
        trial = AttemptHistory(10, seconds)
        assert [trial.is_over(timeout, given=True) for _ in range(attempts)].index(True) == attempts - 1


def test_garbage_keeps_the_raw_text() -> None:
    for body in ("<html>oops", "[]", '{"choices": []}', '{"choices": [{"message": null}]}'):
        with pytest.raises(RequestError, match="not a chat completion") as caught:
            _complete(_status(200, body))
        assert caught.value.raw == body


def test_an_answer_without_text_is_a_failure_once_it_came_often_enough() -> None:
    with pytest.raises(RequestError, match=r"without text \(finish_reason length\), asked 3 times") as caught:
        _complete(_answer(None, "length"), attempts=3)
    assert (caught.value.kind, caught.value.retryable) == ("no text", True)
    assert _complete(_answer(None, "length"), _answer(None, "stop"), _answer())[0].text == "hi there"


def test_an_empty_text_is_what_the_model_says_once_it_came_often_enough() -> None:
    assert _complete(_answer(""), _answer("\n"), _answer())[0].text == "hi there"
    completion, server = _complete(_answer(""), attempts=3)
    assert completion.text == ""
    assert len(server.bodies) == 3


def test_a_broken_connection_is_asked_again_but_not_for_ever() -> None:
    completion, server = _complete(_drop, _drop, _answer(), patience=5.0)
    assert completion.text == "hi there"
    assert len(server.bodies) == 3
    with pytest.raises(RequestError, match="broke, asked 4 times") as caught:
        _complete(_drop, patience=60.0, attempts=4)
    assert caught.value.retryable


def test_servers_that_refuse_connections_end_the_engine_once_for_all() -> None:
    server = _Server(_answer())

    async def main() -> list[Any]:
        async with _serving(server, patience=0.05) as engine:
            assert (await engine.complete(_request())).text == "hi there"
            await server.stop()
            results = await asyncio.gather(*(engine.complete(_request()) for _ in range(40)), return_exceptions=True)
            with pytest.raises(EngineGoneError, match=r"127\.0\.0\.1"):
                await engine.complete(_request())
            return list(results)

    assert all(isinstance(result, EngineGoneError) for result in asyncio.run(main()))


def test_a_server_that_comes_back_in_time_is_forgiven() -> None:
    server = _Server(_answer())

    async def main() -> None:
        async with _serving(server, patience=30.0, backoff_base=0.01) as engine:
            port = int(server.url.split(":")[2].split("/")[0])
            await server.stop()
            waiting = asyncio.gather(*(engine.complete(_request()) for _ in range(10)))
            await asyncio.sleep(0.03)
            assert not waiting.done()
            await server.start(port)
            assert all(completion.text == "hi there" for completion in await waiting)

    asyncio.run(main())


def test_rows_keep_their_server_and_move_when_it_dies() -> None:
    servers = [_Server(_answer()), _Server(_answer())]

    def seen() -> list[Counter[str]]:
        return [Counter(body["messages"][0]["content"] for body in server.bodies) for server in servers]

    async def main() -> None:
        async with _serving(*servers, patience=30.0) as engine:
            for _ in range(3):
                for i in range(40):
                    await engine.complete(_request(f"row {i}"))
            first, second = seen()
            assert not set(first) & set(second)
            assert min(len(first), len(second)) >= 3
            assert all(count == 3 for count in (first + second).values())
            await servers[0].stop()
            results = await asyncio.gather(*(engine.complete(_request(f"row {i}")) for i in range(40)))
            assert len(results) == 40
            assert len(seen()[1]) == 40

    asyncio.run(main())


def test_the_whole_conversation_of_a_row_has_one_affinity_and_load_spills() -> None:
    hosts = Hosts(["a:1", "b:2", "c:3"], patience=1.0)
    rows: list[tuple[Message, ...]] = [({"role": "user", "content": f"row {i}"},) for i in range(60)]

    def picked(row: Sequence[Message]) -> Host:
        host = hosts.pick(hosts.affinity(row), 0.0)
        assert host is not None
        return host

    for row in rows:
        longer: tuple[Message, ...] = (*row, {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"})
        assert picked(row) is picked(longer)
    assert len({picked(row).name for row in rows}) == 3
    wanted = picked(rows[0])
    wanted.in_flight = 9
    assert picked(rows[0]) is not wanted
    wanted.in_flight = 8
    assert picked(rows[0]) is wanted
    assert hosts.pick(hosts.affinity(rows[0]), 0.0, avoid=wanted) is not wanted


def test_rows_are_dealt_evenly_whatever_the_servers_are_called() -> None:
    rows: list[tuple[Message, ...]] = [({"role": "user", "content": f"row {i}"},) for i in range(400)]
    for port in range(40_000, 40_050):
        hosts = Hosts([f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"], patience=1.0)
        first = sum(hosts.pick(hosts.affinity(row), 0.0) is hosts.all[0] for row in rows)
        assert 140 <= first <= 260, port


def test_one_dead_server_of_two_never_ends_the_engine() -> None:
    hosts = Hosts(["a:1", "b:2"], patience=1.0)
    for now in range(100):
        assert hosts.unreachable(hosts.all[0], float(now))
    hosts.unreachable(hosts.all[1], 100.0)
    hosts.reached(hosts.all[1])
    hosts.unreachable(hosts.all[1], 200.0)
    with pytest.raises(EngineGoneError):
        hosts.unreachable(hosts.all[1], 201.0)


def test_no_more_requests_are_on_their_way_than_the_concurrency() -> None:
    running = most = 0

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return web.json_response(_answer())

    async def main() -> None:
        async with _serving(_Server(count), concurrency=4) as engine:
            assert engine.concurrency == 4
            await asyncio.gather(*(engine.complete(_request()) for _ in range(40)))

    asyncio.run(main())
    assert most == 4


def test_a_choice_sums_spellings() -> None:
    choice, server = _choose(_logprobs(("A", 0.5), (" A", 0.1), ("▁A", 0.05), ("A", 0.5), ("B", 0.2), ("C", 0.1)))
    assert choice.mass == pytest.approx(0.85)
    assert choice.probabilities == pytest.approx((0.65 / 0.85, 0.2 / 0.85))
    assert (choice.prompt_tokens, choice.cached_tokens) == (7, 4)
    assert server.bodies[0]["max_tokens"] == 1
    assert server.bodies[0]["top_logprobs"] == 20
    assert server.bodies[0]["logprobs"] is True
    assert (server.bodies[0]["temperature"], server.bodies[0]["top_p"]) == (1.0, 1.0)


def test_an_absent_option_has_no_probability() -> None:
    assert _choose(_logprobs(("A", 0.5), ("x", 0.2)))[0].probabilities == (1.0, 0.0)
    nothing = _choose(_logprobs(("x", 0.5)))[0]
    assert (nothing.probabilities, nothing.mass) == ((0.5, 0.5), 0.0)


def test_options_of_several_tokens_count_by_their_first() -> None:
    choice, _ = _choose(_logprobs(("Ref", 0.6), (" Comp", 0.2), ("R", 0.1)), ("Refuse", "Comply"))
    assert choice.mass == pytest.approx(0.9)
    assert choice.probabilities == pytest.approx((0.7 / 0.9, 0.2 / 0.9))


def test_options_that_begin_alike_are_refused() -> None:
    with pytest.raises(RequestError, match="same token 'Response'"):
        _choose(_logprobs(("Response", 0.9), ("x", 0.1)), ("Response 1", "Response 2"))


def test_a_whole_option_is_not_helped_by_its_pieces() -> None:
    assert weigh_options([("Yes", math.log(0.5)), ("Y", math.log(0.2))], ("Yes", "No")) == pytest.approx([0.5, 0.0])


@given(st.lists(st.tuples(st.sampled_from(["A", " A", "B", "B ", "C", " ", "AB"]), st.floats(0.001, 0.1)), max_size=8))
def test_weights_never_pass_what_the_tokens_weigh(tokens: list[tuple[str, float]]) -> None:
    likeliest: dict[str, float] = {}
    for token, p in tokens:
        likeliest[token] = max(p, likeliest.get(token, 0.0))
    weights = weigh_options([(token, math.log(p)) for token, p in tokens], ("A", "B"))
    assert weights[1] == pytest.approx(likeliest.get("B", 0) + likeliest.get("B ", 0))
    assert sum(weights) <= sum(likeliest.values()) + 1e-9


@pytest.mark.parametrize("answer", [_answer(), _answer(logprobs=None), _answer(logprobs={"content": []})])
def test_a_server_without_logprobs_is_refused_with_what_to_do(answer: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"log-probabilities.*vLLM.*asked 2 times") as caught:
        _choose(answer)
    assert caught.value.kind == "no log-probabilities"


def test_refused_top_logprobs_are_told() -> None:
    with pytest.raises(RequestError, match="refuses top_logprobs") as caught:
        _choose(_status(400, "top_logprobs must be at most 5"))
    assert caught.value.kind == "http 400"


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = _Server(_answer(), _status(400, "your key sk-secret is bad"))

    async def main() -> None:
        async with _serving(server) as engine:
            await engine.complete(_request())
            with pytest.raises(RequestError) as caught:
                await engine.complete(_request())
            shown = f"{engine.name} {engine!r} {caught.value} {caught.value.raw}"
            assert "sk-secret" not in shown
            assert "your key … is bad" in shown

    asyncio.run(main())
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("spelled", ["sk-secret/1", r"sk-secret\/1", r"sk\u002dsecret/1"])
def test_an_answer_that_repeats_the_key_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, spelled: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret/1")
    raw = orjson.dumps(_answer("your key is KEY")).decode().replace("KEY", spelled)
    broken = raw.replace("is", "\\ud83d")  # a damaged text is kept where no better one comes
    completion, server = _complete(_status(200, raw), _status(200, broken), _answer())
    assert (completion.text, len(server.bodies)) == ("hi there", 3)
    for text in (raw, broken):
        with pytest.raises(RequestError) as caught:
            _complete(_status(200, text), attempts=3)
        assert "sk-secret" not in f"{caught.value} {caught.value.raw}"


def test_no_beginning_of_a_key_ends_a_raw_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(RequestError) as caught:
        _complete(_status(200, " " * 3_994 + "sk-secret"), attempts=1)
    assert "sk-" not in caught.value.raw


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-\nsecret", "sk-secret\r", "sk-\udcff", "sk-\x00"])
def test_a_key_that_no_header_can_hold_is_told(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    with pytest.raises(ModelError, match="OPENAI_API_KEY holds a line break") as caught:
        asyncio.run(open_openai("llama", ["http://127.0.0.1:9/v1"]))
    assert "secret" not in str(caught.value)


def test_a_password_in_the_address_is_used_and_hidden() -> None:
    server = _Server(_answer(), models={"data": []})

    async def main() -> None:
        await server.start()
        url = server.url.replace("//", "//ann:s3cret@")
        engine = await open_engine(ModelSpec.parse(f"openai:llama@{url}"))
        try:
            await engine.complete(_request())
            assert "s3cret" not in engine.name
            assert "ann" not in engine.name
        finally:
            await engine.close()
            await server.stop()
        with pytest.raises(ModelError) as caught:
            await open_engine(ModelSpec.parse(f"openai:llama@{url}"))
        assert "s3cret" not in str(caught.value)

    asyncio.run(main())
    assert server.headers[0]["Authorization"].startswith("Basic ")


def test_opening_reads_the_context_length() -> None:
    listed = {"data": [{"id": "other", "max_model_len": 9}, {"id": "llama", "max_model_len": 4096}]}
    servers = [_Server(_answer(), models=listed), _Server(_answer())]

    async def main() -> None:
        for server in servers:
            await server.start()
        for urls, expected in (((0,), 4096), ((1,), None), ((0, 1), 4096)):
            spec = "openai:llama@" + ",".join(servers[i].url for i in urls)
            engine = await open_engine(ModelSpec.parse(spec), EngineOptions(timeout=5, concurrency=3))
            assert engine.context_length == expected
            assert engine.name == "openai:llama"
            assert engine.concurrency == 3
            await engine.close()
        with pytest.raises(ModelError, match="/v1"):
            await open_engine(ModelSpec.parse(f"openai:llama@{servers[1].url.removesuffix('/v1')}"))
        await servers[0].stop()
        with pytest.raises(ModelError, match="is it running"):
            await open_engine(ModelSpec.parse(f"openai:llama@{servers[0].url}"))
        both = await open_engine(ModelSpec.parse(f"openai:llama@{servers[0].url},{servers[1].url}"))
        assert (await both.complete(_request())).text == "hi there"
        await both.close()
        await servers[1].stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("told", "length"),
    [(4096.0, 4096), ("4096", None), (-1, None), (0, None), (True, None), (2**70, None), (None, None), ([1], None)],
)
def test_a_context_length_is_a_whole_number_or_not_told(told: Any, length: int | None) -> None:
    async def main() -> int | None:
        server = _Server(_answer(), models={"data": [None, {"id": ["llama"]}, {"id": "llama", "max_model_len": told}]})
        async with _serving(server) as engine:
            return await engine.find_context_length()

    assert asyncio.run(main()) == length


def test_a_plain_server_that_is_asked_for_tls_is_told_at_opening() -> None:
    async def main() -> str:
        server = _Server(_answer())
        await server.start()
        try:
            with pytest.raises(ModelError, match=r"no server answers at .*SSL") as caught:
                await open_engine(ModelSpec.parse(f"openai:llama@{server.url.replace('http:', 'https:')}"))
            return str(caught.value)
        finally:
            await server.stop()

    assert asyncio.run(main()).isprintable()


def test_a_closed_engine_is_gone() -> None:
    async def main() -> None:
        server = _Server(_answer())
        async with _serving(server) as engine:
            await engine.close()
            with pytest.raises(EngineGoneError, match="closed"):
                await engine.complete(_request())

    asyncio.run(main())


def test_retry_after_is_read_as_seconds_or_date() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert retry_after(" 2.5 ") == 2.5
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert retry_after("Fri, 02 Jan 2026 03:04:15 -0000", now) == 10


@given(st.integers(1, 40), st.floats(0.001, 2))
def test_backoff_stays_in_its_bounds(failures: int, base: float) -> None:
    assert 0 <= backoff(failures, base) <= min(30, base * 2 ** (failures - 1))
