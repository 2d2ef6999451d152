"""Rows that are left out: dropped, or of prompts that are not asked any more. They come back, and nothing is lost."""

import errno
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import RunError, StoreError, UsageError
from cai.core.records import Failure, PartFailure, Prompt, Row
from cai.data.examples.runs import RunChoices, RunExamples
from cai.data.export import ExportOptions, ExportSummary, export_run
from cai.rundir import Run
from cai.rundir.checkout import checkout, working_copy
from cai.rundir.drop import RowChoice, drop_rows, parse_condition
from cai.rundir.layout import LEFT_OUT
from cai.rundir.lines import LineFile, salt
from tests.remote import Machines, contents
from tests.storage import IDENTITY, abstention, fill, fill_inputs, inputs_of, make_failure, make_row, open_run, user

SHARE = ExportOptions(test_share=0.3)


def ids(directory: Path) -> list[str]:
    return [row.prompt.id for row in Run.read(directory)]


def exported(directory: Path) -> tuple[ExportSummary, dict[str, bytes]]:
    """Export a run and return what was said and the bytes of all files, the card's too."""
    summary = export_run(directory, SHARE)
    files = [*directory.glob("*/*.parquet"), directory / "README.md"]
    return replace(summary, remarks=()), {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in files if path.parent.name != "rows"
    }


def prompt(name: str, text: str, *tags: str) -> Prompt:
    return Prompt(name, 0, (user(text),), tags)


def named(prompt: Prompt) -> tuple[str, str]:
    return prompt.id, prompt.messages[0]["content"]


def chosen(*names: int) -> RowChoice:
    return RowChoice(ids=frozenset(f"prompt-{number}" for number in names))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    fill(directory, map(make_row, range(10)), [make_failure(10)])
    return directory


def test_dropped_rows_leave_every_reader_and_come_back(run: Path) -> None:
    before = exported(run)
    dropped = drop_rows(run, chosen(2, 5, 99), "why")
    assert (dropped.changed, dropped.before, dropped.absent) == (2, 0, 1)
    reader = Run.read(run)
    kept = [number for number in range(10) if number not in (2, 5)]
    assert list(reader) == [make_row(number) for number in kept]
    assert reader.count() == 8
    assert reader.row("prompt-2") is None
    assert reader.row("prompt-2", "left out") == make_row(2)
    assert list(reader.rows("left out")) == [make_row(2), make_row(5)]
    assert list(reader.rows("all")) == list(map(make_row, range(10)))
    assert reader.left_out().counts() == {"dropped": 2}
    assert [failure.id for failure in reader.failures()] == ["prompt-10"]
    summary, files = exported(run)
    assert (summary.rows, summary.left_out) == (8, {"dropped": 2})
    assert b"rows: dropped" in files["README.md"]
    source = RunExamples(DataSource.parse(str(run)), "prompts", RunChoices())
    assert len(list(source.examples())) == 8
    assert drop_rows(run, RowChoice(), "never mind", undo=True).changed == 2
    assert exported(run) == before


def test_a_dropped_row_is_not_made_again(run: Path) -> None:
    drop_rows(run, chosen(2), "why")
    again = open_run(run)
    assert again.is_finished("prompt-2")
    again.close("done")
    assert (again.manifest.rows, again.remarks) == (10, ())
    assert Run.read(run).count() == 9


def test_dropping_twice_is_dropping_once(run: Path) -> None:
    drop_rows(run, chosen(1, 2), "why")
    record = (run / LEFT_OUT).read_bytes()
    again = drop_rows(run, chosen(1, 2), "why")
    assert (again.changed, again.before) == (0, 2)
    assert (run / LEFT_OUT).read_bytes() == record
    assert drop_rows(run, chosen(2, 3), "more").changed == 1
    assert drop_rows(run, chosen(2, 4), "back", undo=True).changed == 1
    assert Run.read(run).left_out().counts() == {"dropped": 2}
    for text in (b"prompt-1", b'"why":"more"', b'"who"', b'"when"'):
        assert text in (run / LEFT_OUT).read_bytes()


