"""A Python object as a model: engines of somebody's own, plain and async functions."""

import asyncio
import functools
import threading
from typing import Any

import pytest

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models.asking import NO_LOGPROBS, NO_TEXT
from cai.models.base import Completion, Request, Sampling
from cai.models.function import engine_from
from cai.models.scripted import default_script

MESSAGES: tuple[Message, ...] = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "How are you?"})
REQUEST = Request(MESSAGES, Sampling(), 7)


def polite(messages: list[Message]) -> str:
    """Answer, and spoil the list, as a careless function might."""
    told = messages.pop()["content"]
    messages.clear()
    return f"You said: {told}"


async def polite_async(messages: list[Message]) -> str:
    await asyncio.sleep(0)
    return polite(messages)


class Called:
    def __call__(self, messages: list[Message]) -> str:
        return polite(messages)


class CalledAsync:
    async def __call__(self, messages: list[Message]) -> str:
        return polite(messages)


def ask(model: Any) -> Completion:
    async def session() -> Completion:
        engine = engine_from(model)
        try:
            return await engine.complete(REQUEST)
        finally:
            await engine.close()

    return asyncio.run(session())


@pytest.mark.parametrize("model", [polite, polite_async, Called(), CalledAsync(), functools.partial(polite)])
def test_a_function_answers(model: Any) -> None:
    assert ask(model) == Completion("You said: How are you?", "stop", 0, 0, 0)
    assert len(MESSAGES) == 2


def test_an_engine_is_taken_as_it_is() -> None:
    engine = default_script()
    assert engine_from(engine) is engine


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (7, "an object of type int is no model: give a name, an engine or a function from messages to text"),
        (type(default_script()), "ScriptedEngine is a class"),
        (asyncio.Queue, "Queue is a class"),
        (type("Half", (), {"name": "x", "complete": None})(), "as an engine it lacks concurrency.*choose, close"),
    ],
)
def test_what_is_no_model_is_told(model: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        engine_from(model)


def test_a_name_changes_with_the_function() -> None:
    name = engine_from(polite).name
    assert name.startswith("function:tests.test_engines_function.polite#")
    assert engine_from(functools.partial(polite)).name == name != engine_from(polite_async).name
    assert engine_from(Called()).name.startswith("function:tests.test_engines_function.Called#")
    builtin: Any = len
    assert engine_from(builtin).name == "function:builtins.len"
    one, other = (
        engine_from(lambda _: "yes"),
        engine_from(lambda _: "no"),
    )  # in lines of their own: the source of a lambda is its line
    assert one.name != other.name


def test_a_plain_function_is_called_once_at_a_time_in_one_thread() -> None:
    threads: set[int] = set()
    running: list[int] = []
    most: list[int] = []

    def slow(messages: list[Message]) -> str:
        running.append(1)
        most.append(len(running))
        threads.add(threading.get_ident())
        running.pop()
        return "done"

    async def session() -> None:
        engine = engine_from(slow)
        assert engine.concurrency == 1
        await asyncio.gather(*(engine.complete(REQUEST) for _ in range(20)))
        await engine.close()

    asyncio.run(session())
    assert set(most) == {1}
    assert len(most) == 20
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_many_calls_of_an_async_function_run_at_once() -> None:
    async def session() -> None:
        arrived = 0
        everybody = asyncio.Event()

        async def meet(messages: list[Message]) -> str:
            nonlocal arrived
            arrived += 1
            if arrived == engine.concurrency:
                everybody.set()
            await everybody.wait()
            return "met"

        engine = engine_from(meet)
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(engine.complete(REQUEST) for _ in range(engine.concurrency + 3)))
        assert {answer.text for answer in answers} == {"met"}
        assert arrived == engine.concurrency + 3 > 16

    asyncio.run(session())


class OddError(Exception):
    pass


def _raise(error: Exception) -> Any:
    raise error


async def _coroutine(messages: list[Message]) -> str:
    return "never awaited"


@pytest.mark.parametrize(
    ("model", "words", "kind", "raw", "retryable"),
    [
        (lambda _: " \n", "returned an empty text", NO_TEXT, " \n", False),
        (lambda _: None, "returned NoneType instead of a text", "not a text", "None", False),
        (lambda _: b"bytes", "returned bytes instead of a text", "not a text", "b'bytes'", False),
        (lambda _: "half \ud800", "half a character", "not a text", "ud800", False),
        (lambda messages: _coroutine(list(messages)), "write it with async def", "not a text", "", False),
        (lambda _: _raise(OddError("line\nmore")), r"raised OddError: line$", "OddError", "Traceback", True),
        (lambda _: _raise(StopIteration()), r"raised StopIteration$", "StopIteration", "Traceback", True),
        (lambda _: _raise(RequestError("busy", retryable=True, kind="own")), "^busy$", "own", "", True),
    ],
)
def test_what_is_no_answer_is_the_requests_failure(
    model: Any, words: str, kind: str, raw: str, retryable: bool
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        ask(model)
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert raw in caught.value.raw

    async def later(messages: list[Message]) -> Any:
        return model(messages)

    if "coroutine" not in words and "async def" not in words and kind != "StopIteration":
        with pytest.raises(RequestError, match=words):
            ask(later)


def test_a_function_may_say_that_nobody_can_be_asked() -> None:
    with pytest.raises(EngineGoneError, match="over"):
        ask(lambda _: _raise(EngineGoneError("over")))


def test_a_choice_is_refused_and_what_to_do_is_told() -> None:
    with pytest.raises(RequestError, match=r"no log-probabilities.*--no-gate.*--judge-by text") as caught:
        asyncio.run(engine_from(polite).choose(Request(MESSAGES), ("A", "B")))
    assert caught.value.kind == NO_LOGPROBS


@pytest.mark.parametrize("model", [polite, polite_async])
def test_nothing_is_answered_after_close(model: Any) -> None:
    async def session() -> None:
        engine = engine_from(model)
        await engine.close()
        await engine.complete(REQUEST)

    with pytest.raises(EngineGoneError, match="was closed"):
        asyncio.run(session())
