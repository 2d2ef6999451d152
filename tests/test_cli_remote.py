"""Commands on runs at a URL: what a person types, and what is said."""

import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from cai.rundir import Run
from cai.rundir.origin import copy_path
from tests.command import Cai
from tests.disturbing import exports, finish, wait_until
from tests.remote import BUCKET, S3, Machines, contents

GENERATE = ["generate", "--constitution", "harmless", "--model", "scripted", "--no-gate", "--limit"]


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    machines = Machines(tmp_path, monkeypatch)
    machines.use("a")
    return machines


@pytest.fixture
def cai(capsys: pytest.CaptureFixture[str]) -> Cai:
    return Cai(capsys)


def test_a_run_is_called_by_its_url_from_beginning_to_end(
    tmp_path: Path, machines: Machines, cai: Cai, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # however long the temporary directory's name is
    url = (tmp_path / "share" / "run").as_uri()
    code, told, err = cai(*GENERATE, "6", "--out", url)
    assert code == 0, err
    assert f"done: 6 rows in {url} (" in " ".join(told.split())
    assert f"read: cai show {url}; train: cai advise {url}\n" in told
    assert orjson.loads(contents(url)["run.json"])["settings"]["out"] == url
    machines.use("b")
    again = cai.told(*GENERATE, "8", "--out", url)
    assert (again["out"], again["skipped"], again["done"], again["rows"]) == (url, 6, 2, 8)
    assert cai.told(*GENERATE, "8", "--out", url, "--dry-run")["plan"]["out"] == url
    machines.use("c")
    code, told, err = cai("show", url, "--limit", "99", "--json")
    assert (code, len(told.splitlines())) == (0, 8), err
    code, _, err = cai("show", url, "nobody")
    assert (code, err) == (2, f"cai: {url} has no row 'nobody'; `cai show {url}` lists some\n")
    judged = cai.told("judge", url, "--constitution", "helpful")
    assert (judged["out"], judged["rows"]) == (f"{url}-judged-helpful", 8)
    assert orjson.loads(contents(f"{url}-judged-helpful")["run.json"])["settings"]["data"] == url
    code, _, err = cai("judge", url, "--out", url)
    assert (code, err) == (2, f"cai: {url} is the run to be judged; name another directory with --out\n")
    before = contents(url)
    assert cai.told("export", url, "--all-revisions")["rows"] == 8
    assert contents(url)["sft/train.parquet"] != before["sft/train.parquet"]
    code, _, err = cai(*GENERATE, "8", "--out", url, "--seed", "1")
    assert (code, err.splitlines()[0]) == (2, f"cai: {url} was made with other settings:")
    assert cai.told(*GENERATE, "2", "--out", url, "--seed", "1", "--fresh")["rows"] == 2
    machines.use("d")
    code, told, err = cai("show", url, "--json")
    assert (code, len(told.splitlines())) == (0, 2), err


def test_a_password_in_a_url_is_not_written_into_the_run(
    tmp_path: Path, machines: Machines, cai: Cai, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where this URL leads, because files have no hosts
    url = "file://me:secret@host/run"
    code, _, err = cai(*GENERATE, "1", "--out", url)
    assert code == 0, err
    assert cai("judge", url, "--out", f"{url}-judged")[0] == 0
    for name in (url, f"{url}-judged"):
        assert all(b"secret" not in data for data in contents(name).values())


@pytest.mark.parametrize(
    "command",
    [
        ("train", "sft", "--data", "runs/x"),
        ("evaluate", "tiny", "--constitution", "medical"),
        ("loop", "--constitution", "medical"),
    ],
    ids=lambda command: command[0],
)
def test_where_only_a_directory_will_do_a_url_is_refused(
    cai: Cai, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cai(*command, "--out", "s3://bucket/models")
    assert code == 2
    assert "s3://bucket/models is a URL; give a directory on this machine (only runs may be at a URL)" in err
    assert list(tmp_path.iterdir()) == []


def test_mistakes_with_urls_are_one_sentence(machines: Machines, cai: Cai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for arguments, says in (
        ((*GENERATE, "2", "--out", "gs://bucket/run"), "gs://bucket/run needs gcsfs: pip install gcsfs"),
        (("show", "foo://bucket/run"), "foo://bucket/run cannot be opened: Protocol not known: foo."),
        (("export", "file:///nowhere/run"), "file:///nowhere/run is not a run: it has no run.json"),
    ):
        code, out, err = cai(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"cai: {says}")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        (*GENERATE, "1", "--out"),
        ("show",),
        ("train", "sft", "--data", "runs/x", "--out"),
        ("evaluate", "tiny", "--constitution", "medical", "--out"),
        ("loop", "--constitution", "medical", "--out"),
    ],
    ids=lambda command: command[0],
)
def test_a_url_with_one_slash_is_no_path(
    cai: Cai, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for typed in ("s3:/x", "file:/x/y", "s3://"):
        code, _, err = cai(*command, typed)
        assert code == 2
        assert f"{typed} looks like a URL with one slash, or without a name; write it like s3://bucket/folder" in err
    assert list(tmp_path.iterdir()) == []


def spawn(*arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    command = [sys.executable, "-m", "cai", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_killed_here_interrupted_and_finished_elsewhere_the_exports_are_the_same_bytes(
    s3: S3, tmp_path: Path, machines: Machines, cai: Cai
) -> None:
    url = f"s3://{BUCKET}/{tmp_path.name}/run"
    slow = [
        *GENERATE,
        "40",
        "--model",
        "scripted?delay_ms=8",
        "--concurrency",
        "4",
        "--rounds",
        "2",
        "--schedule",
        "sample",
    ]
    alone = tmp_path / "run"
    assert cai.told(*slow, "--out", str(alone))["rows"] == 40

    def disturbed(rows: int, number: signal.Signals) -> int:
        process = spawn(*slow, "--out", url)
        copy = copy_path(url)
        wait_until(process, lambda: (copy / "run.json").exists() and sum(1 for _ in Run.read(copy).rows()) >= rows)
        process.send_signal(number)
        return finish(process)[0]

    assert disturbed(5, signal.SIGKILL) == -signal.SIGKILL
    assert disturbed(15, signal.SIGINT) == 130
    machines.use("b")
    summary = cai.told(*slow, "--out", url)
    assert summary["skipped"] >= 15
    assert summary["skipped"] + summary["done"] == 40 == summary["rows"]
    there = contents(url)
    assert {name: there[name] for name in exports(alone)} == exports(alone)
    assert there["README.md"] == (alone / "README.md").read_bytes()


AT_ONCE = 30.0
"""Seconds in which an interrupt is heard, on a busy machine too; the client's own patience is 60 s."""


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C once and return the exit code and all that was said."""
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=AT_ONCE)
    finally:
        process.kill()  # nothing to a process that has ended
        process.wait()
    return process.returncode, err.strip()


@pytest.mark.slow
def test_while_a_server_hangs_an_interrupt_is_heard_at_the_start(s3: S3, tmp_path: Path, machines: Machines) -> None:
    url, prompts = f"s3://{BUCKET}/{tmp_path.name}/run", f"s3://{BUCKET}/{tmp_path.name}/p.jsonl"
    alone = str(tmp_path / "run")
    unanswered = f"cai: interrupted before {url} answered; the same command goes on."
    generate = [*GENERATE, "6", "--out"]
    told = {
        ("show", url): unanswered,
        (*generate, url, "--fresh"): unanswered,  # which asks nobody before the event loop runs
        (*generate, alone, "--prompts", prompts): "cai: interrupted",
    }
    for command, says in told.items():
        with s3.hanging():
            process = spawn(*command)
            wait_until(process, lambda: s3.held > 0)
            assert interrupted(process) == (130, says)


@pytest.mark.slow
def test_while_a_server_hangs_an_interrupt_is_heard_at_the_end_and_the_same_command_goes_on(
    s3: S3, tmp_path: Path, machines: Machines, cai: Cai
) -> None:
    url, command = f"s3://{BUCKET}/{tmp_path.name}/run", [*GENERATE, "6"]
    copy = copy_path(url)
    with s3.hanging("/run/rows/"):
        process = spawn(*command, "--out", url)
        wait_until(process, lambda: s3.held > 0)
        assert interrupted(process) == (
            130,
            f"cai: interrupted before {url} had everything; what is done is safe in {copy}, and the same command goes "
            "on where it stopped.",
        )
    # Done where the last row was made before Ctrl-C came: what is not done then is the sending alone.
    assert Run.read(copy).manifest.status in ("interrupted", "done")
    assert Run.read(copy).count() == 6
    assert not any(name.startswith("rows/") for name in contents(url))
    summary = cai.told(*command, "--out", url)
    assert (summary["skipped"], summary["rows"]) == (6, 6)
    machines.use("b")
    assert len(cai("show", url, "--json")[1].splitlines()) == 6