@given(st.lists(st.tuples(st.sets(st.integers(0, 9), min_size=1), st.booleans()), max_size=6))
@settings(max_examples=15, deadline=None)
def test_what_is_dropped_is_what_was_said_last(steps: list[tuple[set[int], bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "run")
        fill(directory, map(make_row, range(10)))
        before = exported(directory)
        dropped: set[int] = set()
        for numbers, undo in steps:
            drop_rows(directory, chosen(*numbers), "why", undo=undo)
            dropped = dropped - numbers if undo else dropped | numbers
            assert ids(directory) == [f"prompt-{number}" for number in range(10) if number not in dropped]
        if dropped:
            drop_rows(directory, RowChoice(), "why", undo=True)
        assert exported(directory) == before


def test_conditions_choose_rows(tmp_path: Path) -> None:
    rows = [make_row(number) for number in range(6)]
    trace = rows[1].traces[0]
    rows[0] = replace(rows[0], prompt=replace(rows[0].prompt, tags=("a", "b")))
    rows[1] = replace(rows[1], traces=(replace(trace, truncated=True),), verdicts=())
    rows[2] = replace(rows[2], traces=(replace(trace, rounds=(replace(trace.rounds[0], truncated=True),)),))
    rows[3] = replace(rows[3], verdicts=(abstention("response:0", "response:1", "a tie"),))
    rows[4] = replace(rows[4], failed=(PartFailure("sample:1", "critique", "kind", "cause", "", ()),))
    fill(tmp_path, rows)

    def matching(*texts: str) -> list[int]:
        choice = RowChoice(conditions=tuple(map(parse_condition, texts)))
        return [row.prompt.ordinal for row in rows if choice.holds(row)]

    assert matching("tag=b") == [0]
    assert matching("prompt=question 4 ") == [4]
    assert matching("principle=kind-tone") == [0, 1, 2, 3, 4, 5]
    assert matching("truncated=response") == [1]
    assert matching("truncated=revision") == [2]
    assert matching("abstained=a tie") == [3]
    assert matching("failed=critique") == [4]
    assert matching("tag=tag", "failed=critique") == [4]
    assert matching("tag=a", "failed=critique") == []
    drop_rows(tmp_path, RowChoice(conditions=(("tag", "tag"), ("failed", "critique"))), "why")
    assert ids(tmp_path) == [f"prompt-{number}" for number in (0, 1, 2, 3, 5)]


@pytest.mark.parametrize("text", ["tag", "tag=", "colour=red", "truncated=prompt", "=x"])
def test_what_is_no_condition_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is no condition"):
        parse_condition(text)


def test_no_such_row_is_told(run: Path) -> None:
    with pytest.raises(RunError, match="has no such row, so nothing was dropped"):
        drop_rows(run, RowChoice(conditions=(("tag", "nothing"),)), "why")
    with pytest.raises(RunError, match="nothing was taken back"):
        drop_rows(run, RowChoice(), "why", undo=True)
    assert not (run / LEFT_OUT).exists()


def test_a_damaged_record_is_refused_by_whoever_reads(run: Path) -> None:
    drop_rows(run, chosen(1), "why")
    path = run / LEFT_OUT
    path.write_bytes(path.read_bytes().replace(b"prompt-1", b"prompt-7"))
    uses: list[Callable[[Path], object]] = [
        ids,
        partial(export_run, options=SHARE),
        open_run,
        partial(drop_rows, choice=chosen(2), why="why"),
    ]
    for use in uses:
        with pytest.raises(RunError, match="has damaged lines, so nobody knows which rows were dropped; restore it"):
            use(run)
    assert b"prompt-7" in path.read_bytes()


def no_space(descriptor: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


DROPPING = """
import os, sys
from pathlib import Path
from cai.rundir import left_out, lines
from cai.rundir.drop import RowChoice, drop_rows
left_out.ROWS_PER_LINE = 2
write, left = os.write, [int(sys.argv[2])]
def writing(descriptor, data):
    # Killed in the middle of the n-th line of the record.
    if b'"reason"' in data:
        left[0] -= 1
        if left[0] < 0:
            write(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), 9)
    return write(descriptor, data)
os.write = writing
drop_rows(Path(sys.argv[1]), RowChoice(ids=frozenset(f"prompt-{n}" for n in range(7))), "why")
"""


@pytest.mark.parametrize("lines", range(5))
def test_killed_while_dropping_all_of_it_has_happened_or_nothing(run: Path, lines: int) -> None:
    command = [sys.executable, "-c", DROPPING, str(run), str(lines)]
    code = subprocess.run(command, check=False).returncode
    assert code == (-signal.SIGKILL if lines < 4 else 0)
    assert Run.read(run).count() == (10 if lines < 4 else 3)
    open_run(run).close("done")
    assert drop_rows(run, chosen(*range(7)), "why").changed == (7 if lines < 4 else 0)
    assert ids(run) == ["prompt-7", "prompt-8", "prompt-9"]
    drop_rows(run, RowChoice(), "why", undo=True)
    assert list(Run.read(run)) == list(map(make_row, range(10)))


def test_a_disk_that_refuses_takes_back_no_line_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (LineFile(tmp_path / "lines", salt("test")) for _ in range(2))
    first.append(b'{"is":"first"}')
    written = (tmp_path / "lines").read_bytes()
    second.lock()
    with monkeypatch.context() as full:
        full.setattr("os.write", no_space)
        with pytest.raises(StoreError, match="cannot be written"):
            second.append(b'{"is":"second"}')
    assert (tmp_path / "lines").read_bytes() == written
    first.close()
    second.close()


def test_a_row_made_again_supersedes_its_prompts_first_whatever_was_asked_in_between(tmp_path: Path) -> None:
    directory, whole = tmp_path / "run", make_row(0)
    lacking = replace(whole, failed=(PartFailure("sample:0", "sample", "refused", "cause", "", ()),))
    other = replace(whole, prompt=replace(whole.prompt, messages=(user("changed"),)), failed=())
    for row, retry_failed in ((lacking, False), (other, False), (whole, True)):
        run = Run.open(directory, IDENTITY, {}, inputs=inputs_of(row.prompt), retry_failed=retry_failed)
        run.commit(row)
        run.close("done")
    assert list(Run.read(directory).rows("all")) == [whole, other]
    with pytest.raises(RunError, match="no such row"):
        drop_rows(directory, RowChoice(conditions=(("failed", "sample"),)), "why")
    drop_rows(directory, chosen(0), "why")
    assert list(Run.read(directory).rows("left out")) == [whole, other]


def test_a_run_that_is_written_to_may_lose_rows(run: Path) -> None:
    writing = open_run(run)
    writing.commit(make_row(11))
    drop_rows(run, chosen(11, 1), "why")
    writing.commit(make_row(12))
    writing.close("done")
    assert ids(run) == [f"prompt-{number}" for number in (0, *range(2, 10), 12)]


def test_rows_are_dropped_at_a_url_and_come_back_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines, url = Machines(tmp_path, monkeypatch), f"file://{tmp_path}/there/run"
    machines.use("a")
    fill(working_copy(url), map(make_row, range(4)))
    drop_rows(checkout(url), chosen(1), "why")
    assert any(name.startswith("left-out-") for name in contents(url))
    machines.use("b")
    assert ids(checkout(url)) == ["prompt-0", "prompt-2", "prompt-3"]
    drop_rows(checkout(url), chosen(1), "back", undo=True)
    drop_rows(checkout(url), chosen(2), "this one")
    machines.use("a")
    assert ids(checkout(url)) == ["prompt-0", "prompt-1", "prompt-3"]


A, B, C = prompt("a", "What is a fever?", "x"), prompt("b", "How do I sleep?"), prompt("c", "Who are you?")


def test_rows_of_prompts_that_are_gone_are_left_out_until_they_are_back(tmp_path: Path) -> None:
    fill_inputs(tmp_path, A, B, C)
    before = exported(tmp_path)
    run = fill_inputs(tmp_path, C)
    assert run.remarks == (
        "2 rows whose prompts are no longer in the input, or changed, left out; the same prompts bring them back",
    )
    assert ids(tmp_path) == ["c"]
    assert (run.finished, run.manifest.rows, Run.read(tmp_path).count()) == (1, 3, 1)
    assert exported(tmp_path)[0].left_out == {"not in the input any more": 2}
    run = fill_inputs(tmp_path, A, B, C)
    assert run.remarks == ("2 rows are back: the input has their prompts again",)
    assert exported(tmp_path) == before
    assert fill_inputs(tmp_path, A, B, C).remarks == ()


def test_a_prompt_that_changed_under_its_id_is_asked_again(tmp_path: Path) -> None:
    other, tagged = prompt("a", "What is a cold?", "x"), replace(A, tags=("y",))
    fill_inputs(tmp_path, A, B)
    before = exported(tmp_path)
    for changed in (other, tagged):
        fill_inputs(tmp_path, changed, B)
        assert [(row.prompt.messages, row.prompt.tags) for row in Run.read(tmp_path)] == [
            (changed.messages, changed.tags),
            (B.messages, ()),
        ]
        found = Run.read(tmp_path).row("a")
        assert found is not None
        assert found.prompt.tags == changed.tags
    fill_inputs(tmp_path, A, B)
    summary, files = exported(tmp_path)
    assert summary == replace(before[0], left_out={"not in the input any more": 2})
    assert [name for name in files if files[name] != before[1][name]] == ["README.md"]
    assert [row.prompt.messages for row in Run.read(tmp_path)] == [A.messages, B.messages]


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=5), st.sets(st.integers(0, 7)))
@settings(max_examples=15, deadline=None)
@pytest.mark.slow
def test_adding_and_removing_prompts_changes_no_row_of_the_others(changes: list[set[int]], last: set[int]) -> None:
    """Each set is which of eight prompts the input has; some prompts share an id and differ in their words."""
    prompts = [prompt(f"p{number // 2 if number < 4 else number}", f"question {number}") for number in range(8)]

    def take(numbers: set[int]) -> list[Prompt]:
        return list({item.id: item for item in (prompts[number] for number in sorted(numbers))}.values())

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "run")
        made: dict[tuple[str, str], Row] = {}
        for numbers in (*changes, last):
            asked = take(numbers)
            fill_inputs(directory, *asked)
            rows = list(Run.read(directory))
            assert sorted(named(row.prompt) for row in rows) == sorted(named(prompt) for prompt in asked)
            for row in rows:
                assert made.setdefault(named(row.prompt), row) == row, "a row that was there was made again"


