"""What others have at a URL: neither taken for cai's, nor replaced, nor removed, wherever a process is killed."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import CaiError, InputError, RunError
from cai.core.mark import mark
from cai.core.urls import RemoteFolder
from cai.data import InputOptions, open_prompts
from cai.data.export import ExportOptions, export_run
from cai.rundir import Run, checkout, uploader
from cai.rundir.checkout import has_run, is_run, publish
from cai.rundir.layout import SERIES, shard_numbers
from cai.train.data.examples import load_examples
from cai.train.settings import DataSettings
from tests.remote import Machines, contents, open_at
from tests.storage import fill, make_failure, make_row
from tests.test_store_claim import CONTENTS, LINKS, NAMES, look, plant


def go_on(url: str, *, fresh: bool = False) -> None:
    run = open_at(url, fresh=fresh)
    try:
        for number in range(2):
            if not run.is_finished(f"prompt-{number}"):
                run.commit(make_row(number))
        run.fail(make_failure(9))
    finally:
        run.close("done")


def fresh(url: str) -> None:
    go_on(url, fresh=True)


def export(url: str) -> None:
    export_run(checkout(url), ExportOptions(test_share=0.5))


VERBS: dict[str, Callable[[str], None]] = {"go on": go_on, "fresh": fresh, "export": export}
URL_NAMES = [
    "failures-7.jsonl", "rows/7000001.parquet", "rows/7000001.parquet.damaged", "sft/test.parquet", "README.md/a",
    "preference/train.parquet", "preference/train.parquet/a", "rows", "sft", ".cai", ".cai/record-7.jsonl",
    ".cai/7-0123456789abcdef.tmp", ".gitattributes",
]  # fmt: skip
TREES = st.dictionaries(
    st.sampled_from([*NAMES, *URL_NAMES]),
    st.sampled_from([*CONTENTS, mark("training", "1").decode(), *LINKS]),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("url")


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a URL where no run is yet, known to one machine."""
    monkeypatch.setattr(uploader, "WAITS", (0.0,))
    Machines(tmp_path, monkeypatch).use("a")
    return (tmp_path / "share").as_uri()


