"""Directories that cai fills: only its own are entered, only what is on record is removed, and no link is followed."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import CaiError, InputError, RunError, UsageError
from cai.core.mark import Kind, kind_of, mark
from cai.data import InputOptions, open_prompts
from cai.data.export import ExportOptions, export_run
from cai.evaluate.directory import EvaluationDirectory
from cai.loop.stage_records import StageRecord, write_record
from cai.rundir import Run
from cai.rundir.claim import claim, is_claimed, join
from cai.rundir.origin import copy_path, read_origin
from cai.train import folder as training
from tests.storage import IDENTITY, fill, make_failure, make_row, open_run

Verb = Callable[[Path, bool], None]
Tree = dict[str, str | None]


def generate(directory: Path, fresh: bool) -> None:
    run = open_run(directory, fresh=fresh)
    run.commit(make_row(0))
    run.fail(make_failure(1))
    run.close("done")
    export_run(directory, ExportOptions())


def export(directory: Path, fresh: bool) -> None:
    export_run(directory, ExportOptions())


def train(directory: Path, fresh: bool) -> None:
    folder = training.enter(directory, IDENTITY, fresh=fresh)
    try:
        if folder.finished() is not None:
            return
        folder.newest_checkpoint(lambda _: None)
        folder.write(training.METRICS, b"{}\n")
        folder.append(training.METRICS, b"{}\n")
        for step in (1, 2, 3):
            folder.begin_checkpoint(step)
            (directory / "checkpoints" / f"checkpoint-{step}").mkdir()
            (directory / "checkpoints" / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"x")
            folder.complete_checkpoint(step, None)
        folder.staging.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder.staging / name).write_bytes(b"weights")
        folder.publish()
        for name in (training.FIGURE, training.CARD):
            folder.write(name, b"x")
        folder.write(training.MANIFEST, json.dumps({"identity": IDENTITY}).encode())
        folder.forget_checkpoints()
    finally:
        folder.release()


def evaluate(directory: Path, fresh: bool) -> None:
    folder = EvaluationDirectory.open(directory, IDENTITY, {}, fresh=fresh)
    try:
        for path in (folder.responses("base"), folder.comparisons("base", "sft")):
            path.write_bytes(b"{}\n")
        folder.write_pictures({"evaluation.png": b"x", "evaluation.svg": b"x"})
        folder.finish({}, {"finished": "now"})
    finally:
        folder.close()


def loop(directory: Path, fresh: bool) -> None:
    with closing(claim(directory, "loop")) as owned:
        write_record(owned, "sft", StageRecord("done", {}))


VERBS: dict[str, Verb] = {"generate": generate, "train": train, "evaluate": evaluate, "loop": loop}

NAMES = [
    "run.json", "run.json.tmp", "run.lock", "train.json", "evaluation.json", "README.md", "README.md.tmp", "notes.txt",
    "failures.jsonl", "failures.jsonl.damaged", "metrics.jsonl", "loss.png", "config.json", "model.safetensors",
    "tokenizer.json", "evaluation.png", "origin.json", "rows/000001.parquet", "rows/000002.parquet", "rows/mine.txt",
    "rows/000001.parquet.tmp", "rows/000001.parquet.damaged", "journal/000001.jsonl", "journal/000002.jsonl.tmp",
    "sft/train.parquet", "preference/test.parquet", "responses/base.jsonl", "comparisons/base~sft.jsonl.damaged",
    "checkpoints/identity.json", "checkpoints/README.md", "checkpoints/checkpoint-2/optimizer.pt", "runs/a/b.txt",
    "checkpoints/checkpoint-9/complete", "stages/sft.json", ".export/sft/train.parquet", ".model/config.json",
    ".cai/record.jsonl", ".cai/0123456789abcdef-0", ".cai/lock",
]  # fmt: skip
CONTENTS = ["", "mine", "{}", '{"format": 2, "identity": {}, "status": "done"}', '{"cai": "run"}\n', "\0\0"]
# A link, to a file or a folder outside or to nothing, is told from a text by its slash.
LINKS = ["/elsewhere/file", "/elsewhere", "/nothing"]
TREES = st.dictionaries(
    st.sampled_from(NAMES) | st.text("ab/", min_size=1, max_size=5).map(lambda name: name.strip("/") or "a"),
    st.sampled_from([*CONTENTS, *LINKS]),
    min_size=1,
    max_size=6,
)


def plant(root: Path, directory: Path, tree: dict[str, str]) -> None:
    """Put foreign files and links where nothing else lies."""
    (root / "elsewhere").mkdir(exist_ok=True)
    (root / "elsewhere" / "file").write_text("out of reach")
    for name, content in tree.items():
        path = directory / name
        # Names that begin with others, or lie where a link or a file of cai's is, cannot be.
        with suppress(OSError):
            if any(parent.is_symlink() for parent in path.parents) or os.path.lexists(path):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("/"):
                path.symlink_to(f"{root}{content}")
            else:
                path.write_text(content)


def look(root: Path) -> Tree:
    """Return all there is below a directory: what files hold, where links lead, and that folders are there."""
    found: Tree = {}
    for parent, folders, names in os.walk(root):
        for name in [*folders, *names]:
            path = Path(parent, name)
            if path.is_symlink():
                found[str(path)] = f"-> {os.readlink(path)}"  # noqa: PTH115
            else:
                found[str(path)] = None if path.is_dir() else path.read_bytes().hex()
    return found


@pytest.mark.parametrize("verb", VERBS)
@given(tree=TREES, fresh=st.booleans())
@settings(max_examples=25, deadline=None)
def test_what_others_wrote_is_neither_entered_nor_touched(
    tmp_path_factory: pytest.TempPathFactory, verb: str, tree: dict[str, str], fresh: bool
) -> None:
    root = tmp_path_factory.mktemp("root")
    out = root / "out"
    out.mkdir()
    plant(root, out, tree)
    before = look(root)
    inside = look(out)
    record = inside.pop(str(out / ".cai" / "record.jsonl"), "")
    if set(inside) <= {str(out / ".cai")} and record in ("", "0000"):
        return  # an empty record is what a process leaves that was killed when it began
    with pytest.raises(RunError, match="not empty"):
        VERBS[verb](out, fresh)
    assert look(root) == before


@pytest.mark.parametrize("verb", [*VERBS, "export"])
@given(tree=TREES, fresh=st.booleans())
@settings(max_examples=25, deadline=None)
@pytest.mark.slow
def test_what_others_put_into_a_directory_of_cai_s_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, verb: str, tree: dict[str, str], fresh: bool
) -> None:
    root = tmp_path_factory.mktemp("root")
    out = root / "out"
    begin = VERBS.get(verb, generate)
    begin(out, False)
    ours = look(out)
    plant(root, out, tree)
    theirs = {name: content for name, content in look(root).items() if name not in ours and name != str(out)}
    before = look(root)
    refusal = ""
    try:
        {**VERBS, "export": export}[verb](out, fresh)
    except CaiError as error:
        refusal = str(error)
    assert "\n" not in refusal
    after = look(root)
    assert {name: after.get(name, "gone") for name in theirs} == theirs
    if fresh and verb in ("generate", "train", "evaluate"):
        beside = {name for name in theirs if name.startswith(f"{out}/")}
        assert bool(refusal) == bool(beside)
        if beside:
            record = str(out / ".cai" / "record.jsonl")
            assert {**after, record: ""} == {**before, record: ""}, "refused, and nothing removed"


@pytest.mark.parametrize("content", ["", "\0" * 100, None])
def test_a_directory_that_a_process_was_killed_in_at_once_is_taken_up(tmp_path: Path, content: str | None) -> None:
    (tmp_path / ".cai").mkdir()
    if content is not None:
        (tmp_path / ".cai" / "record.jsonl").write_text(content)
    fill(tmp_path, [make_row(0)])
    assert list(Run.read(tmp_path).rows()) == [make_row(0)]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_store_claim import VERBS

def count(event, _arguments, left=[int(sys.argv[3])]):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "fcntl.flock", "os.scandir"):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

VERBS["loop"](Path(sys.argv[2], "warm"), False)
sys.addaudithook(count)
VERBS[sys.argv[1]](Path(sys.argv[2], "out"), sys.argv[4] == "fresh")
"""