def test_a_change_of_the_input_is_read_no_further_than_it_must_be(tmp_path: Path) -> None:
    fill_inputs(tmp_path, A, B)
    read: list[str] = []

    def reading() -> Iterator[Prompt]:
        for item in (A, B, C):
            read.append(item.id)
            yield item

    Run.open(tmp_path, IDENTITY, {}, inputs=replace(inputs_of(A, B, C), prompts=reading)).close("done")
    assert read == ["a", "b"]
    Run.open(tmp_path, IDENTITY, {}, inputs=replace(inputs_of(A, B, C), prompts=reading)).close("done")
    assert read == ["a", "b"]


def test_a_failure_is_of_the_input_in_which_it_was(tmp_path: Path) -> None:
    run = Run.open(tmp_path, IDENTITY, {}, inputs=inputs_of(A, B))
    run.fail(Failure("a", 0, "request", "too long", "", retryable=False))
    run.close("done")
    run = Run.open(tmp_path, IDENTITY, {}, inputs=inputs_of(A, B, C))
    assert not run.is_finished("a")
    assert run.failed == 0
    run.close("done")
    assert list(Run.read(tmp_path).failures()) == []
    run = Run.open(tmp_path, IDENTITY, {}, inputs=inputs_of(A, B))
    assert run.is_finished("a")
    run.close("done")


