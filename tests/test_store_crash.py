"""Whatever ends a run - a torn line, a kill, a full or read-only disk - finished rows are neither lost nor repeated."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cai.core.errors import StoreError
from cai.rundir import Run
from cai.rundir import shards as shards_module
from cai.rundir.journal import Journal
from cai.rundir.layout import journal_numbers, journal_path, shard_numbers
from cai.rundir.manifest import Status
from tests.storage import fill, journal_line, make_failure, make_row, open_run, put

ROWS = [make_row(number) for number in range(12)]
LINES = [journal_line(row) for row in ROWS]

WRITER = """
import sys
from pathlib import Path
from cai.rundir import run as run_module
from tests.storage import make_row, open_run
run_module.JOURNAL_ROWS = 40
run = open_run(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    if not run.is_finished(f"prompt-{number}"):
        sys.stdin.readline()
        run.commit(make_row(number))
        print(number, flush=True)
run.close("done")
"""


@given(size=st.integers(0, sum(map(len, LINES))))
@example(size=sum(map(len, LINES)) - 1)
@example(size=0)
@settings(max_examples=30, deadline=None)
@pytest.mark.slow
def test_a_journal_cut_anywhere_loses_only_its_torn_line(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    directory = tmp_path_factory.mktemp("run") / "run"
    open_run(directory).close("interrupted")
    put(directory, "journal/000001.jsonl", b"".join(LINES)[:size])
    whole = sum(sum(map(len, LINES[: count + 1])) <= size for count in range(len(LINES)))
    assert list(Run.read(directory).rows()) == ROWS[:whole]
    run = open_run(directory)
    assert run.finished == whole
    for row in ROWS:
        if not run.is_finished(row.prompt.id):
            run.commit(row)
    run.close("done")
    assert list(run.rows()) == ROWS


@pytest.mark.parametrize("tail", [b"\0" * 500, LINES[3][:-1], LINES[3][:1], b"null"])
def test_a_torn_tail_is_cut_off_without_a_word(tmp_path: Path, tail: bytes) -> None:
    open_run(tmp_path).close("interrupted")
    put(tmp_path, "journal/000001.jsonl", b"".join(LINES[:3]) + tail)
    assert list(Run.read(tmp_path).rows()) == ROWS[:3]
    run = open_run(tmp_path)
    assert (run.finished, run.remarks) == (3, ())
    run.commit(ROWS[3])
    run.close("done")
    assert list(run.rows()) == ROWS[:4]
    assert not list(tmp_path.rglob("*.damaged"))


@pytest.mark.parametrize("lost", [1, 10, 60])
def test_a_torn_failure_is_owed_again(tmp_path: Path, lost: int) -> None:
    fill(tmp_path, [], [make_failure(0), make_failure(1)])
    path = tmp_path / "failures.jsonl"
    path.write_bytes(path.read_bytes()[:-lost])
    assert list(Run.read(tmp_path).failures()) == [make_failure(0)]
    run = open_run(tmp_path)
    assert (run.is_finished("prompt-0"), run.is_finished("prompt-1")) == (True, False)
    run.fail(make_failure(1))
    run.close("done")
    assert list(run.failures()) == [make_failure(0), make_failure(1)]


def test_a_run_killed_again_and_again_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    total, draw = 400, random.Random(5)
    promised: set[int] = set()
    for kill in [True] * 6 + [False]:
        # The writer commits one row a line that it reads, and is killed while it has a few left to read.
        rows = draw.randrange(10, 60) if kill else total
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(total)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write("\n" * rows)
            writer.stdin.flush()
            last = rows - draw.randrange(1, 8)
            for count, line in enumerate(writer.stdout, start=1):
                if line.strip().isdigit():
                    assert int(line) not in promised, "a finished row was made again"
                    promised.add(int(line))
                if kill and count == last:
                    writer.kill()
        found = {row.prompt.ordinal for row in Run.read(tmp_path).rows()}
        assert promised <= found, "a committed row was lost"
        promised = found
    assert list(Run.read(tmp_path).rows()) == [make_row(number) for number in range(total)]
    assert Run.read(tmp_path).manifest.status == "done"


LIMITED = """
import resource, sys
from pathlib import Path
from cai.core.errors import StoreError
from tests.storage import make_row, open_run
run = open_run(Path(sys.argv[1]))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))
try:
    for number in range(100):
        run.commit(make_row(number))
