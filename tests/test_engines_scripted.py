"""The engine without a model, and what `--model` accepts."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models import EngineOptions, open_engine
from cai.models.base import Choice, Completion, Request, Sampling
from cai.models.scripted import ScriptedEngine, default_script
from cai.models.spec import ModelSpec


def _messages(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def _request(text: str, seed: int = 0, max_tokens: int = 64) -> Request:
    return Request(_messages(text), Sampling(max_tokens=max_tokens), seed)


def _engine(text: str = "one two three", weights: Sequence[float] = (0.6, 0.2)) -> ScriptedEngine:
    return ScriptedEngine(lambda _: text, lambda _messages, _options: weights)


def test_words_are_its_tokens() -> None:
    completion = asyncio.run(_engine().complete(_request("a b c d")))
    assert completion == Completion("one two three", "stop", 4, 0, 3)


def test_the_token_limit_ends_an_answer() -> None:
    completion = asyncio.run(_engine().complete(_request("a", max_tokens=2)))
    assert completion == Completion("one two", "length", 1, 0, 2)


def test_a_whole_completion_passes_through() -> None:
    wanted = Completion("x", "length", 1, 2, 3)
    engine = ScriptedEngine(lambda _: wanted, lambda *_: ())
    assert asyncio.run(engine.complete(_request("a"))) is wanted


def test_weights_become_probabilities_and_mass() -> None:
    choice = asyncio.run(_engine().choose(Request(_messages("x y")), ("A", "B")))
    assert choice.probabilities == pytest.approx((0.75, 0.25))
    assert choice.mass == pytest.approx(0.8)
    assert asyncio.run(_engine(weights=(0, 0)).choose(Request(_messages("x")), ("A", "B"))) == Choice(
        (0.5, 0.5), 0, 1, 0
    )


@pytest.mark.parametrize("weights", [(0.5,), (-0.1, 0.5), (0.8, 0.8)])
def test_wrong_weights_are_refused(weights: Sequence[float]) -> None:
    with pytest.raises(ModelError, match="options"):
        asyncio.run(_engine(weights=weights).choose(Request(_messages("x")), ("A", "B")))


def test_faults_reach_the_caller_as_they_are() -> None:
    fault = RequestError("overloaded", retryable=True)

    def fail(_: Request) -> str:
        raise fault

    with pytest.raises(RequestError) as caught:
        asyncio.run(ScriptedEngine(fail, lambda *_: ()).complete(_request("a")))
    assert caught.value is fault


def test_a_closed_script_is_gone() -> None:
    engine = _engine()
    asyncio.run(engine.close())
    with pytest.raises(EngineGoneError):
        asyncio.run(engine.complete(_request("a")))


def test_requests_interleave() -> None:
    order: list[str] = []

    def note(request: Request) -> str:
        order.append(request.messages[0]["content"])
        return "x"

    engine = ScriptedEngine(note, lambda *_: ())

    async def row(name: str) -> None:
        for step in range(3):
            await engine.complete(_request(f"{name}{step}"))

    async def main() -> None:
        await asyncio.gather(row("a"), row("b"))

    asyncio.run(main())
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


@given(text=st.text(), seed=st.integers(0, 2**31 - 1), other=st.integers(0, 2**31 - 1))
def test_the_default_script_depends_on_messages_and_seed_alone(text: str, seed: int, other: int) -> None:
    async def main() -> tuple[Completion, Completion, Completion, Choice, Choice]:
        first, second = default_script(), default_script()
        await second.complete(_request("something before"))
        return (
            await first.complete(_request(text, seed)),
            await second.complete(_request(text, seed)),
            await first.complete(_request(text, other)),
            await first.choose(Request(_messages(text)), ("A", "B")),
            await second.choose(Request(_messages(text)), ("A", "B")),
        )

    one, again, elsewhere, choice, same_choice = asyncio.run(main())
    assert one == again
    assert choice == same_choice
    assert (one.text == elsewhere.text) == (seed == other)
    assert sum(choice.probabilities) == pytest.approx(1)
    assert 0.89 <= choice.mass <= 1


def test_specs_open_the_script() -> None:
    async def main() -> None:
        plain = await open_engine(ModelSpec.parse("scripted"))
        tuned = await open_engine(ModelSpec.parse("scripted?delay_ms=1&concurrency=7"))
        told = await open_engine(ModelSpec.parse("scripted"), EngineOptions(concurrency=9))
        assert (plain.concurrency, tuned.concurrency, told.concurrency) == (64, 7, 9)
        assert await plain.complete(_request("a")) == await tuned.complete(_request("a"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt", "none of: tiny"),
        ("transformers:", "none of: tiny"),
        ("openai:llama", "openai:MODEL@URL"),
        ("openai:llama@localhost:8000", "openai:MODEL@URL"),
        ("scripted?speed=3", "speed is neither"),
        ("scripted?delay_ms=fast", "delay_ms=fast"),
        ("openai:llama@http:///v1", "address"),
    ],
)
def test_a_wrong_spec_names_what_is_allowed(spec: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        asyncio.run(open_engine(ModelSpec.parse(spec)))