def test_a_dropped_row_that_is_not_asked_any_more_stays_dropped_when_it_is_back(tmp_path: Path) -> None:
    fill_inputs(tmp_path, A, B)
    drop_rows(tmp_path, RowChoice(ids={"a"}), "why")
    fill_inputs(tmp_path, B)
    assert Run.read(tmp_path).left_out().counts() == {"not in the input any more": 1}
    fill_inputs(tmp_path, A, B)
    assert Run.read(tmp_path).left_out().counts() == {"dropped": 1}
    assert ids(tmp_path) == ["b"]


def test_an_interrupted_change_of_the_input_is_made_whole_by_either_input(tmp_path: Path) -> None:
    fill_inputs(tmp_path / "run", A, B)
    manifest = (tmp_path / "run" / "run.json").read_bytes()
    fill_inputs(tmp_path / "run", B)
    (tmp_path / "run" / "run.json").write_bytes(manifest)  # as a process leaves it that was killed in between
    for name, asked in (("old", (A, B)), ("new", (B,))):
        shutil.copytree(tmp_path / "run", tmp_path / name)
        fill_inputs(tmp_path / name, *asked)
        assert ids(tmp_path / name) == [item.id for item in asked]


def test_a_row_made_again_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    run = Run.open(tmp_path, IDENTITY, {}, inputs=inputs_of(A, B))
    lacking = replace(make_row(0), prompt=A, failed=(PartFailure("sample:1", "response", "k", "c", "", ()),))
    run.commit(lacking)
    run.commit(replace(make_row(1), prompt=replace(B, ordinal=1)))
    run.close("done")
    run = Run.open(tmp_path, IDENTITY, {}, inputs=inputs_of(C, B, A), retry_failed=True)
    run.commit(replace(make_row(0), prompt=replace(A, ordinal=2)))
    run.close("done")
    assert [(row.prompt.id, bool(row.failed)) for row in Run.read(tmp_path)] == [("a", False), ("b", False)]
