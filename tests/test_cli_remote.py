"""Commands on runs at a URL: what a person types, and what is said."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.cli.main import main
from cai.store import Run
from cai.store.origin import copy_path
from tests.disturbing import exports, finish, wait_until
from tests.remote import BUCKET, S3, Machines, contents

GENERATE = ["generate", "--constitution", "harmless", "--model", "scripted", "--no-gate", "--limit"]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = S3()
    with server.serving():
        yield server


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    machines = Machines(tmp_path, monkeypatch)
    machines.use("a")
    return machines


class Cai:
    """The command line in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capture.readouterr()
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        out, err = self._capture.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out, err

    def told(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return orjson.loads(out)


@pytest.fixture
def cai(capsys: pytest.CaptureFixture[str]) -> Cai:
    return Cai(capsys)


def test_a_run_is_called_by_its_url_from_beginning_to_end(tmp_path: Path, machines: Machines, cai: Cai) -> None:
    url = (tmp_path / "share" / "run").as_uri()
    code, told, err = cai(*GENERATE, "6", "--out", url)
    assert code == 0, err
    assert f"done: 6 rows in {url} (" in " ".join(told.split())
    assert f"read: cai show {url}\n" in told
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
    assert orjson.loads(contents(f"{url}-judged-helpful")["run.json"])["settings"]["run"] == url
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
    assert "s3://bucket/models is a URL; give a directory on this machine (only runs may be at a URL)." in err
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


def test_killed_here_interrupted_and_finished_elsewhere_the_exports_are_the_same_bytes(
    s3: S3, tmp_path: Path, machines: Machines, cai: Cai
) -> None:
    url, command = f"s3://{BUCKET}/{tmp_path.name}/run", [*GENERATE, "60"]
    slow = [sys.executable, "-m", "cai", *command, "--model", "scripted?delay_ms=8", "--concurrency", "4"]
    slow += ["--rounds", "2", "--schedule", "sample"]
    alone = tmp_path / "run"
    assert cai.told(*slow[3:], "--out", str(alone))["rows"] == 60

    def disturbed(rows: int, number: signal.Signals) -> int:
        process = subprocess.Popen([*slow, "--out", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        copy = copy_path(url)
        wait_until(process, lambda: (copy / "run.json").exists() and sum(1 for _ in Run.read(copy).rows()) >= rows)
        process.send_signal(number)
        return finish(process)[0]

    assert disturbed(5, signal.SIGKILL) == -signal.SIGKILL
    assert disturbed(20, signal.SIGINT) == 130
    machines.use("b")
    summary = cai.told(*slow[3:], "--out", url)
    assert summary["skipped"] >= 20
    assert summary["skipped"] + summary["done"] == 60 == summary["rows"]
    there = contents(url)
    assert {name: there[name] for name in exports(alone)} == exports(alone)
    assert there["README.md"] == (alone / "README.md").read_bytes()
