"""Every command that reads a run, on runs that are not as cai wrote them: one sentence and exit code 2."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai.cli.main import main
from cai.core.mark import open_record
from cai.rundir.documents import make_document
from cai.rundir.layout import shard_path
from tests.storage import fill, make_row

Harm = Callable[[Path], object]

COMMANDS = {
    "show": ["show", "RUN"],
    "show a row": ["show", "RUN", "prompt-0"],
    "export": ["export", "RUN"],
    "drop": ["drop", "RUN", "--where", "tag=tag"],
    "judge": ["judge", "RUN", "--judge", "scripted", "--constitution", "medical"],
    "train": ["train", "sft", "--model", "tiny", "--data", "RUN", "--out", "OUT", "--dry-run"],
}


def with_entry(name: str, value: object) -> Harm:
    def harm(run: Path) -> None:
        path = run / "run.json"
        path.write_bytes(make_document({**orjson.loads(path.read_bytes()), name: value}))

    return harm


def with_manifest(data: bytes) -> Harm:
    return lambda run: (run / "run.json").write_bytes(data)


def with_pipe(run: Path) -> None:
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")


def with_a_hundred_megabytes(run: Path) -> None:
    with (run / "run.json").open("ab") as file:
        file.truncate(10**8)


def without_footer(run: Path) -> None:
    data = shard_path(run, 1).read_bytes()
    shard_path(run, 1).write_bytes(data[:-100] + b"\0" * 92 + data[-8:])


def with_foreign_shard(run: Path) -> None:
    pq.write_table(pa.table({"text": ["somebody's"]}), shard_path(run, 1))


HARMS: dict[str, Harm] = {
    "left-out.jsonl: no line of its own": lambda run: (run / "left-out.jsonl").write_text("{}\n"),
    "identity: null": with_entry("identity", None),
    "settings: a list": with_entry("settings", [1]),
    "rows: negative": with_entry("rows", -1),
    "rows: huge": with_entry("rows", 2**64 - 1),
    "rows: more than there are": with_entry("rows", 99),
    "status: unknown": with_entry("status", "\x1b]0;x\x07"),
    "format: another": with_entry("format", 99),
    "an entry more": with_entry("mine", {}),
    "no bytes": with_manifest(b""),
    "NUL": with_manifest(b"\0" * 4096),
    "deep": with_manifest(b"[" * 100_000),
    "a pipe": with_pipe,
    "100 MB": with_a_hundred_megabytes,
    "a shard without footer": without_footer,
    "a shard of nothing": lambda run: shard_path(run, 1).write_bytes(b""),
    "a shard of somebody's": with_foreign_shard,
    "a shard of text": lambda run: shard_path(run, 1).write_text("rows"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_every_command_says_in_one_sentence_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    run = tmp_path / "run"
    fill(run, [make_row(number) for number in range(3)])
    HARMS[harm](run)
    for name, words in COMMANDS.items():
        places = {"RUN": str(run), "OUT": str(tmp_path / "out")}
        with pytest.raises(SystemExit) as left:
            main([places.get(word, word) for word in words])
        out, err = capsys.readouterr()
        assert left.value.code == 2, (name, err)
        assert "Traceback" not in err, name
        assert err.count("\n") == 1, (name, err)
        assert err.startswith("cai: "), name
        assert "\x1b" not in err + out, name


def test_a_run_that_says_nothing_of_its_making_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "run", [make_row(0)])  # with other settings than commands record
    for words, says in (
        (["judge", str(tmp_path / "run")], "name one with --constitution"),
        (["judge", str(tmp_path / "run"), "--constitution", "medical"], "name a model with --judge"),
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2
        assert says in capsys.readouterr().err


@pytest.mark.slow
def test_a_finished_run_on_a_disk_that_is_read_only_asks_for_nothing_to_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    words = ["generate", "--constitution", "harmless", "--model", "scripted", "--out", str(place), "--json"]

    def refuse(directory: Path, flags: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(directory))
        return open_record(directory, flags)

    for limit, status, says in (
        ("2", "done", f"cai: {place} cannot be written: the disk is read-only; the 2 rows in it are a finished run, "
                      f"which `cai show {place}` prints.\n"),
        ("3", "running", f"cai: {place} cannot be written: the disk is read-only; mend that, and the same command goes "
                         "on where it stopped.\n"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as left:
            main([*words, "--limit", limit])
        assert left.value.code == 0
        capsys.readouterr()
        with_entry("status", status)(place)
        with monkeypatch.context() as patch:
            patch.setattr("cai.rundir.claim.open_record", refuse)
            with pytest.raises(SystemExit) as left:
                main([*words, "--limit", limit])
        assert left.value.code == 1
        out, err = capsys.readouterr()
        assert (out, err) == ("", says)
