"""The server engine against everything that a server may do wrong: one answer spoiled, all spoiled, a share spoiled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from cai.core.errors import EngineError, ModelError, RequestError
from cai.models.asking import NO_TEXT
from cai.models.base import Choice, Completion, Engine, Request, Sampling
from cai.models.openai.engine import OpenAIEngine
from tests.misbehaving import misbehaving
from tests.misbehaviours import CHOICE, CONNECTION, GROUPS, HARMLESS_CHOICE, QUICK

ANSWERS = 10.0
"""Seconds until an answer that is waited for counts as a hang."""

KEPT = ("content empty", "half a pair", "invalid UTF-8", "half a pair in the text", "invalid UTF-8 in the text")
"""What comes to an answer in the end, be it an empty or a mended one."""

Answers = list[Completion | Choice]


def engine_of(url: str, **settings: Any) -> OpenAIEngine:
    defaults: dict[str, Any] = {"timeout": 30.0, "backoff_base": 0.001, "patience": 60.0, "concurrency": 32}
    return OpenAIEngine("any", [url], **(defaults | settings))


async def ask(engine: Engine, number: int, *, choice: bool) -> Completion | Choice:
    if choice:
        return await engine.choose(Request(({"role": "user", "content": f"{number}: A or B?"},)), ("A", "B"))
    return await engine.complete(Request(({"role": "user", "content": f"question {number}"},), Sampling(), number))


def answers(count: int, modes: tuple[str, ...] = (), rate: float = 0.0, seed: int = 0, **settings: Any) -> Answers:
    """Return what `count` completions and choices come to; raises TimeoutError when they hang."""

    async def main() -> Answers:
        async with misbehaving(modes, rate, seed) as server:
            engine = engine_of(server.url, **settings)
            try:
                asked = [persistently(engine, number, choice) for number in range(count) for choice in (False, True)]
                return list(await asyncio.wait_for(asyncio.gather(*asked), ANSWERS + count / 10))
            finally:
                await engine.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `cai` runs; its clock counts milliseconds
        return runner.run(main())


async def persistently(engine: OpenAIEngine, number: int, choice: bool) -> Completion | Choice:
    """Ask as a run does, for which three answers without text are one."""
    for _ in range(5):
        try:
            answer = await ask(engine, number, choice=choice)
        except RequestError as error:
            if error.kind != NO_TEXT:
                raise
        else:
            if not isinstance(answer, Completion) or answer.text:
                return answer
    return await ask(engine, number, choice=choice)


def bare(answer: Completion | Choice) -> Any:
    """Return an answer without its counts of tokens, which a spoiled usage does not tell."""
    return answer.text if isinstance(answer, Completion) else (answer.probabilities, answer.mass)


async def each(group: str, check: Callable[[str, bool], Awaitable[None]]) -> None:
    """Check every mode of a group, all at once; what fails tells its mode."""
    modes = list(GROUPS[group])
    choices = [mode in CHOICE or mode in HARMLESS_CHOICE for mode in modes]
    found = await asyncio.gather(*map(check, modes, choices), return_exceptions=True)
    assert [(mode, error) for mode, error in zip(modes, found, strict=True) if error is not None] == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_spoiled_answer_is_asked_for_again_and_the_good_one_kept(group: str) -> None:
    async def check(mode: str, choice: bool) -> None:
        async with misbehaving(plan=[None, None, mode, mode]) as server:
            engine = engine_of(server.url, timeout=0.5 if group == "slow" else 30.0)
            try:
                expected = [bare(await ask(engine, number, choice=choice)) for number in (1, 2)]
                async with asyncio.timeout(ANSWERS):
                    assert [bare(await ask(engine, number, choice=choice)) for number in (1, 2)] == expected
            finally:
                await engine.close()
        assert server.seen[mode] == 2

    asyncio.run(each(group, check))


def test_what_comes_unasked_on_a_resting_connection_answers_no_request() -> None:
    async def main() -> None:
        async with misbehaving(plan=[None, "says more than asked"]) as server:
            engine = engine_of(server.url)
            try:
                expected = bare(await ask(engine, 2, choice=False))
                await ask(engine, 1, choice=False)
                await asyncio.sleep(0.05)
                assert bare(await ask(engine, 2, choice=False)) == expected
            finally:
                await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize("group", GROUPS)
def test_a_server_that_never_behaves_fails_every_request_in_a_sentence(group: str) -> None:
    async def check(mode: str, choice: bool) -> None:
        async with misbehaving([mode], 1.0) as server:
            engine = engine_of(server.url, attempts=3, timeout=0.1 if group == "slow" else 30.0, busy_patience=0.2)
            try:
                asked = [ask(engine, number, choice=choice) for number in range(3)]
                found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), ANSWERS)
            finally:
                await engine.close()
        for answer in found:
            if group.startswith("harmless") or mode in KEPT:
                assert not isinstance(answer, BaseException)
            else:
                assert isinstance(answer, EngineError)
                assert str(answer).isprintable()
                assert 10 < len(str(answer)) < 500

    asyncio.run(each(group, check))


APART_FROM_LISTS = ("no content", "another protocol", "length too short", "unknown transfer", "chunks of another size")
OPENING = [*(mode for mode in CONNECTION if mode not in APART_FROM_LISTS), "401", "403"]
"""What is no list of models, and no word of a server that has none to give."""


def test_a_list_of_models_that_came_to_nothing_is_asked_for_again() -> None:
    async def opened(mode: str) -> tuple[str, int | None]:
        async with misbehaving() as server:
            server.listings = [mode] * 2
            engine = engine_of(server.url, backoff_base=0.001)
            try:
                return mode, await engine.find_context_length()
            finally:
                await engine.close()

    async def main() -> list[tuple[str, int | None]]:
        return list(await asyncio.gather(*map(opened, OPENING)))

    assert asyncio.run(main()) == [(mode, 4096) for mode in OPENING]


def test_a_server_that_speaks_another_protocol_is_told_at_opening() -> None:
    async def main() -> None:
        async with misbehaving() as server:
            server.listings = ["status line of nothing"] * 5
            engine = engine_of(server.url)
            try:
                with pytest.raises(ModelError, match=r"no server answers at .*no HTTP"):
                    await engine.find_context_length()
            finally:
                await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_a_share_of_spoiled_answers_loses_nothing_and_changes_nothing(rate: float) -> None:
    expected = [bare(answer) for answer in answers(150)]
    found = answers(150, QUICK, rate, seed=3)
    assert [bare(answer) for answer in found] == expected
