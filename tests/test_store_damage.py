"""Files of a run that are not as they were written: no wrong row is read, and the same command makes the rest again."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai.core.addresses import DataSource
from cai.core.arrow import ROW
from cai.core.digest import add_digest, check_digest
from cai.core.errors import CaiError, InputError, RunError
from cai.data.examples.runs import RunChoices, RunExamples
from cai.data.export import ExportOptions, export_run
from cai.data.tables import ParquetSource
from cai.rundir import Run
from cai.rundir import run as run_module
from cai.rundir.layout import journal_path, shard_path, split_path
from tests.disturbing import exports
from tests.storage import fill, journal_line, make_failure, make_row, open_run

TOTAL, DONE, FAILED = 40, 33, (35, 38)
ROWS = [make_row(number) for number in range(TOTAL) if number not in FAILED]
CASES = int(os.environ.get("CAI_CHAOS_CASES", "2000")) // 10


@pytest.fixture(scope="module", autouse=True)
def small_journals() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_module, "JOURNAL_ROWS", 10)
        yield


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three shards, a journal and two failures, that is not finished."""
    directory = tmp_path_factory.mktemp("interrupted") / "run"
    run = open_run(directory)
    for row in ROWS[:DONE]:
        run.commit(row)
    for number in FAILED:
        run.fail(make_failure(number))
    run.close("interrupted")
    return directory


