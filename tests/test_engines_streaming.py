"""Answers that are heard while they are written: servers by events, models in this process by tokens, others whole."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import RequestError
from cai.models import EngineOptions, open_engine
from cai.models.base import Completion, Request, Sampling
from cai.models.openai.bodies import PLAIN
from cai.models.openai.streaming import StreamedAnswer
from cai.models.scripted import ScriptedEngine
from cai.models.spec import ModelSpec
from cai.models.streaming import StreamingEngine, stream
from tests.building import user
from tests.test_engines_openai import Handler, _answer, _Server, _serving

ASKED = Request((user("Hi"),), Sampling(max_tokens=16), 3)
USAGE = {"prompt_tokens": 7, "completion_tokens": 2}


def event(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + orjson.dumps({"id": "x", "choices": [choice], "usage": None, **more}) + b"\n\n"


LAST = b"data: " + orjson.dumps({"id": "x", "choices": [], "usage": USAGE}) + b"\n\ndata: [DONE]\n\n"


def events(*pieces: bytes) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.002)  # a piece of its own on the wire
        return response

    return respond


def heard_of(
    *responses: Handler | dict[str, Any], ask: Request = ASKED
) -> tuple[Completion, list[str], list[dict[str, Any]]]:
    async def scenario() -> tuple[Completion, list[str], list[dict[str, Any]]]:
        server, heard = _Server(*responses), list[str]()
        async with _serving(server) as engine:
            assert isinstance(engine, StreamingEngine)
            return await stream(engine, ask, heard.append), heard, server.bodies

    return asyncio.run(scenario())


def test_a_server_s_events_are_heard_and_add_up() -> None:
    pieces = [event({"role": "assistant", "content": ""}), event({"content": "How "}), event({"content": "are 여"})]
    completion, heard, bodies = heard_of(events(b": ping\n\n", *pieces, event({"content": "러분?"}, "stop"), LAST))
    assert completion == Completion("How are 여러분?", "stop", 7, 0, 2)
    assert heard == ["How ", "How are 여", "How are 여러분?", "How are 여러분?"]
    assert [bodies[0][name] for name in ("stream", "stream_options")] == [True, {"include_usage": True}]
    assert bodies[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_thought_is_not_heard_wherever_it_stands() -> None:
    apart = [
        event({"reasoning_content": "hm"}),
        event({"reasoning_content": " so"}),
        event({"content": "Yes."}, "stop"),
    ]
    tagged = [event({"content": part}) for part in ("<think>hm", " so</th", "ink>\n\nYe")] + [
        event({"content": "s."}, "stop")
    ]
    for pieces in (apart, tagged):
        completion, heard, _ = heard_of(events(*pieces, LAST))
        assert (completion.text, completion.reasoning) == ("Yes.", "hm so")
        assert all("Yes.".startswith(text) for text in heard)


async def refuses_streams(request: web.Request) -> web.StreamResponse:
    if b'"stream"' in await request.read():
        return web.json_response({"error": {"message": "no stream here"}}, status=400)
    return web.json_response(_answer("Then whole."))


def test_a_server_that_does_not_stream_is_heard_once() -> None:
    completion, heard, _ = heard_of(_answer("All at once."))
    assert (completion.text, heard) == ("All at once.", ["All at once."])
    completion, heard, bodies = heard_of(refuses_streams)
    assert (completion.text, heard) == ("Then whole.", ["Then whole."])
    assert ["stream" in body for body in bodies] == [True, True, False], "a refusal is believed the second time"


def test_what_breaks_off_is_asked_again_and_an_error_inside_is_one() -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "9999"})
        await response.prepare(request)
        await response.write(event({"content": "Half an ans"}))
        assert request.transport is not None
        request.transport.close()
        return response

    completion, heard, _ = heard_of(breaks, events(event({"content": "Whole."}, "stop"), LAST))
    assert completion.text == heard[-1] == "Whole."
    assert heard[0] in ("Half an ans", "Whole.")
    with pytest.raises(RequestError, match="does not fit the model's context"):
        heard_of(events(b'data: {"error": {"message": "maximum context length is 8", "code": 400}}\n\n'))


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1), min_size=1), st.data())
def test_however_the_bytes_are_cut_the_answer_is_the_same(texts: list[str], data: st.DataObject) -> None:
    raw = b"".join(event({"content": text}) for text in texts) + event({}, "length") + LAST
    heard: list[str] = []
    answer = StreamedAnswer(PLAIN, heard.append, lambda text: "never" in text)
    place = 0
    while place < len(raw):
        size = data.draw(st.integers(1, len(raw)))
        answer.take(raw[place : place + size])
        place += size
    whole = orjson.loads(answer.whole(raw))
    assert whole["choices"] == [
        {"message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": "length"}
    ]
    assert whole["usage"] == USAGE
    assert not any("never" in text for text in heard)


def test_a_model_in_this_process_is_heard_token_by_token() -> None:
    async def scenario() -> tuple[Completion, Completion, list[str]]:
        engine, heard = await open_engine(ModelSpec.parse("tiny"), EngineOptions(device="cpu")), list[str]()
        try:
            return await engine.complete(ASKED), await stream(engine, ASKED, heard.append), heard
        finally:
            await engine.close()

    whole, streamed, heard = asyncio.run(scenario())
    assert streamed.text == whole.text == heard[-1]
    assert len(heard) > 3
    assert all(whole.text.startswith(text.removesuffix("�")) for text in heard)


def test_an_engine_that_cannot_stream_is_heard_whole() -> None:
    heard: list[str] = []
    said: Callable[[Request], str] = lambda _: "All of it."  # noqa: E731
    engine = ScriptedEngine(said, lambda *_: [])
    assert not isinstance(engine, StreamingEngine)
    assert asyncio.run(stream(engine, ASKED, heard.append)).text == "All of it."
    assert heard == ["All of it."]
