"""Answers of unfinished rows: a run that is taken up again asks for none of them, and its rows are the same."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cai
from cai.core.errors import EngineGoneError
from cai.core.records import Message
from cai.models.base import Choice, Completion, ForwardingEngine, Request, Sampling, Thinking
from cai.models.remembering import Answer, Asked, RememberingEngine, digest
from cai.models.scripted import ScriptedEngine, default_script
from cai.rundir import Run, answers, sealer
from cai.rundir.layout import JOURNAL
from tests.building import make_engine, user
from tests.disturbing import exports


class Counted(ForwardingEngine):
    """The scripted engine, which is gone after so many answers."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__(default_script(concurrency=8))
        self.asked = 0
        self._most = most

    def _count(self) -> None:
        if self.asked >= self._most:
            raise EngineGoneError("the server was taken away")
        self.asked += 1

    async def complete(self, request: Request) -> Completion:
        self._count()
        return await self._engine.complete(request)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        self._count()
        return await self._engine.choose(request, options)

    async def close(self) -> None:
        await self._engine.close()


PROMPTS = [f"What helps against complaint {number}?" for number in range(6)]


def generate(out: Path, engine: Counted, **options: Any) -> cai.Run:
    return cai.generate(
        model=engine, prompts=PROMPTS, constitution="medical", judge_check=False, progress=False, out=out, **options
    )


def kept_files(out: Path) -> list[Path]:
    return sorted((out / JOURNAL).glob("answers-*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, bytes]]:
    out, engine = tmp_path_factory.mktemp("undisturbed") / "run", Counted()
    generate(out, engine)
    assert kept_files(out) == []
    return engine.asked, exports(out)


@pytest.mark.parametrize("most", [1, 17, 60, 120])
def test_nothing_that_was_answered_is_asked_again(
    most: int, tmp_path: Path, undisturbed: tuple[int, dict[str, bytes]]
) -> None:
    out, first, second = tmp_path / "run", Counted(most), Counted()
    with pytest.raises(EngineGoneError):
        generate(out, first)
    assert kept_files(out)
    in_rows = sum(row.usage.requests for row in Run.read(out).rows())
    run = generate(out, second)
    assert first.asked + second.asked == undisturbed[0]
    assert exports(out) == undisturbed[1]
    assert kept_files(out) == []
    assert run.summary is not None
    assert run.summary.remembered == most - in_rows
    assert run.summary.requests == second.asked
    spent = orjson.loads((out / "run.json").read_bytes())
    assert spent["usage"]["requests"] + spent["lost_usage"]["requests"] == undisturbed[0]


def test_however_often_it_is_killed_nothing_is_asked_twice(
    tmp_path: Path, undisturbed: tuple[int, dict[str, bytes]]
) -> None:
    out, asked = tmp_path / "run", 0
    for most in (5, 7, 3, 11):
        engine = Counted(most)
        with pytest.raises(EngineGoneError):
            generate(out, engine)
        asked += engine.asked
    last = Counted()
    generate(out, last)
    assert asked + last.asked == undisturbed[0]
    assert exports(out) == undisturbed[1]


def test_retrying_what_failed_asks_everything_of_it_anew(tmp_path: Path) -> None:
    out, first, second = tmp_path / "run", Counted(17), Counted()
    with pytest.raises(EngineGoneError):
        generate(out, first)
    run = generate(out, second, retry_failed=True)
    assert run.summary is not None
    assert run.summary.remembered == 0


def open_run(out: Path) -> Run:
    return Run.open(out, {"what": "a test"}, {})


def asked(number: int) -> Asked:
    return "an engine", Request((user(f"question {number}"),)), None


COMPLETION = Completion("Ärzte helfen.", "stop", 12, 3, 4, reasoning="They do.")
CHOICE = Choice((0.25, 0.75), 0.9, 12, 0)


def test_answers_come_back_as_they_were_and_damaged_lines_do_not(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run")
    run.answers.keep("a", asked(1), COMPLETION)
    run.answers.keep("a", asked(2), CHOICE)
    run.answers.keep("a", asked(3), COMPLETION)
    assert run.answers.find(asked(1)) is None, "what this process asked is in its rows"
    run.close("interrupted")
    (file,) = kept_files(tmp_path / "run")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1] + lines[2].replace(b"helfen", b"halfen") + b'{"torn')
    again = open_run(tmp_path / "run")
    assert again.answers.find(asked(1)) == COMPLETION
    assert again.answers.find(asked(2)) == CHOICE
    assert again.answers.find(asked(3)) is None
    assert again.answers.given_again.requests == 2
    again.close("done")
    assert kept_files(tmp_path / "run") == []


def test_a_full_file_is_followed_by_the_next_and_no_more_than_two_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "BYTES", 1)
    run = open_run(tmp_path / "run")
    for number in range(5):
        run.answers.keep(f"row {number}", asked(number), COMPLETION)
    run.close("interrupted")
    assert [path.name for path in kept_files(tmp_path / "run")] == ["answers-4.jsonl", "answers-5.jsonl"]
    again = open_run(tmp_path / "run")
    assert [again.answers.find(asked(number)) is None for number in range(5)] == [True] * 3 + [False] * 2
    again.close("done")