@pytest.fixture(scope="module")
def undisturbed(interrupted: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(interrupted, directory)
    return finish(directory)[1]


def finish(directory: Path) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """Do what the same command does: make what is owed, and export. Return what it says of damage, and the exports."""
    repairs = fill_up(directory)
    export_run(directory, ExportOptions())
    return repairs, exports(directory)


def fill_up(directory: Path) -> tuple[str, ...]:
    """Make what is owed, see that all is as it was to be, and return what was said of damage."""
    run = open_run(directory)
    for number in range(TOTAL):
        if not run.is_finished(f"prompt-{number}"):
            if number in FAILED:
                run.fail(make_failure(number))
            else:
                run.commit(make_row(number))
    run.close("done")
    assert (run.finished, run.failed) == (len(ROWS), len(FAILED))
    assert list(run.rows()) == ROWS
    assert run.count() == len(ROWS)
    assert sorted(run.failures(), key=lambda failure: failure.ordinal) == [make_failure(number) for number in FAILED]
    return run.remarks


def flip(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def zero(data: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(data)), draw.choice((1, 16, 512, 4096))
    return data[:start] + b"\0" * len(data[start : start + length]) + data[start + length :]


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def double(data: bytes, draw: random.Random) -> bytes:
    start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] + data[end:]


def drop(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + data[start + draw.choice((1, 16, 512)) :]


def insert(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.randbytes(draw.choice((1, 16, 512))) + data[place:]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, zero, cut, double, drop, insert)


def damage(directory: Path, draw: random.Random) -> str:
    """Do something to one of the files that hold rows or failures, or to two of them; return what."""
    paths = [*sorted(directory.glob("rows/*")), *sorted(directory.glob("journal/*")), directory / "failures.jsonl"]
    path = draw.choice(paths)
    if draw.random() < 0.1:
        other = draw.choice(paths)
        one, two = path.read_bytes(), other.read_bytes()
        path.write_bytes(two)
        if draw.random() < 0.5:
            other.write_bytes(one)
        return f"{path.name} and {other.name} exchanged"
    if draw.random() < 0.05:
        path.unlink()
        return f"{path.name} removed"
    how = draw.choice(DAMAGES)
    path.write_bytes(how(path.read_bytes(), draw))
    return f"{how.__name__} in {path.name}"


def try_damage(interrupted: Path, directory: Path, undisturbed: dict[str, bytes], seed: int) -> None:
    shutil.copytree(interrupted, directory)
    draw = random.Random(seed)
    what = damage(directory, draw)
    try:
        rows = list(Run.read(directory).rows())
        list(Run.read(directory).failures())
    except CaiError as error:
        if "\n" in str(error):
            raise AssertionError(what) from error
    else:
        assert rows == ROWS[:DONE], f"{what}, seed {seed}"  # as many as run.json counts
    fill_up(directory)
    if seed % 10 == 0:  # exports follow from the rows
        export_run(directory, ExportOptions())
        assert exports(directory) == undisturbed, f"{what}, seed {seed}"
    shutil.rmtree(directory)


@pytest.mark.slow
def test_whatever_is_damaged_no_wrong_row_is_read_and_the_run_ends_as_it_would(
    interrupted: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    for seed in range(20):
        try_damage(interrupted, tmp_path / "run", undisturbed, seed)


@pytest.mark.chaos
def test_many_damages(interrupted: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    for seed in range(1000, 1000 + CASES):
        try_damage(interrupted, tmp_path / "run", undisturbed, seed)


@pytest.fixture
def directory(interrupted: Path, tmp_path: Path) -> Path:
    shutil.copytree(interrupted, tmp_path / "run")
    return tmp_path / "run"


def test_a_damaged_shard_is_told_kept_and_made_again(directory: Path, undisturbed: dict[str, bytes]) -> None:
    path = shard_path(directory, 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for read in (
        lambda reader: list(reader.rows()),
        lambda reader: reader.row("prompt-0"),
        lambda reader: reader.count(),
    ):
        with pytest.raises(RunError) as caught:
            read(Run.read(directory))
        assert "000002.parquet is damaged, and 10 of the 33 rows that run.json counts are missing" in str(caught.value)
        assert "the command that made this run, given again" in str(caught.value)
    repairs, made = finish(directory)
    assert made == undisturbed
    assert "000002.parquet is damaged; it is kept as 000002.parquet.damaged" in repairs[0]
    assert "10 rows that were finished before are missing, and made again" in repairs[1]
    assert path.with_name("000002.parquet.damaged").read_bytes() == data
    assert open_run(directory).remarks == ()


def test_a_bad_line_costs_its_own_row_alone(directory: Path, undisturbed: dict[str, bytes]) -> None:
    path = journal_path(directory, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"ordinal":30', b'"ordinal":31')
    path.write_bytes(b"".join(lines))
    with pytest.raises(RunError, match=r"000004\.jsonl has damaged lines: 1, and 1 of the 33 rows"):
        list(Run.read(directory).rows())
    run = open_run(directory)
    assert run.finished == DONE - 1
    assert not run.is_finished("prompt-30")
    assert "damaged lines: 1; they are kept in 000004.jsonl.damaged" in run.remarks[0]
    run.close("interrupted")
    assert path.with_name("000004.jsonl.damaged").read_bytes() == lines[0]
    assert finish(directory) == ((), undisturbed)


def test_a_bad_line_among_failures_is_asked_again(directory: Path) -> None:
    path = directory / "failures.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0].replace(b"raw text", b"raw test") + lines[1])
    with pytest.raises(RunError, match=r"failures\.jsonl has damaged lines; the command that made this"):
        list(Run.read(directory).failures())
    run = open_run(directory)
    assert [run.is_finished(f"prompt-{number}") for number in FAILED] == [False, True]
    run.close("interrupted")
    assert path.with_name("failures.jsonl.damaged").exists()


def test_a_shard_that_is_gone_is_missed(directory: Path, undisturbed: dict[str, bytes]) -> None:
    shard_path(directory, 2).unlink()
    with pytest.raises(RunError, match=r"10 of the 33 rows that run\.json counts"):
        Run.read(directory).count()
    assert finish(directory)[1] == undisturbed


def write_shard(path: Path, table: pa.Table, *, sealed: bool) -> None:
    pq.write_table(table, path)
    if sealed:
        add_digest(path)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "table", [ROW.empty_table(), pa.table({"id": ["a"], "text": ["b"]}), pa.table({}), pa.table({"prompt": [None]})]
)
def test_a_shard_that_cai_did_not_seal_is_set_aside(
    directory: Path, undisturbed: dict[str, bytes], table: pa.Table, sealed: bool
) -> None:
    write_shard(shard_path(directory, 2), table, sealed=sealed)
    with pytest.raises(RunError, match="the command that made this run"):
        Run.read(directory).count()
    assert finish(directory)[1] == undisturbed


def test_the_shards_and_lines_of_another_run_are_not_this_ones(directory: Path, tmp_path: Path) -> None:
    other = Run.open(tmp_path / "other", {"model": "other"}, {})
    for row in ROWS[:15]:
        other.commit(row)
    other.close("interrupted")
    shutil.copy(shard_path(tmp_path / "other", 1), shard_path(directory, 7))
    with pytest.raises(RunError, match=r"000007\.parquet is a shard of another run"):
        Run.read(directory).count()
    shard_path(directory, 7).unlink()
    shutil.copy(journal_path(tmp_path / "other", 2), journal_path(directory, 7))
    with pytest.raises(RunError, match="damaged lines: 5"):
        Run.read(directory).count()


def test_a_journal_that_is_damaged_while_it_is_written_is_not_sealed(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    for row in ROWS[:5]:
        run.commit(row)
    path = journal_path(tmp_path, 1)
    path.write_bytes(path.read_bytes().replace(b'"ordinal":3', b'"ordinal":4'))
    with pytest.raises(CaiError, match="was damaged while its rows were made"):
        run.close("done")
    run = open_run(tmp_path)
    assert run.finished == 4
    run.commit(ROWS[3])
    run.close("done")
    assert list(run.rows()) == ROWS[:5]


def test_a_number_set_aside_is_not_given_again(tmp_path: Path) -> None:
    fill(tmp_path, ROWS[:5])
    shard_path(tmp_path, 1).write_bytes(b"PAR1 but not really")
    fill(tmp_path, ROWS[:5])
    assert [path.name for path in sorted((tmp_path / "rows").iterdir())] == ["000001.parquet.damaged", "000002.parquet"]


def test_a_link_in_the_place_of_what_is_set_aside_is_not_followed(directory: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("years of work")
    journal_path(directory, 4).write_bytes(b"no row\n" + journal_line(ROWS[30]))
    (directory / "journal" / "000004.jsonl.damaged").symlink_to(mine)
    with pytest.raises(CaiError):
        open_run(directory)
    assert mine.read_text() == "years of work"


@pytest.mark.parametrize("rows", [1, 700])
def test_a_digest_is_noticed_wherever_a_byte_changes_and_passed_over_by_readers(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"text": [f"row {number}" for number in range(rows)]})
    pq.write_table(table, path)
    assert check_digest(path) == "unsealed"
    add_digest(path)
    assert check_digest(path) == "whole"
    assert pq.read_table(path) == table
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 300)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        assert check_digest(path) != "whole", place


@pytest.mark.slow
def test_a_damaged_export_is_told_to_whoever_trains_on_it(directory: Path, undisturbed: dict[str, bytes]) -> None:
    finish(directory)
    path = split_path(directory, "sft", "train")
    data = path.read_bytes()
    whole = list(ParquetSource(path, path.name).rows(("messages", "completion")))
    draw = random.Random(3)
    told = 0
    for _ in range(200):
        path.write_bytes(draw.choice((flip, zero, cut, drop, insert))(data, draw))
        try:
            assert list(ParquetSource(path, path.name).rows(("messages", "completion"))) == whole
        except InputError:
            told += 1
    assert told >= 190  # the rest had its mark damaged, and nothing else
    export_run(directory, ExportOptions())
    assert exports(directory) == undisturbed


def test_a_damaged_export_says_nothing_of_what_was_held_out(directory: Path) -> None:
    finish(directory)
    path = split_path(directory, "preference", "test")
    path.write_bytes(flip(path.read_bytes(), random.Random(1)))
    source = DataSource.parse(str(directory))
    with pytest.raises(RunError, match=r"test\.parquet is damaged; write it again with `cai export"):
        RunExamples(source, "pairs", RunChoices())
