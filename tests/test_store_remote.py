"""Runs at a URL: nothing lost, nothing double, on one machine or several, whatever is killed, refused or taken away."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import orjson
import pytest

from cai.annotation.places import find_place
from cai.annotation.store import AnnotationStore
from cai.core.addresses import DataSource
from cai.core.errors import InterruptError, RunError, StoreError, UsageError
from cai.core.records import Row
from cai.core.urls import RemoteFolder, is_url
from cai.data.export import ExportOptions, export_run
from cai.rundir import Run, checkout, uploader, working_copy
from cai.rundir import run as run_module
from cai.rundir.documents import make_document
from cai.rundir.layout import SERIES, journal_numbers, shard_numbers, shard_path
from cai.rundir.origin import copy_path
from cai.rundir.remote import remote_of
from tests.annotating import make_pair, say
from tests.remote import BUCKET, S3, Machines, contents, kill, open_at
from tests.storage import IDENTITY, fill, make_failure, make_row

ROWS = [make_row(number) for number in range(30)]
Listener = Callable[[int, FrameType | None], object]


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    monkeypatch.setattr(run_module, "JOURNAL_ROWS", 4)
    monkeypatch.setattr(uploader, "WAITS", (0.0, 0.0))
    machines = Machines(tmp_path, monkeypatch)
    machines.use("a")
    return machines


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, machines: Machines) -> str:
    """Return where no run is yet: in a folder that several machines mount, or on a server."""
    if request.param == "file":
        return (tmp_path / "share" / "run").as_uri()
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/{tmp_path.name}/run"


@pytest.fixture
def share(tmp_path: Path, machines: Machines) -> str:
    """Return a URL where no run is yet, and where a server would make no difference."""
    return (tmp_path / "share" / "run").as_uri()


def commit(run: Run, rows: Iterable[Row]) -> None:
    for row in rows:
        if not run.is_finished(row.prompt.id):
            run.commit(row)


def read(url: str) -> list[Row]:
    return list(Run.read(checkout(url)).rows())


@contextmanager
def listening(number: signal.Signals, listener: "Listener | signal.Handlers") -> Iterator[None]:
    """Handle a signal so inside the block."""
    before = signal.signal(number, listener)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_run_is_at_both_ends(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS[:10])
    run.fail(make_failure(10))
    run.close("done")
    names = {name.partition("/")[0] for name in contents(url)}
    assert names == {"run.json", "rows", next(name for name in names if name.startswith("failures-"))}
    machines.use("b")
    there = Run.read(checkout(url))
    assert there.manifest == run.manifest
    assert list(there.rows()) == ROWS[:10]
    assert list(there.failures()) == [make_failure(10)]
    assert there.count() == there.manifest.rows == 10


def test_a_shard_is_sent_when_it_is_sealed_and_no_row_waits_for_it(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    put = RemoteFolder.put

    def slow(folder: RemoteFolder, name: str, path: Path) -> None:
        asked.set()
        assert go_on.wait(60)
        put(folder, name, path)

    monkeypatch.setattr(RemoteFolder, "put", slow)
    run = open_at(share)
    commit(run, ROWS[:9])
    assert asked.wait(60), "the first shard is on its way while the run is open"
    commit(run, ROWS[9:])
    assert list(run.rows()) == ROWS, "all of it was written while the first shard was on its way"
    assert not any(name.startswith("rows/") for name in contents(share))
    go_on.set()
    run.close("done")
    machines.use("b")
    assert read(share) == ROWS


def test_on_the_same_machine_a_killed_run_goes_on_from_its_journal(share: str, machines: Machines) -> None:
    run = open_at(share)
    commit(run, ROWS[:10])
    kill(run, share)
    run = open_at(share)
    assert run.finished == 10
    commit(run, ROWS)
    run.close("done")
    assert list(run.rows()) == ROWS
    machines.use("b")
    assert read(share) == ROWS


def test_another_machine_goes_on_and_a_journal_that_turns_up_later_counts_once(share: str, machines: Machines) -> None:
    run = open_at(share)
    commit(run, ROWS[:8])
    run.close("interrupted")
    run = open_at(share)
    commit(run, ROWS[:10])
    kill(run, share)
    machines.use("b")
    run = open_at(share)
    assert run.finished == 8, "of the two rows in the journal nobody else can know"
    commit(run, ROWS[:20])
    run.close("interrupted")
    machines.use("a")
    run = open_at(share)
    assert (run.finished, run.count()) == (20, 20)
    assert list(run.rows()) == ROWS[:20]
    assert len(journal_numbers(run.directory)) >= 1
    commit(run, ROWS)
    run.close("done")
    assert run.manifest.rows == 30
    machines.use("c")
    there = Run.read(checkout(share))
    assert list(there.rows()) == ROWS
    assert there.count() == 30
    assert there.manifest == run.manifest
    assert len({number // SERIES for number in shard_numbers(there.directory)}) == 2


def test_an_interrupted_run_is_all_there(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS[:3])
    run.close("interrupted")
    machines.use("b")
    run = open_at(url)
    assert run.finished == 3
    commit(run, ROWS)
    run.close("done")
    machines.use("a")
    there = Run.read(checkout(url))
    assert list(there.rows()) == ROWS
    assert there.manifest == run.manifest, "run.json is the other machine's now"


def test_two_machines_at_once_lose_nothing(share: str, machines: Machines) -> None:
    first = open_at(share)
    commit(first, ROWS[:6])
    machines.use("b")
    second = open_at(share)
    commit(second, ROWS[5:])
    commit(first, ROWS[6:12])
    for number, run in ((29, first), (28, second)):
        run.fail(make_failure(number + 100))
    second.close("done")
    first.close("done")
    machines.use("c")
    there = Run.read(checkout(share))
    assert list(there.rows()) == ROWS
    assert {failure.ordinal for failure in there.failures()} == {128, 129}


def test_who_reads_a_run_that_is_written_here_leaves_its_manifest_alone(share: str, machines: Machines) -> None:
    run = open_at(share)
    commit(run, ROWS[:10])
    folder = RemoteFolder(share)
    there = orjson.loads(folder.read("run.json"))
    folder.write("run.json", make_document({**there, "updated": there["updated"].replace("2", "3", 1)}))
    assert read(share) == ROWS[:10], "those in the journal too"
    assert run.manifest.updated.startswith("2")
    run.close("done")
    machines.use("b")
    assert Run.read(checkout(share)).manifest == run.manifest


def test_other_settings_do_not_mix(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS[:3])
    run.close("done")
    before = contents(url)
    for machine in ("b", "a"):
        machines.use(machine)
        with pytest.raises(RunError, match=r"was made with other settings:\n  seed: the run has 0, now 7\n") as caught:
            Run.open(working_copy(url), {**IDENTITY, "seed": "7"}, {})
        assert str(caught.value).startswith(url)
    assert contents(url) == before


def test_fresh_removes_what_cai_wrote_and_nothing_else(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS[:10])
    run.fail(make_failure(10))
    run.close("done")
    export_run(run.directory, ExportOptions())
    RemoteFolder(url).write("rows/notes.txt", b"mine")
    assert "README.md" in contents(url)
    machines.use("b")
    run = open_at(url, fresh=True)
    assert run.finished == 0
    run.close("interrupted")
    assert set(contents(url)) == {"rows/notes.txt", "run.json"}
    run = open_at(url)
    commit(run, ROWS[20:])
    run.close("done")
    machines.use("c")
    assert read(url) == ROWS[20:]


def test_a_copy_of_a_run_that_was_started_over_elsewhere_is_refused(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_at(share)
    commit(run, ROWS[:3])
    run.close("done")
    machines.use("b")
    monkeypatch.setattr("cai.rundir.entry.now", lambda: "2100-01-01T00:00:00+00:00")
    open_at(share, fresh=True).close("done")
    machines.use("a")
    for go_on in (open_at, checkout):
        with pytest.raises(RunError, match="was started over elsewhere, on 2100-01-01") as caught:
            go_on(share)
        assert str(run.directory) in str(caught.value)
    assert list(Run.read(run.directory).rows()) == ROWS[:3], "its rows stay"


def test_a_run_that_is_started_over_elsewhere_meanwhile_gets_none_of_the_old_rows(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = open_at(share)
    commit(old, ROWS[:2])
    machines.use("b")
    with monkeypatch.context() as patch:
        patch.setattr("cai.rundir.entry.now", lambda: "2100-01-01T00:00:00+00:00")
        new = open_at(share, fresh=True)
    with pytest.raises(RunError, match="was started over elsewhere, on 2100-01-01"):
        commit(old, map(make_row, range(2, 1_000_000)))
    old.fail(make_failure(1_000_000))
    with pytest.raises(RunError, match="was started over elsewhere, on 2100-01-01"):
        old.close("failed")
    commit(new, ROWS[20:])
    new.close("done")
    kept = [row.prompt.ordinal for row in Run.read(old.directory).rows()]
    assert kept == list(range(len(kept))), "they stay where they are"
    machines.use("c")
    assert read(share) == ROWS[20:]


def test_a_run_that_was_started_over_elsewhere_gets_none_of_the_old_failures_and_exports(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = open_at(share)
    old.fail(make_failure(1))
    machines.use("b")
    with monkeypatch.context() as patch:
        patch.setattr("cai.rundir.entry.now", lambda: "2100-01-01T00:00:00+00:00")
        open_at(share, fresh=True).close("interrupted")
    machines.use("a")
    for leave in (lambda: old.close("done"), lambda: export_run(old.directory, ExportOptions())):
        with pytest.raises(RunError, match="was started over elsewhere"):
            leave()
    assert set(contents(share)) == {"run.json"}


def test_a_place_with_other_things_is_refused(url: str, machines: Machines) -> None:
    RemoteFolder(url).write("notes.txt", b"mine")
    with pytest.raises(RunError, match=r"is not a run and not empty \(it holds notes.txt\)") as caught:
        open_at(url)
    assert str(caught.value).startswith(url)
    assert contents(url) == {"notes.txt": b"mine"}


def test_reading_where_no_run_is_leaves_nothing_behind(url: str, machines: Machines) -> None:
    with pytest.raises(RunError, match=r"is not a run: it has no run\.json"):
        checkout(url)
    assert not copy_path(url).exists()


def test_fresh_spares_a_place_that_is_no_run(url: str, machines: Machines) -> None:
    RemoteFolder(url).write("README.md", b"mine")
    with pytest.raises(RunError, match=r"is not a run and not empty \(it holds README.md\)"):
        open_at(url, fresh=True)
    assert contents(url) == {"README.md": b"mine"}


def test_a_folder_made_in_a_console_is_empty(s3: S3, machines: Machines, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/{tmp_path.name}"
    RemoteFolder(url).write("run/", b"")
    RemoteFolder(url).write("run/rows/", b"")
    assert RemoteFolder(f"{url}/run").sizes() == {}
    run = open_at(f"{url}/run")
    commit(run, ROWS[:1])
    run.close("done")
    machines.use("b")
    assert read(f"{url}/run") == ROWS[:1]


def test_a_run_whose_first_upload_broke_off_can_be_begun_elsewhere(share: str, machines: Machines) -> None:
    RemoteFolder(share).write(".cai/7-0123456789abcdef.tmp", b"{")
    run = open_at(share)
    commit(run, ROWS[:1])
    run.close("done")
    machines.use("b")
    assert read(share) == ROWS[:1]


def test_a_shard_that_the_other_end_lost_is_sent_again(share: str, machines: Machines) -> None:
    run = open_at(share)
    commit(run, ROWS[:10])
    run.close("done")
    machines.use("b")
    assert read(share) == ROWS[:10]
    for name, data in contents(share).items():
        if name.startswith("rows/"):
            RemoteFolder(share).write(name, data[:-4])
    machines.use("a")
    open_at(share).close("done")
    for machine in ("b", "c"):
        machines.use(machine)
        assert read(share) == ROWS[:10]


def test_how_a_run_ended_is_sent_after_its_last_shard(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on, sent = threading.Event(), threading.Event(), []
    put, write, stop = RemoteFolder.put, RemoteFolder.write, uploader.Uploader.stop

    def slow(folder: RemoteFolder, name: str, path: Path) -> None:
        asked.set()
        assert go_on.wait(60)
        put(folder, name, path)

    def note(folder: RemoteFolder, name: str, data: bytes) -> None:
        sent.append((b'"done"' in data, sum(name.startswith("rows/") for name in folder.sizes())))
        write(folder, name, data)

    def let_go(thread: uploader.Uploader) -> None:
        go_on.set()
        stop(thread)

    run = open_at(share)
    monkeypatch.setattr(RemoteFolder, "put", slow)
    monkeypatch.setattr(RemoteFolder, "write", note)
    monkeypatch.setattr(uploader.Uploader, "stop", let_go)
    commit(run, ROWS[:5])
    assert asked.wait(60), "the first shard is on its way"
    run.close("done")
    assert sent[-1] == (True, 2)
    assert [shards for done, shards in sent if done] == [2]


def test_a_call_to_end_is_heard_whenever_it_comes(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_it, called = threading.Event(), threading.Event()

    class Wanted(threading.Event):
        def set(self) -> None:
            super().set()
            if at_it.is_set():
                called.set()

        def clear(self) -> None:
            at_it.set()
            assert called.wait(60)
            super().clear()

    remote = remote_of(working_copy(share))
    assert remote is not None
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Event", Wanted)
        sending = uploader.Uploader(remote)
    assert at_it.wait(60), "the thread is about to look what is wanted"
    ending = threading.Thread(target=sending.stop, daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()


def test_half_an_upload_is_no_shard(share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_at(share)
    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileSystem.mv", lambda *_: None)  # as if it never came to it
        commit(run, ROWS[:10])
        with pytest.raises(StoreError, match="cannot be written"):
            kill(run)
    assert not any(name.startswith("rows/") for name in contents(share))
    assert any(name.endswith(".tmp") for name in RemoteFolder(share).sizes())
    machines.use("b")
    assert read(share) == []
    machines.use("a")
    run = open_at(share)
    commit(run, ROWS)
    run.close("done")
    machines.use("b")
    assert read(share) == ROWS


def test_a_shard_that_breaks_off_on_its_way_here_is_none(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_at(share)
    commit(run, ROWS[:10])
    run.close("done")
    machines.use("b")
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "get", lambda _folder, _name, path: path.write_bytes(b"PAR1"))
        with pytest.raises(StoreError, match=r"parquet broke off while it was fetched; the same command goes on\.$"):
            checkout(share)
    assert shard_numbers(copy_path(share)) == []
    assert read(share) == ROWS[:10]


def test_a_refused_upload_is_tried_again_and_what_is_owed_is_sent_by_the_next(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def refuse(folder: RemoteFolder, name: str, path: Path) -> None:
        attempts.append(threading.current_thread().name)
        raise PermissionError("Access Denied")

    run = open_at(share)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "put", refuse)
        commit(run, ROWS[:10])
        with pytest.raises(StoreError, match=r"cannot be written: Access Denied\. What is done is safe in ") as caught:
            run.close("done")
    assert "\n" not in str(caught.value)
    assert attempts.count("MainThread") == 3
    assert Run.read(run.directory).manifest.status == "failed"
    assert list(Run.read(run.directory).rows()) == ROWS[:10]
    run = open_at(share)
    assert run.finished == 10
    run.close("done")
    machines.use("b")
    assert read(share) == ROWS[:10]


def test_while_rows_are_made_a_refused_upload_is_tried_again_by_itself(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, refused, sent = RemoteFolder.put, threading.Event(), threading.Event()

    def refuse_once(folder: RemoteFolder, name: str, path: Path) -> None:
        if not refused.is_set():
            refused.set()
            raise OSError("the server is away")
        put(folder, name, path)
        sent.set()

    monkeypatch.setattr(RemoteFolder, "put", refuse_once)
    monkeypatch.setattr(uploader, "FIRST_WAIT", 0.01)
    run = open_at(share)
    commit(run, ROWS[:5])
    assert sent.wait(60), "the shard was sent without another one having been sealed"
    assert refused.is_set()
    run.close("done")


def test_an_interrupt_while_the_url_is_waited_for_says_what_is_safe(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: RemoteFolder, name: str, path: Path) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        raise OSError("the server is away")

    with listening(signal.SIGINT, signal.default_int_handler), monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "put", refuse)
        run = open_at(share)
        commit(run, ROWS[:10])
        with pytest.raises(
            InterruptError, match=r"^interrupted before file://\S+ had everything; what is done is safe in"
        ):
            run.close("done")
    assert Run.read(run.directory).manifest.status == "interrupted"
    run = open_at(share)
    assert run.finished == 10
    run.close("done")
    machines.use("b")
    assert read(share) == ROWS[:10]


def test_a_signal_that_the_process_ignores_interrupts_nothing(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = RemoteFolder.put

    def signalled(folder: RemoteFolder, name: str, path: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        put(folder, name, path)

    monkeypatch.setattr(RemoteFolder, "put", signalled)
    with listening(signal.SIGINT, signal.SIG_IGN):
        run = open_at(share)
        commit(run, ROWS[:10])
        run.close("done")
    machines.use("b")
    assert read(share) == ROWS[:10]


def test_a_server_that_is_away_is_told_and_the_same_command_goes_on(s3: S3, machines: Machines, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/{tmp_path.name}/run"
    run = open_at(url)
    commit(run, ROWS[:10])
    s3.stop()
    try:
        with pytest.raises(StoreError, match="cannot be written: Could not connect to the endpoint URL"):
            run.close("done")
        with pytest.raises(StoreError, match="cannot be read: Could not connect to the endpoint URL"):
            open_at(url)
        assert list(Run.read(run.directory).rows()) == ROWS[:10]
    finally:
        s3.start()
    run = open_at(url)
    assert run.finished == 10
    commit(run, ROWS)
    run.close("done")
    machines.use("b")
    assert read(url) == ROWS


def test_a_bucket_that_is_not_there_is_said_before_any_work(s3: S3, machines: Machines) -> None:
    with pytest.raises(RunError, match="s3://elsewhere/run cannot be read: The specified bucket does not exist"):
        open_at("s3://elsewhere/run")


@pytest.mark.slow
def test_exports_are_sent_and_those_no_longer_made_removed(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS)
    run.close("done")
    export_run(run.directory, ExportOptions(test_share=0.5))
    kinds = ("sft", "preference", "ranking")
    splits = {f"{kind}/{split}.parquet" for kind in kinds for split in ("train", "test")}
    there = contents(url)
    assert {*splits, "README.md"} <= set(there)
    for name in (*splits, "README.md"):
        assert there[name] == (run.directory / name).read_bytes()
    machines.use("b")
    directory = checkout(url)
    assert (directory / "sft" / "test.parquet").read_bytes() == there["sft/test.parquet"], "training must know these"
    export_run(directory, ExportOptions(test_share=0.0))
    assert {name for name in contents(url) if name in splits} == {f"{kind}/train.parquet" for kind in kinds}


def test_a_package_or_a_protocol_that_is_not_there_is_one_sentence(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"^gs://bucket/run needs gcsfs: pip install gcsfs$"):
        open_at("gs://bucket/run")
    with pytest.raises(UsageError, match=r"^foo://bucket/run cannot be opened: Protocol not known: foo\.$"):
        open_at("foo://bucket/run")


def test_what_is_a_url() -> None:
    assert all(map(is_url, ("s3://b/r", "file:///x", "hf://datasets/o/n", "https://h/x.jsonl?a=b")))
    assert not any(map(is_url, ("runs/x", "/x", "owner/name", "-", "s3:", "c:/x", "openai:m@http://h", "", "s3://")))


def test_local_runs_need_no_fsspec(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.storage import fill, make_row\n"
        "from cai.rundir import Run\nout = Path(sys.argv[1])\n"
        "fill(out, [make_row(0)])\nassert Run.read(out).count() == 1\n"
        "assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], check=True)
    fill(tmp_path / "other", [make_row(0)])
    assert {path.name for path in (tmp_path / "other").iterdir()} == {
        "run.json", ".cai", "journal", "rows", "failures.jsonl"
    }  # fmt: skip
    assert shard_numbers(tmp_path / "other") == [1]


WRITER = """
import sys
from cai.rundir import run as run_module
from tests.remote import open_at
from tests.storage import make_row
run_module.JOURNAL_ROWS = 20
run = open_at(sys.argv[1])
for number in range(int(sys.argv[2])):
    if not run.is_finished(f"prompt-{number}"):
        sys.stdin.readline()
        run.commit(make_row(number))
        print(number, flush=True)
