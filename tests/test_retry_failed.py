"""Failures for good, whole prompts and parts of rows: what is told of them, and how `--retry-failed` takes them up."""

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest

from cai.cli.main import main
from cai.core.errors import RequestError
from cai.core.records import Message, Row
from cai.generate import maker as making
from cai.judging import run as judge_job
from cai.method.verdicts import FAILED
from cai.models.base import Request
from cai.models.scripted import ScriptedEngine
from cai.rundir import Run

PROMPTS = 12


class Server:
    """A model that fails where `fails` says so, under a text that differs each time, and counts what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Callable[[str], bool] = lambda _text: False
        self.asked: list[str] = []
        for job in (making, judge_job):
            monkeypatch.setattr(job, "open_closing", self._open)

    async def _open(self, *_how: object) -> ScriptedEngine:
        return ScriptedEngine(self._answer, self._choose, concurrency=4)

    def _note(self, text: str) -> None:
        self.asked.append(text)
        if self.fails(text):
            message = f"the server answered 400: no (request id {len(self.asked)})"
            raise RequestError(message, retryable=False, kind="http 400", raw="{'no'}")

    def _answer(self, request: Request) -> str:
        said = " ".join(message["content"] for message in request.messages)
        self._note(f"{len(request.messages)} {said} {request.seed}")
        return f"text {request.seed}"

    def _choose(self, messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        self._note(f"choice {messages[0]['content']}")
        return [0.8, 0.1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.fixture
def generate(tmp_path: Path) -> Callable[..., int]:
    path = tmp_path / "prompts.jsonl"
    prompts = [{"id": f"p{number}", "prompt": f"question {number}."} for number in range(PROMPTS)]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in [*prompts, {"id": "none", "prompt": ""}]))

    def run(*more: str) -> int:
        command = ("generate", "--constitution", "harmless", "--prompts", str(path), "--model", "scripted")
        with pytest.raises(SystemExit) as caught:
            main([*command, "--no-gate", "--samples", "2", "--out", str(tmp_path / "run"), *more])
        return int(caught.value.code or 0)

    return run


def rows(out: Path) -> dict[str, Row]:
    return {row.prompt.id: row for row in Run.read(out).rows()}


def test_a_setting_that_every_row_is_refused_for_burns_none(
    server: Server, generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fails = lambda _text: True
    assert generate() == 1
    error = capsys.readouterr().err
    assert "the server answered 400: no (request id" in error
    assert "still owed" in error
    assert [failure.stage for failure in Run.read(tmp_path / "run").failures()] in ([], ["input"])
    server.fails = lambda _text: False
    assert generate() == 0
    assert len(rows(tmp_path / "run")) == PROMPTS


def test_a_prompt_that_failed_for_good_is_asked_again_when_that_is_wanted(
    server: Server, generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fails = lambda text: "question 3." in text
    assert generate() == 0
    assert (
        "1 prompt failed for good; mend the cause, then the same command with --retry-failed" in capsys.readouterr().out
    )
    server.fails = lambda _text: False
    server.asked.clear()
    assert generate() == 0
    assert server.asked == []
    capsys.readouterr()
    assert generate("--retry-failed") == 0
    assert server.asked
    assert "mend the cause" not in capsys.readouterr().out
    assert all("question 3." in text for text in server.asked)
    found = Run.read(tmp_path / "run")
    assert len(rows(tmp_path / "run")) == PROMPTS == found.count()
    assert [failure.stage for failure in found.failures()] == ["input"]  # the file is the same: it is no prompt still


def test_a_row_that_lacks_a_sample_is_made_again_and_replaced(
    server: Server, generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken: list[str] = []

    def fails(text: str) -> bool:
        if text.startswith("1 question 5.") and not broken:
            broken.append(text)
        return text in broken

    server.fails = fails
    assert generate() == 0
    out = capsys.readouterr().out
    assert "samples and verdicts that failed: response 1" in out
    assert "1 row lacks a sample or verdict; mend the cause" in out
    run = tmp_path / "run"
    before = rows(run)
    assert [(len(row.traces), len(row.failed)) for row in before.values() if row.prompt.id == "p5"] == [(1, 1)]
    assert "| samples and verdicts | failed: response | 1 |" in (run / "README.md").read_text()
    with pytest.raises(SystemExit):
        main(["show", str(run), "p5"])
    assert "the server answered 400: no" in capsys.readouterr().out
    assert generate("--retry-failed") == 0  # it fails again, and the row stays as it was
    assert [len(row.failed) for row in rows(run).values()].count(1) == 1
    server.fails = lambda _text: False
    server.asked.clear()
    assert generate("--retry-failed") == 0
    assert not [text for text in server.asked if text[:1] == "1" and "question 5." not in text]
    after = rows(run)
    assert Run.read(run).count() == len(after) == PROMPTS
    assert not any(row.failed for row in after.values())
    assert {name: row for name, row in after.items() if name != "p5"} == {
        name: row for name, row in before.items() if name != "p5"
    }
    row = Run.read(run).row("p5")
    assert row is not None
    assert row == after["p5"]
    assert len(row.traces) == 2


def test_judge_takes_up_verdicts_that_failed(
    server: Server, generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate() == 0

    def judge(*more: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["judge", str(tmp_path / "run"), "--judge", "scripted", "--out", str(tmp_path / "judged"), *more])
        return int(caught.value.code or 0)

    server.fails = lambda text: "question 7." in text
    assert judge() == 0
    assert "samples and verdicts that failed: verdict 3" in capsys.readouterr().out
    lacking = [row for row in rows(tmp_path / "judged").values() if row.failed]
    assert [row.prompt.id for row in lacking] == ["p7"]
    assert {verdict.abstained for verdict in lacking[0].verdicts} == {FAILED}
    server.fails = lambda _text: False
    assert judge("--retry-failed") == 0
    assert not any(row.failed for row in rows(tmp_path / "judged").values())
    assert all(len(row.verdicts) == 3 for row in rows(tmp_path / "judged").values())
