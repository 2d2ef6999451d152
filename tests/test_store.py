"""A run directory: what goes in comes out, once, in order, and only under the same identity."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import RowError, RunError
from cai.core.records import Prompt, Row, Usage
from cai.data.export import ExportOptions, export_run
from cai.rundir import Run
from cai.rundir import run as run_module
from cai.rundir.documents import make_document
from cai.rundir.layout import SERIES, journal_numbers, shard_numbers, shard_path
from cai.rundir.manifest import FORMAT
from cai.rundir.reader import merge
from tests.storage import IDENTITY, fill, journal_line, make_failure, make_row, open_run, put


@pytest.fixture
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "JOURNAL_ROWS", 10)


def test_rows_come_out_by_ordinal_however_they_went_in(tmp_path: Path, small_journals: None) -> None:
    rows = [make_row(number) for number in range(75)]
    fill(tmp_path / "run", [rows[number * 7 % 75] for number in range(75)])
    assert shard_numbers(tmp_path / "run") == list(range(1, 9))
    assert journal_numbers(tmp_path / "run") == []
    reader = Run.read(tmp_path / "run")
    assert list(reader.rows()) == rows
    assert reader.row("prompt-33") == rows[33]
    assert reader.row("prompt-75") is None


def test_shards_have_the_schema_and_sorted_ordinals(tmp_path: Path, small_journals: None) -> None:
    fill(tmp_path, [make_row(number) for number in reversed(range(10))])
    ordinals = [row["prompt"]["ordinal"] for row in pq.read_table(shard_path(tmp_path, 1)).to_pylist()]
    assert ordinals == list(range(10))


def test_an_open_run_is_readable_by_itself_and_by_others(tmp_path: Path, small_journals: None) -> None:
    rows = [make_row(number) for number in range(25)]
    run = open_run(tmp_path)
    for row in rows:
        run.commit(row)
    assert list(run.rows()) == rows
    assert list(Run.read(tmp_path).rows()) == rows
    assert Run.read(tmp_path).count() == 25
    assert run.row("prompt-24") == rows[24]
    run.close("interrupted")
    assert journal_numbers(tmp_path) == [3]
    assert list(Run.read(tmp_path).rows()) == rows


def test_a_journal_sealed_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    rows = [make_row(number) for number in range(25)]
    run = open_run(tmp_path)
    for row in rows:
        run.commit(row)
    reading = Run.read(tmp_path).rows()
    start = [next(reading)]
    run.close("done")
    assert journal_numbers(tmp_path) == []
    assert start + list(reading) == rows


def test_a_resumed_run_knows_what_is_finished(tmp_path: Path, small_journals: None) -> None:
    rows = [make_row(number) for number in range(30)]
    run = open_run(tmp_path)
    for row in rows[:14]:
        run.commit(row)
    run.close("interrupted")
    run = open_run(tmp_path)
    assert [run.is_finished(f"prompt-{number}") for number in range(30)] == [True] * 14 + [False] * 16
    assert run.finished == 14
    assert run.usage == Usage(140, 14 * 1000 + sum(range(14)), 14 * 300, 14 * 200)
    for row in rows[14:]:
        run.commit(row)
    run.close("done")
    assert list(run.rows()) == rows
    manifest = Run.read(tmp_path).manifest
    assert (manifest.status, manifest.rows, manifest.failures) == ("done", 30, 0)
    assert manifest.usage == Usage(300, 30 * 1000 + sum(range(30)), 30 * 300, 30 * 200)


def test_a_prompt_has_one_row_the_first(tmp_path: Path) -> None:
    row, other = make_row(1), make_row(2)
    run = open_run(tmp_path)
    run.commit(row)
    run.commit(Row(row.prompt, other.traces, other.verdicts, other.usage, other.provenance))
    run.close("done")
    assert list(run.rows()) == [row]
    assert run.usage == row.usage


def test_a_stale_journal_beside_its_shard_counts_once(tmp_path: Path, small_journals: None) -> None:
    rows = [make_row(number) for number in range(10)]
    fill(tmp_path, rows)
    put(tmp_path, "journal/000001.jsonl", b"".join(map(journal_line, rows)))
    assert list(Run.read(tmp_path).rows()) == rows
    assert Run.read(tmp_path).count() == 10
    run = open_run(tmp_path)
    assert run.finished == 10
    assert journal_numbers(tmp_path) == [2]
    run.close("done")
    assert list(run.rows()) == rows


def test_a_full_journal_in_bytes_begins_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "JOURNAL_BYTES", 2 * len(orjson.dumps(make_row(0))))
    fill(tmp_path, [make_row(number) for number in range(9)])
    assert len(shard_numbers(tmp_path)) >= 3
    assert [row.prompt.ordinal for row in Run.read(tmp_path).rows()] == list(range(9))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(texts=st.lists(TEXT, min_size=1, max_size=5), gate=st.none() | st.floats(0, 1))
@settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_any_text_survives_journal_and_shard(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], gate: float | None
) -> None:
    base = make_row(0)
    rows = []
    for number, text in enumerate(texts):
        prompt = Prompt(f"{number}{text}", number, ({"role": "user", "content": text},), tuple(texts[:number]))
        rows.append(Row(prompt, base.traces[:number], base.verdicts[:number], base.usage, base.provenance))
    run = open_run(tmp_path_factory.mktemp("run") / "run")
    for row in rows:
        run.commit(row)
    assert list(run.rows()) == rows
    run.close("done")
    assert list(run.rows()) == rows


def test_a_text_that_is_no_unicode_is_the_rows_failure(tmp_path: Path) -> None:
    row = make_row(0)
    broken = Row(
        Prompt("p", 0, ({"role": "user", "content": "\ud800"},)), row.traces, row.verdicts, row.usage, row.provenance
    )
    run = open_run(tmp_path)
    with pytest.raises(RowError, match="UTF-8"):
        run.commit(broken)
    run.commit(row)
    run.close("done")
    assert list(run.rows()) == [row]


def test_a_changed_identity_is_refused_and_told(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(0)])
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path, {**IDENTITY, "model": "other", "judge": "new"}, {})
    message = str(caught.value)
    assert "model: the run has scripted, now other" in message
    assert "judge: the run has none, now new" in message
    assert "constitution" not in message
    assert "--out" in message
    assert "--fresh" in message
    assert list(Run.read(tmp_path).rows()) == [make_row(0)]


def test_fresh_removes_what_cai_wrote_and_refuses_where_anything_else_lies(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(0)], [make_failure(1)])
    export_run(tmp_path, ExportOptions())
    rows = list(Run.read(tmp_path).rows())
    for name in ("sft/mine.txt", "notes.md", "rows/000002.parquet.tmp"):
        (tmp_path / name).write_text("x")
        with pytest.raises(RunError, match=rf"holds {re.escape(name)}, which cai did not write"):
            Run.open(tmp_path, {"model": "other"}, {}, fresh=True)
        assert (tmp_path / name).read_text() == "x"
        assert list(Run.read(tmp_path).rows()) == rows
        (tmp_path / name).unlink()
    run = Run.open(tmp_path, {"model": "other"}, {}, fresh=True)
    assert not run.is_finished("prompt-0")
    assert not run.is_finished("prompt-1")
    run.close("done")
    assert list(run.rows()) == []
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"run.json", ".cai/record.jsonl", "failures.jsonl"}
    assert run.manifest.identity == {"model": "other"}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_directory_is_refused_and_untouched(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"not a run and not empty \(it holds thesis.tex\)"):
        open_run(tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_reading_what_is_no_run_says_so(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="is not a run"):
            Run.read(directory)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        open_run(tmp_path / "file")


@pytest.mark.parametrize(("text", "says"), [("{", "is no JSON"), ("{}", "is not as it was written")])
def test_a_broken_manifest_is_told(tmp_path: Path, text: str, says: str) -> None:
    fill(tmp_path, [])
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=says):
        open_run(tmp_path)


def test_another_format_is_told(tmp_path: Path) -> None:
    fill(tmp_path, [])
    manifest = orjson.loads((tmp_path / "run.json").read_bytes())
    (tmp_path / "run.json").write_bytes(make_document({**manifest, "format": 1}))
    with pytest.raises(RunError, match=f"format 1, this cai reads format {FORMAT}"):
        Run.read(tmp_path)


def test_the_name_of_a_new_run_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("cai.rundir.claim.sync_folder", synced.append)
    open_run(tmp_path / "all" / "run").close("done")
    assert {tmp_path, tmp_path / "all", tmp_path / "all" / "run", tmp_path / "all" / "run" / ".cai"} == set(synced)
    synced.clear()
    open_run(tmp_path / "all" / "run").close("done")
    assert not synced


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tests.storage import open_run\n"
        "from cai.core.errors import RunError\n"
        "try: open_run(Path(sys.argv[1]))\n"
        "except RunError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert f"in use by process {os.getpid()}" in told
    run.close("done")
    told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert told == ""


def test_a_refused_open_lets_go_of_the_lock(tmp_path: Path) -> None:
    fill(tmp_path, [])
    for _ in range(2):
        with pytest.raises(RunError, match="other settings"):
            Run.open(tmp_path, {"model": "other"}, {})
    open_run(tmp_path).close("done")


def test_failures_for_good_are_finished_and_others_owed(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.fail(make_failure(0))
    run.fail(make_failure(1, retryable=True))
    run.fail(make_failure(2, retryable=True))
    run.fail(make_failure(1, retryable=True, stage="critique"))
    assert [run.is_finished(f"prompt-{number}") for number in range(3)] == [True, False, False]
    run.close("interrupted")
    run = open_run(tmp_path)
    assert [run.is_finished(f"prompt-{number}") for number in range(3)] == [True, False, False]
    assert run.failed == 3
    run.commit(make_row(2))
    assert run.failed == 2
    run.fail(make_failure(2))
    run.close("done")
    left = [make_failure(0), make_failure(1, retryable=True, stage="critique")]
    assert list(Run.read(tmp_path).failures()) == left
    assert Run.read(tmp_path).failure_counts() == {
        ("request", "it did not work"): 1,
        ("critique", "it did not work"): 1,
    }
    assert run.manifest.failures == 2


def test_a_failure_keeps_text_that_is_no_unicode_as_escapes(tmp_path: Path) -> None:
    failure = make_failure(0)
    run = open_run(tmp_path)
    run.fail(type(failure)("p", 0, "input", "bad \ud800", "\udfff", False))
    run.close("done")
    assert [(item.cause, item.raw) for item in run.failures()] == [("bad \\ud800", "\\udfff")]


def test_tokens_without_a_row_are_kept_apart(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.note_usage(Usage(1, 2, 3, 4))
    run.close("interrupted")
    run = open_run(tmp_path)
    run.note_usage(Usage(1, 2, 3, 4))
    run.close("done")
    assert run.manifest.lost_usage == Usage(2, 4, 6, 8)
    assert run.manifest.usage == Usage(0, 0, 0, 0)


def test_closing_twice_changes_nothing(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.close("interrupted")
    run.close("done")
    assert run.manifest.status == "interrupted"


def test_no_number_is_given_twice_when_a_series_is_used_up(tmp_path: Path) -> None:
    open_run(tmp_path).close("interrupted")
    put(tmp_path, f"journal/{SERIES - 1}.jsonl", journal_line(make_row(0)))
    open_run(tmp_path).close("done")
    for number in range(1, 4):
        fill(tmp_path, [make_row(number)])
    assert shard_numbers(tmp_path) == [SERIES - 1, SERIES, SERIES + 1, SERIES + 2]
    assert list(Run.read(tmp_path).rows()) == [make_row(number) for number in range(4)]


class Recorder:
    """A source that notes when it is opened."""

    def __init__(self, numbers: list[int], opened: list[int]) -> None:
        self.first_ordinal = numbers[0]
        self._numbers = numbers
        self._opened = opened

    def rows(self) -> Iterator[Row]:
        self._opened.append(self.first_ordinal)
        yield from map(make_row, self._numbers)


def test_sources_are_opened_when_their_turn_comes() -> None:
    opened: list[int] = []
    merged = merge([Recorder([20, 21], opened), Recorder([0, 1, 5], opened), Recorder([2, 6], opened)])
    places = {row.prompt.ordinal: list(opened) for row in merged}
    assert list(places) == [0, 1, 2, 5, 6, 20, 21]
    assert places[1] == [0]
    assert places[6] == [0, 2]
    assert places[20] == [0, 2, 20]


def test_a_row_in_two_sources_comes_once() -> None:
    merged = merge([Recorder([0, 1, 2], []), Recorder([1, 2, 3], [])])
    assert [row.prompt.ordinal for row in merged] == [0, 1, 2, 3]