run.close("done")
"""


@pytest.mark.slow
def test_processes_killed_here_and_elsewhere_end_like_an_undisturbed_one(
    s3: S3, machines: Machines, tmp_path: Path
) -> None:
    url, total = f"s3://{BUCKET}/{tmp_path.name}/run", 150
    promised: dict[str, set[int]] = {"a": set(), "b": set()}
    for machine, rows in (("a", 50), ("b", 45), ("a", 30), ("b", total)):
        machines.use(machine)
        command = [sys.executable, "-c", WRITER, url, str(total)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write("\n" * rows)
            writer.stdin.flush()
            for count, line in enumerate(writer.stdout, start=1):
                assert int(line) not in promised[machine], "a machine made a row again that it had finished"
                promised[machine].add(int(line))
                if count == rows - 3 and rows < total:
                    writer.kill()
            assert writer.wait() == (0 if rows == total else -9)
        here = {row.prompt.ordinal for row in Run.read(copy_path(url)).rows()}
        assert promised[machine] <= here, "a committed row was lost"
    machines.use("c")
    there = Run.read(checkout(url))
    assert list(there.rows()) == [make_row(number) for number in range(total)]
    assert (there.manifest.status, there.manifest.rows) == ("done", total)


def shard_there(url: str) -> str:
    return next(name for name in sorted(contents(url)) if name.startswith("rows/") and name.endswith(".parquet"))


def harm(data: bytes) -> bytes:
    """Change one byte among the pages."""
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


@pytest.mark.slow
def test_a_shard_that_is_damaged_here_is_fetched_again(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS)
    run.close("done")
    path = shard_path(run.directory, shard_numbers(run.directory)[0])
    path.write_bytes(harm(path.read_bytes()))
    run = open_at(url)
    assert (run.finished, run.remarks) == (len(ROWS), ())
    run.close("done")
    assert read(url) == ROWS


@pytest.mark.slow
def test_a_shard_that_is_damaged_at_the_url_is_told_and_made_again(url: str, machines: Machines) -> None:
    run = open_at(url)
    commit(run, ROWS)
    run.close("done")
    name, folder = shard_there(url), RemoteFolder(url)
    folder.write(name, harm(folder.read(name)))
    machines.use("b")
    with pytest.raises(RunError, match=r"parquet is damaged; the command that made this run"):
        read(url)
    run = open_at(url)
    assert (run.finished, len(run.remarks)) == (len(ROWS) - 4, 1)
    commit(run, ROWS)
    run.close("done")
    assert name not in contents(url)
    assert f"{name}.damaged" in contents(url)
    assert read(url) == ROWS
    machines.use("c")
    assert read(url) == ROWS
    machines.use("a")  # which has it whole
    run = open_at(url)
    assert (run.finished, run.remarks) == (len(ROWS), ())
    run.close("done")
    machines.use("d")
    assert read(url) == ROWS
    assert Run.read(checkout(url)).count() == len(ROWS)


def test_what_arrives_otherwise_than_it_was_sent_is_sent_again(
    share: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, spoilt = RemoteFolder.put, 0

    def spoil(folder: RemoteFolder, name: str, path: Path) -> None:
        nonlocal spoilt
        put(folder, name, path)
        if name.startswith("rows/") and spoilt < 2:
            spoilt += 1
            folder.write(name, harm(path.read_bytes()))

    monkeypatch.setattr(RemoteFolder, "put", spoil)
    run = open_at(share)
    commit(run, ROWS)
    run.close("done")
    assert spoilt == 2
    machines.use("b")
    assert read(share) == ROWS


def test_what_people_said_reaches_the_url_and_the_next_machine_and_is_not_started_over(
    url: str, machines: Machines
) -> None:
    run = open_at(url)
    commit(run, ROWS[:2])
    run.close("done")
    for machine, annotator in (("a", "kim"), ("b", "kim"), ("c", "lee")):
        machines.use(machine)
        store = AnnotationStore(find_place(DataSource.parse(url)))
        store.append(say(make_pair(), "a", annotator=annotator, id=f"said-on-{machine}"), make_pair())
        store.place.publish()
    machines.use("a")
    checkout(url)
    assert {line.id for line in AnnotationStore(find_place(DataSource.parse(url))).read().lines} == {
        "said-on-a",
        "said-on-b",
        "said-on-c",
    }
    with pytest.raises(RunError, match="what people said"):
        open_at(url, fresh=True)
    machines.use("d")
    with pytest.raises(RunError, match="what people said of the run"):
        open_at(url, fresh=True)