@pytest.fixture(scope="module")
def made(root: Path) -> Path:
    """Return a place with a run at its `share`, and the machine's own copy of it, to be copied to `root/now`."""
    shutil.rmtree(root / "now", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        Machines(root / "now", patch).use("a")
        url = (root / "now" / "share").as_uri()
        go_on(url)
        export(url)
    (root / "now").rename(root / "made")
    return root / "made"


def attempt(root: Path, verb: str, machine: str) -> str:
    """Give a command and return how it was refused, or nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploader, "WAITS", (0.0,))
        Machines(root / "now", patch).use(machine)
        try:
            VERBS[verb]((root / "now" / "share").as_uri())
        except CaiError as error:
            refusal = str(error)
        else:
            refusal = ""
    assert "\n" not in refusal
    return refusal


@given(tree=TREES, verb=st.sampled_from(sorted(VERBS)))
@settings(max_examples=30, deadline=None)
@pytest.mark.slow
def test_a_place_of_others_is_not_entered(root: Path, tree: dict[str, str], verb: str) -> None:
    shutil.rmtree(root / "now", ignore_errors=True)
    there = root / "now" / "share"
    there.mkdir(parents=True)
    plant(root / "now", there, tree)
    before = look(there)
    elsewhere = look(root / "now" / "elsewhere")
    refusal = attempt(root, verb, "a")
    after = look(there)
    assert {name: after.get(name, "gone") for name in before} == before
    assert look(root / "now" / "elsewhere") == elsewhere
    harmless = all(name.startswith(".cai/") for name in tree)
    assert refusal or harmless


def beside(made: Path, root: Path, tree: dict[str, str], verb: str, machine: str) -> None:
    """Give a command where others put things beside a run, and look whether they are as they were."""
    shutil.rmtree(root / "now", ignore_errors=True)
    shutil.copytree(made, root / "now")
    there = root / "now" / "share"
    ours = look(there)
    plant(root / "now", there, tree)
    theirs = {name: held for name, held in look(there).items() if name not in ours and held is not None}
    elsewhere = look(root / "now" / "elsewhere")
    attempt(root, verb, machine)
    after = look(there)
    assert {name: after.get(name, "gone") for name in theirs} == theirs
    assert look(root / "now" / "elsewhere") == elsewhere


BESIDE = given(tree=TREES, verb=st.sampled_from(sorted(VERBS)), machine=st.sampled_from("ab"))


@BESIDE
@settings(max_examples=15, deadline=None)
@pytest.mark.slow
def test_what_others_put_beside_a_run_stays_as_it_is(
    made: Path, root: Path, tree: dict[str, str], verb: str, machine: str
) -> None:
    beside(made, root, tree, verb, machine)


@pytest.mark.chaos
@BESIDE
@settings(max_examples=200, deadline=None)
def test_much_that_others_put_beside_a_run_stays_as_it_is(
    made: Path, root: Path, tree: dict[str, str], verb: str, machine: str
) -> None:
    beside(made, root, tree, verb, machine)


@pytest.mark.parametrize("name", ["README.md", "sft/train.parquet", "run.json"])
@pytest.mark.parametrize("verb", ["export", "fresh"])
def test_what_a_person_put_in_the_place_of_cai_s_is_kept(made: Path, root: Path, name: str, verb: str) -> None:
    shutil.rmtree(root / "now", ignore_errors=True)
    shutil.copytree(made, root / "now")
    theirs = b"mine" if name != "run.json" else b"{}"
    (root / "now" / "share" / name).write_bytes(theirs)
    before = look(root / "now" / "share")
    for machine in "ab":
        refusal = attempt(root, verb, machine)
        assert (name if name != "run.json" else "is not as it was written") in refusal
    assert look(root / "now" / "share") == before


def test_a_foreign_run_json_makes_no_run(share: str) -> None:
    there = RemoteFolder(share)
    for data in (b"{}", b'{"status": "done"}\n'):
        there.write("run.json", data)
        assert not has_run(share)
        for command in VERBS.values():
            with pytest.raises(RunError, match=r"run\.json"):
                command(share)
        assert contents(share) == {"run.json": data}


def test_a_shard_that_is_on_no_record_is_not_fetched(
    share: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on(share)
    name = next(name for name in contents(share) if name.startswith("rows/"))
    there = RemoteFolder(share)
    there.write("rows/000009.parquet", there.read(name))
    Machines(tmp_path, monkeypatch).use("b")
    assert [number // SERIES for number in shard_numbers(checkout(share))] != [0]
    with pytest.raises(RunError, match=r"rows/000009\.parquet is not what cai sent there"):
        fresh(share)
    assert name in contents(share)


def test_a_name_that_the_next_shard_needs_is_refused(share: str) -> None:
    go_on(share)
    name = next(name for name in contents(share) if name.startswith("rows/"))
    number = int(name.removeprefix("rows/").removesuffix(".parquet")) + 1
    RemoteFolder(share).write(f"rows/{number:06}.parquet", b"mine")
    run = open_at(share)
    run.commit(make_row(2))
    with pytest.raises(RunError, match=f"rows/{number:06}.parquet is not what cai sent there, which needs its name"):
        run.close("done")
    assert contents(share)[f"rows/{number:06}.parquet"] == b"mine"
    assert Run.read(run.directory).count() == 3, "the rows are safe here"


def test_at_other_kinds_of_filesystem_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machines(tmp_path, monkeypatch).use("a")
    url = f"memory://{tmp_path.name}/run"
    go_on(url)
    export(url)
    folder = RemoteFolder(url)
    folder.write("notes.txt", b"mine")
    folder.write("README.md", b"mine")
    for command in (export, fresh):
        with pytest.raises(RunError, match=r"README\.md is not what cai sent there"):
            command(url)
    folder.remove(["README.md"])
    Machines(tmp_path, monkeypatch).use("b")
    fresh(url)
    assert {name.partition("/")[0].partition("-")[0] for name in contents(url)} == {
        "notes.txt", "run.json", "rows", "failures"
    }  # fmt: skip
    assert sum(name.startswith(".cai/") for name in folder.sizes()) == 1, (
        "the other machine's record went with its files"
    )


KILLED = """
import os, signal, sys
from cai.core.urls import RemoteFolder
from tests.test_store_remote_owned import VERBS, go_on

left = int(sys.argv[3])

def counted(method):
    def call(self, *arguments):
        global left
        left -= 1
        if left == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        value = method(self, *arguments)
        left -= 1
        if left == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        return value
    return call

for name in ("write", "put", "remove"):
    setattr(RemoteFolder, name, counted(getattr(RemoteFolder, name)))
VERBS[sys.argv[1]](sys.argv[2])
"""


def killed(url: str, verb: str, after: int) -> None:
    """Give a command, whose process dies before or after the step with this number in which it changes the URL."""
    subprocess.run([sys.executable, "-c", KILLED, verb, url, str(after)], check=False, stderr=subprocess.DEVNULL)


def survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, after: int) -> None:
    machines = Machines(tmp_path / str(after), monkeypatch)
    machines.use("a")
    url = (tmp_path / str(after) / "share").as_uri()
    if verb != "go on":
        go_on(url)
        export(url)
    killed(url, verb, after)
    VERBS[verb](url)
    machines.use("b")
    assert Run.read(checkout(url)).count() == 2
    RemoteFolder(url).write("notes.txt", b"mine")
    machines.use("c")
    run = open_at(url, fresh=True)
    assert set(contents(url)) == {"notes.txt", "run.json"}, "all else was on record"
    run.close("done")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
def test_killed_anywhere_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    survives(tmp_path, monkeypatch, verb, random.Random(verb).randrange(10))


@pytest.mark.chaos
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_every_step_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    for after in range(1, 22, 5):
        survives(tmp_path, monkeypatch, verb, after)


def test_names_that_lead_out_are_on_no_record(share: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    go_on(share)
    there = RemoteFolder(share)
    (record,) = (name for name in there.sizes() if name.startswith(".cai/"))
    lines = [json.dumps({"wrote": name}) for name in ("../mine.txt", "rows/../../mine.txt", str(tmp_path / "mine.txt"))]
    there.write(record, b"\n".join([there.read(record), *(line.encode() for line in lines), b'{"wrote": 7}', b"[["]))
    fresh(share)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_run_directory_is_read_at_its_url_and_not_written(share: str, tmp_path: Path) -> None:
    fill(tmp_path / "share", [make_row(0)])
    before = contents(share)
    assert list(Run.read(checkout(share)).rows()) == [make_row(0)]
    for command in VERBS.values():
        with pytest.raises(RunError, match="was filled as a directory, and not through its URL"):
            command(share)
    assert contents(share) == before


def test_two_processes_of_one_copy_lose_no_name(share: str) -> None:
    run = open_at(share)
    run.commit(make_row(0))
    export(share)
    run.close("done")
    publish(run.directory)
    assert {"README.md", "run.json"} < contents(share).keys()
    fresh(share)
    assert "README.md" not in contents(share)


def test_a_run_below_a_url_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machines(tmp_path, monkeypatch).use("a")
    base = (tmp_path / "share").as_uri()
    RemoteFolder(base).write("p.jsonl", b'{"prompt": "hello", "completion": "hi"}\n')
    before = open_prompts(DataSource.parse(base), InputOptions())
    assert "left out" not in str(before.remarks)
    go_on(f"{base}/deep/run")
    export(f"{base}/deep/run")
    fill(tmp_path / "share" / "local", [make_row(0)])
    told = "left out what cai wrote there itself: deep/run, local"
    for place in (base, str(tmp_path / "share")):
        after = open_prompts(DataSource.parse(place), InputOptions())
        assert after.fingerprint == before.fingerprint
        assert after.remarks == (*before.remarks, f"{place}: {told}")
        data = DataSettings((DataSource.parse(place),))
        examples = load_examples("supervised", data, 0)
        assert len(examples.train) == 1
        assert any(told in remark for remark in examples.remarks)
    for place in (f"{base}/deep/run", f"{base}/local"):
        with pytest.raises(InputError, match="is what cai wrote itself"):
            open_prompts(DataSource.parse(place), InputOptions())
    with pytest.raises(InputError, match=r"deep holds no file .* beside what cai wrote there itself: run\.$"):
        open_prompts(DataSource.parse(f"{base}/deep"), InputOptions())


def test_data_is_a_run_by_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machines(tmp_path, monkeypatch).use("a")
    base = (tmp_path / "share").as_uri()
    rows = b'[{"prompt": "hello", "completion": "hi"}]'
    RemoteFolder(base).write("foreign/run.json", rows)
    go_on(f"{base}/run")
    for place in (f"{base}/foreign", str(tmp_path / "share" / "foreign")):
        assert not is_run(DataSource.parse(place))
        assert len(load_examples("supervised", DataSettings((DataSource.parse(place),)), 0).train) == 1
    for place in (f"{base}/run", str(tmp_path / "share" / "run")):
        assert is_run(DataSource.parse(place))