def test_what_waited_twice_is_written_and_what_is_in_a_row_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "SYNC_SECONDS", 600.0)
    run = open_run(tmp_path / "run")
    for row in ("finished", "not finished"):
        run.answers.keep(row, asked(1), COMPLETION)
    run.answers.sync()
    assert kept_files(tmp_path / "run") == []
    run.answers.keep("not finished", asked(2), CHOICE)
    run.answers.forget("finished")
    run.answers.sync()
    (file,) = kept_files(tmp_path / "run")
    assert [orjson.loads(line).keys() for line in file.read_bytes().splitlines()] == [
        {"row", "request", "text", "crc32"}
    ]
    run.answers.sync()
    assert len(file.read_bytes().splitlines()) == 2
    run.close("interrupted")
    assert len(file.read_bytes().splitlines()) == 2


REQUEST = Request((user("Is tea good?"),), Sampling(), 7, Thinking(), "")
OTHERS: tuple[Request, ...] = (
    replace(REQUEST, messages=(user("Is tea good"),)),
    replace(REQUEST, messages=({"role": "system", "content": "Is tea good?"},)),
    replace(REQUEST, sampling=Sampling(temperature=0.5)),
    replace(REQUEST, seed=8),
    replace(REQUEST, thinking=Thinking("off")),
    replace(REQUEST, prefill="("),
)


class Memory:
    def __init__(self) -> None:
        self.held: dict[bytes, Answer] = {}

    def find(self, asked: Asked) -> Answer | None:
        return self.held.get(digest(asked))

    def keep(self, row: str, asked: Asked, answer: Answer) -> None:
        assert row == "row"
        self.held[digest(asked)] = answer


def distinct_answers() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"answer {number}"


@given(st.lists(st.sampled_from((REQUEST, *OTHERS)), max_size=20), st.lists(st.sampled_from(("AB", "BA")), max_size=5))
def test_only_the_same_request_gets_the_same_answer(requests: list[Request], orders: list[str]) -> None:
    said, choices = distinct_answers(), distinct_answers()

    def choose(_messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        return (1 / (1 + len(next(choices))), 0.5)

    engine = RememberingEngine(make_engine(lambda _: next(said), choose), Memory(), "row")

    async def ask() -> list[str]:
        for order in orders:
            assert await engine.choose(REQUEST, list(order)) == await engine.choose(REQUEST, list(order))
        return [(await engine.complete(request)).text for request in requests]

    texts = asyncio.run(ask())
    by_request: dict[Request, set[str]] = {}
    for request, text in zip(map(repr, requests), texts, strict=True):
        by_request.setdefault(request, set()).add(text)  # type: ignore[arg-type]
    assert all(len(found) == 1 for found in by_request.values())
    assert len(set(texts)) == len(by_request)


def test_another_engine_is_asked_itself() -> None:
    memory = Memory()

    def named(name: str) -> RememberingEngine:
        return RememberingEngine(ScriptedEngine(lambda _: name, lambda *_: (), name=name), memory, "row")

    one, other = (asyncio.run(named(name).complete(REQUEST)).text for name in ("one", "other"))
    assert (one, other) == ("one", "other")