@pytest.mark.parametrize("verb", ["evaluate", "train"])
@pytest.mark.slow
def test_killed_anywhere_the_same_command_goes_on_and_fresh_knows_all_of_it(tmp_path: Path, verb: str) -> None:
    draw = random.Random(verb)
    for after in sorted(draw.sample(range(60), 2)):
        place = tmp_path / str(after)
        place.mkdir()
        for how in ("begin", "fresh"):
            subprocess.run([sys.executable, "-c", KILLED, verb, place, str(after), how], check=False)
        VERBS[verb](place / "out", False)
        (place / "out" / "notes.txt").write_text("mine")
        with pytest.raises(RunError, match=r"holds notes\.txt, which cai did not write"):
            VERBS[verb](place / "out", True)
        (place / "out" / "notes.txt").unlink()
        VERBS[verb](place / "out", True)


def test_a_directory_is_of_one_kind(tmp_path: Path) -> None:
    kinds: dict[str, Kind] = {"generate": "run", "train": "training", "evaluate": "evaluation", "loop": "loop"}
    for verb, kind in kinds.items():
        VERBS[verb](tmp_path / verb, False)
        assert kind_of(tmp_path / verb) == kind
        for other in VERBS.keys() - {verb}:
            before = look(tmp_path / verb)
            with pytest.raises(RunError, match=r"; give --out another directory\.$"):
                VERBS[other](tmp_path / verb, True)
            assert look(tmp_path / verb) == before