except StoreError as error:
    print(run.finished, error, flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
run.commit(make_row(run.finished))
run.close("done")
"""


def test_a_refused_write_leaves_whole_rows_only_and_the_run_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        number, message = writer.stdout.readline().strip().split(" ", 1)
        committed = [make_row(i) for i in range(int(number))]
        assert "size limit" in message
        assert message.count("\n") == 0
        data = journal_path(tmp_path, 1).read_bytes()
        assert data.endswith(b"\n"), "the part of a row that fitted was not taken back"
        assert data == b"".join(map(journal_line, committed))
        told, _ = writer.communicate("\n")
    assert (writer.returncode, told) == (0, "")
    assert list(Run.read(tmp_path).rows()) == [*committed, make_row(len(committed))]


def commit_all(run: Run, count: int) -> None:
    for number in range(count):
        run.commit(make_row(number))


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_device(tmp_path / "run", monkeypatch)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return  # only root may mount; the full device is there for everybody
    try:
        fill_disk(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill_device(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run's second journal lie on a device that is always full, and gives nothing back that was written."""

    class OnAFullDevice(Journal):
        def __init__(self, directory: Path, number: int, run: str) -> None:
            super().__init__(directory, number, run)
            with open("/dev/full", "wb") as device:  # noqa: PTH123
                os.dup2(device.fileno(), self._descriptor)

    run = open_run(directory)
    with monkeypatch.context() as patched:
        patched.setattr("cai.rundir.run.JOURNAL_ROWS", 5)
        patched.setattr("cai.rundir.run.Journal", OnAFullDevice)
        for _ in range(2):
            with pytest.raises(StoreError, match="the disk is full"):
                commit_all(run, len(ROWS))
    assert run.finished == 5
    run.close("failed")
    assert list(Run.read(directory).rows()) == ROWS[:5]
    run = open_run(directory)
    commit_all(run, len(ROWS))
    run.close("done")
    assert list(run.rows()) == ROWS


def fill_disk(disk: Path) -> None:
    """Fill a small disk with a run, go on with it when the disk is larger, and refuse to when it is read-only."""
    run = open_run(disk / "run")
    with pytest.raises(StoreError, match="the disk is full") as caught:
        commit_all(run, 1000)
    committed = run.finished
    assert "\n" not in str(caught.value)
    subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
    run.commit(make_row(committed))
    run.close("done")
    assert list(run.rows()) == [make_row(number) for number in range(committed + 1)]
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match="the disk is read-only"):
        open_run(disk / "run")
    with pytest.raises(StoreError, match="the disk is read-only"):
        open_run(disk / "other")
    assert len(list(Run.read(disk / "run").rows())) == committed + 1


@pytest.mark.parametrize("calls", range(12))
def test_a_run_that_could_not_even_begin_begins_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    left = calls
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StoreError, match="the disk is full"):
            open_run(tmp_path)
    fill(tmp_path, ROWS)
    assert list(Run.read(tmp_path).rows()) == ROWS


def test_a_path_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="part of the path is a file") as caught:
        open_run(tmp_path / "file" / "run")
    assert "rows" not in str(caught.value), "a new run was told that its rows are kept"


def test_a_failure_to_seal_is_told_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(journal: Path, shard: Path, run: str, number: int) -> None:
        raise StoreError(f"{shard} cannot be written: the disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(shards_module, "seal", refuse)
        run = open_run(tmp_path)
        for row in ROWS:
            run.commit(row)
        with pytest.raises(StoreError, match="the disk is full"):
            run.close("done")
    assert (shard_numbers(tmp_path), journal_numbers(tmp_path)) == ([], [1])
    run = open_run(tmp_path)
    assert run.finished == len(ROWS)
    run.close("done")
    assert (shard_numbers(tmp_path), journal_numbers(tmp_path)) == ([1], [])
    assert list(run.rows()) == ROWS


def open_files(directory: Path) -> set[str]:
    """Return the files below `directory` that this process has open."""
    names = (path.resolve() for path in Path("/proc/self/fd").iterdir())
    return {str(name) for name in names if name.is_relative_to(directory)}


@pytest.mark.parametrize("status", ["done", "interrupted"])
def test_a_run_whose_sealing_stopped_has_failed_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    monkeypatch.setattr("cai.rundir.run.JOURNAL_ROWS", 1)
    run = open_run(tmp_path)
    (tmp_path / "rows").rmdir()
    run.commit(ROWS[0])
    run.commit(ROWS[1])
    run._sealer._thread.join(timeout=30)
    with pytest.raises(StoreError, match=r"000001\.parquet cannot be written"):
        run.close(status)
    manifest = Run.read(tmp_path).manifest
    assert (manifest.status, manifest.rows) == ("failed", 2)
    assert open_files(tmp_path) == set()


def test_a_commit_tells_what_stopped_the_sealing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cai.rundir.run.JOURNAL_ROWS", 1)
    run = open_run(tmp_path)
    (tmp_path / "rows").rmdir()
    run.commit(ROWS[0])
    run.commit(ROWS[1])
    run._sealer._thread.join(timeout=30)
    with pytest.raises(StoreError, match=r"000001\.parquet cannot be written"):
        run.commit(ROWS[2])
    with pytest.raises(StoreError):
        run.close("done")
    run = open_run(tmp_path)
    run.close("done")
    assert list(run.rows()) == ROWS[:2]