def test_names_that_lead_out_of_the_directory_are_on_no_record(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    out = tmp_path / "out"
    fill(out, [])
    with (out / ".cai" / "record.jsonl").open("a") as file:
        for name in ("../mine.txt", f"{tmp_path}/mine.txt", "rows/../../mine.txt", ".cai/record.jsonl", "", "a//b", 7):
            file.write("\n" + json.dumps({"wrote": name}))
        file.write('\n{"wrote": "torn')
    fill(out, [make_row(0)])
    open_run(out, fresh=True).close("done")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["rows", "journal", "run.json", "failures.jsonl"])
def test_a_link_in_place_of_what_is_cai_s_is_refused(tmp_path: Path, name: str) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"
    fill(out, [make_row(0)], [make_failure(1)])
    (out / name).rename(moved)
    (out / name).symlink_to(moved)
    before = look(tmp_path)
    for fresh in (False, True):
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            open_run(out, fresh=fresh)
    record = str(out / ".cai" / "record.jsonl")
    assert {**look(tmp_path), record: ""} == {**before, record: ""}


def test_out_may_be_a_link_and_lie_below_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for out in (tmp_path / "link", tmp_path / "link" / "run"):
        fill(out, [make_row(0)])
        open_run(out, fresh=out.name == "run").close("done")
        if out.name == "link":
            with closing(claim(out, "run", fresh=True)) as owned:
                owned.clear()


def test_what_a_killed_process_left_half_made_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, [])
    with closing(join(tmp_path, "run")) as owned:
        left = owned.temporary()
        left.write_bytes(b"half")
        fill(tmp_path, [])
        assert left.exists(), "its process lives"
    record = tmp_path / ".cai" / "record.jsonl"
    record.write_bytes(record.read_bytes().replace(b'"process": %d' % os.getpid(), b'"process": 999999999'))
    fill(tmp_path, [])
    assert not left.exists()


def test_a_held_directory_is_told(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path)
    with closing(claim(tmp_path, "loop")):
        assert is_claimed(tmp_path)
    assert not is_claimed(tmp_path)


def test_a_mark_says_what_it_is_and_nothing_else_does() -> None:
    from cai.core.mark import parse_mark  # noqa: PLC0415

    assert parse_mark(mark("run", "1.0") + b'\n{"wrote": "a"}') == "run"
    house = b'{"cai": "house", "format": 1}\n'
    for other in (b"", b"{}\n", b'{"cai": "run"}\n', house, mark("run", "1")[:-1], b"[" * 4000):
        assert parse_mark(other) is None


def test_a_copied_or_planted_origin_is_nobody_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = (tmp_path / "share").as_uri()
    planted = tmp_path / "run"
    fill(planted, [make_row(0)])
    (planted / "origin.json").write_text(json.dumps({"url": url, "series": 7}))
    assert read_origin(planted) is None
    export_run(planted, ExportOptions())
    fill(planted, [make_row(1)])
    with pytest.raises(RunError, match=r"holds origin\.json"):
        open_run(planted, fresh=True)
    assert not (tmp_path / "share").exists()
    beside = copy_path(url).with_name("another-name")
    beside.parent.mkdir(parents=True)
    planted.rename(beside)
    assert read_origin(beside) is None, "not where the copy of that URL lies"


def test_what_cai_wrote_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "hello"}\n')
    before = open_prompts(DataSource.parse(str(tmp_path)), InputOptions())
    assert before.remarks == ()
    generate(tmp_path / "deep" / "run", False)
    evaluate(tmp_path / "evaluation", False)
    after = open_prompts(DataSource.parse(str(tmp_path)), InputOptions())
    assert after.fingerprint == before.fingerprint
    assert len(list(after)) == 1
    assert after.remarks == (f"{tmp_path}: left out what cai wrote there itself: deep/run, evaluation",)
    with pytest.raises(InputError, match="is what cai wrote itself"):
        open_prompts(DataSource.parse(str(tmp_path / "deep" / "run")), InputOptions())


def test_unusable_places_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self/none")):
        with pytest.raises((RunError, UsageError, CaiError)) as caught:
            claim(place, "loop")
        assert "\n" not in str(caught.value)
