"""The kinds of source: each is read as what it is, and told in one sentence when it cannot be read."""

import csv
import gzip
import io
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pyarrow
import pyarrow.parquet
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError, StoreError
from cai.core.records import Failure, Prompt
from cai.data import InputOptions, open_prompts
from cai.data.formats import FORMATS
from cai.data.rows import BrokenRow, RawRow

TEXTS = ["How are you?", 'A "quoted"\nsecond line, with comma', "Grüße, 안녕", "0042"]
ROWS: list[dict[str, Any]] = [{"id": f"r{number}", "prompt": text, "tags": "dose"} for number, text in enumerate(TEXTS)]


def read(source: Path | str, **options: Any) -> list[Prompt | Failure]:
    return list(open_prompts(DataSource.parse(str(source)), InputOptions(**options)))


def contents(items: list[Prompt | Failure]) -> list[str]:
    return [item.messages[-1]["content"] if isinstance(item, Prompt) else f"{item.id}: {item.cause}" for item in items]


def save(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Write rows in the format of the path's suffix."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=3)
        return path
    text = io.StringIO(newline="")
    if ".csv" in path.suffixes:
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.write("".join(orjson.dumps(row).decode() + "\n" for row in rows))
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz", "a.csv.gz"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_format_gives_the_same_prompts(tmp_path: Path, name: str, shuffle: bool) -> None:
    expected = [
        Prompt(row["id"], n, ({"role": "user", "content": row["prompt"]},), ("dose",)) for n, row in enumerate(ROWS)
    ]
    path = save(tmp_path / name)
    prompts = open_prompts(DataSource.parse(str(path)), InputOptions(shuffle=shuffle))
    items = [item for item in prompts if isinstance(item, Prompt)]
    assert prompts.size == 4
    assert {i.id: (i.messages, i.tags) for i in items} == {i.id: (i.messages, i.tags) for i in expected}
    assert shuffle or items == expected


def test_conversations_come_out_of_parquet(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows: list[dict[str, Any]] = [
        {"messages": [*turns, {"role": "user", "content": "Bye"}]},
        {"messages": turns},
        {"messages": None},
    ]
    path = save(tmp_path / "a.parquet", rows)
    good, ended, missing = read(path)
    assert isinstance(good, Prompt)
    assert [turn["role"] for turn in good.messages] == ["user", "assistant", "user"]
    # What an assistant said last is an answer, so that data of answers gives its prompts.
    assert isinstance(ended, Prompt)
    assert [turn["role"] for turn in ended.messages] == ["user"]
    assert isinstance(missing, Failure)
    assert missing.id == "broken row a.parquet:3"


def test_parquet_rows_are_numbered_across_batches(tmp_path: Path) -> None:
    rows = [{"prompt": "" if number == 700 else str(number)} for number in range(1, 1001)]
    failures = [item for item in read(save(tmp_path / "a.parquet", rows)) if isinstance(item, Failure)]
    assert [(failure.id, failure.ordinal) for failure in failures] == [("broken row a.parquet:700", 699)]


def test_parquet_text_that_is_not_utf8_fails_alone(tmp_path: Path) -> None:
    values = pyarrow.array([b"one", b"b\xffd", b"three"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"prompt": values}), tmp_path / "a.parquet")
    one, bad, three = read(tmp_path / "a.parquet")
    assert contents([one, three]) == ["one", "three"]
    assert isinstance(bad, Failure)
    assert (bad.id, bad.cause, bad.raw) == ("broken row a.parquet:2", "the text is not UTF-8 (byte 2)", "b\ufffdd")


def test_jsonl_lines_that_are_no_objects_fail_with_their_line(tmp_path: Path) -> None:
    lines = [
        b'{"prompt": "one"}',
        b"",
        b'{"prompt": "tw',
        b'["three"]',
        b'{"prompt": "f\xffur"}',
        b'{"prompt": "five"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines))
    prompts = open_prompts(DataSource.parse(str(tmp_path / "a.jsonl")), InputOptions())
    one, two, three, four, five = list(prompts)
    assert prompts.size == 5
    assert contents([one, five]) == ["one", "five"]
    assert [item.id for item in (two, three, four)] == [f"broken row a.jsonl:{line}" for line in (3, 4, 5)]
    assert [item.ordinal for item in (one, two, three, four, five)] == [0, 1, 2, 3, 4]
    assert isinstance(two, Failure)
    assert isinstance(three, Failure)
    assert isinstance(four, Failure)
    assert two.cause.startswith("the line is not valid JSON (")
    assert two.raw == '{"prompt": "tw'
    assert three.cause == "the line is not a JSON object but of type list"
    assert four.cause == "the line is not UTF-8 (byte 14)"
    assert four.raw == '{"prompt": "f\ufffdur"}'


def test_text_is_one_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b'\xef\xbb\xbfone \r\n\n {"prompt": 1}\nb\xffd\nlast')
    prompts = open_prompts(DataSource.parse(str(tmp_path / "a.txt")), InputOptions())
    assert contents(list(prompts)) == [
        "one ",
        "broken row a.txt:2: the prompt is empty",
        ' {"prompt": 1}',
        "broken row a.txt:4: the line is not UTF-8 (byte 2)",
        "last",
    ]
    assert prompts.size == 5


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, [{"prompt": "one"}, {"prompt": "two"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert contents(read(path)) == ["one", "two"]


def test_csv_rows_that_do_not_fit_fail_with_their_line(tmp_path: Path) -> None:
    data = b'id,prompt\n1,"two\nlines"\n2,too,many\n3\n\n4,b\xffd\n5,"x"y\n6,fine\n7,"never closed\n8,swallowed\n'
    (tmp_path / "a.csv").write_bytes(data)
    items = read(tmp_path / "a.csv")
    broken = [item.id.removeprefix("broken row ") for item in items if isinstance(item, Failure)]
    assert broken == ["a.csv:4", "a.csv:5", "a.csv:7", "a.csv:8", "a.csv:10"]
    assert [item.id for item in items if isinstance(item, Prompt)] == ["1", "6"]
    causes = [item.cause for item in items if isinstance(item, Failure)]
    assert causes[0] == "the row has not as many cells as the header (3, not 2)"
    assert causes[1] == "the row has not as many cells as the header (1, not 2)"
    assert causes[2] == "the line is not UTF-8 (byte 4)"
    assert "is a quote left open?" in causes[3]
    assert "unexpected end of data" in causes[4]
    last = items[-1]
    assert isinstance(last, Failure)
    assert last.raw == '7,"never closed\n8,swallowed'


def test_csv_cells_may_be_long(tmp_path: Path) -> None:
    text = "word " * 100_000
    assert contents(read(save(tmp_path / "a.csv", [{"prompt": text}]))) == [text]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.md", b"[]", r"a\.md is of no kind that can be read; rows come as \.jsonl, \.json, \.csv, \.txt"),
        ("a.json", b"[]", r"a\.json holds no prompts"),
        ("a.jsonl", b"", r"a\.jsonl holds no prompts"),
        ("a.jsonl", b" \n\n", r"a\.jsonl holds no prompts"),
        ("a.jsonl", b'"one"\n2\n', r"a\.jsonl is not JSONL: no line of it is a JSON object"),
        ("a.txt", b"", r"a\.txt holds no prompts"),
        ("a.csv", b"", r"a\.csv is empty; its first line must name the columns"),
        ("a.csv", b"prompt\n", r"a\.csv holds no prompts"),
        ("a.csv", b"body,title\nx,y\n", r"a\.csv has no prompt column: its columns are body, title"),
        ("a.csv", b"prompt,id,prompt\nx,y,z\n", r"a\.csv has the column 'prompt' more than once"),
        ("a.parquet", b"PAR1 no", r"a\.parquet is not a Parquet file that can be read"),
        ("a.jsonl.gz", b"plain", r"a\.jsonl\.gz cannot be read: it is not compressed with gzip"),
        ("a.jsonl.gz", gzip.compress(b"x" * 10_000, mtime=0)[:-9], r"a\.jsonl\.gz cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_told(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        open_prompts(DataSource.parse(str(tmp_path / name)), InputOptions())


def test_a_parquet_file_without_a_prompt_column_or_rows_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", [{"body": "x"}])
    with pytest.raises(InputError, match=r"a\.parquet has no prompt column: its columns are body"):
        read(path)
    pyarrow.parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(InputError, match="holds no prompts"):
        read(path)


@pytest.mark.parametrize("source", ["missing", "no/such/file", "./missing/dir", "missing/a.jsonl", "missing.parquet"])
def test_a_missing_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"There is no file or directory {source} to read prompts from"):
        open_prompts(DataSource.parse(source), InputOptions())


def test_a_text_given_for_a_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened: File name too long") as caught:
        open_prompts(DataSource.parse("How do I do this? " * 100), InputOptions())
    assert len(str(caught.value)) < 300


def test_plain_text_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(InputError, match=r"a\.txt has no column 'ask' for the prompt: its columns are text"):
        read(tmp_path / "a.txt", prompt_column="ask")
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"a\.jsonl has no prompt column: it has no columns"):
        read(tmp_path / "a.jsonl")


def test_a_split_belongs_to_datasets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--split is for datasets"):
        read(save(tmp_path / "a.jsonl"), split="train")


def test_a_directory_is_its_files_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "sub" / ".cache").mkdir(parents=True)
    (tmp_path / "b.txt").write_text("from b\n")
    save(tmp_path / "a.jsonl", [{"prompt": "from a"}])
    save(tmp_path / "sub" / "c.csv", [{"question": "from c"}, {"question": ""}])
    save(tmp_path / "z.parquet", [{"text": "from z"}, {"text": "from b"}])
    (tmp_path / "README.md").write_text("no prompt")
    (tmp_path / ".hidden.txt").write_text("no prompt")
    (tmp_path / "sub" / ".cache" / "x.txt").write_text("no prompt")
    prompts = open_prompts(DataSource.parse(str(tmp_path)), InputOptions())
    items = list(prompts)
    assert contents(items) == ["from a", "from b", "from c", "broken row sub/c.csv:3: the prompt is empty", "from z"]
    assert [item.ordinal for item in items] == [0, 1, 2, 3, 4]
    assert (prompts.size, prompts.duplicates) == (6, 1)
    assert {item.id for item in read(tmp_path, shuffle=True, seed=3)} == {item.id for item in items}


def test_a_directory_without_prompts_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("{}")
    with pytest.raises(InputError, match="holds no prompt file"):
        read(tmp_path)


def test_a_directory_that_cannot_be_listed_is_not_left_out_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.jsonl")

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match="cannot be opened: Permission denied"):
        read(tmp_path)


def test_a_file_name_that_is_not_utf8_can_be_written_down(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff.txt"
    path.write_text("\n")
    (failure,) = read(path)
    assert failure.id == "broken row a?.txt:1"


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def name(path: Path, **options: Any) -> str:
        return open_prompts(DataSource.parse(str(path)), InputOptions(**options)).fingerprint

    one, packed, moved = save(tmp_path / "a.jsonl"), save(tmp_path / "b.jsonl.gz"), tmp_path / "sub" / "c.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(one.read_bytes())
    assert name(one) == name(packed) == name(moved) == name(one, limit=1, shuffle=True, seed=4)
    (tmp_path / "c.txt").write_bytes(one.read_bytes())
    assert name(tmp_path / "c.txt") != name(one), "the same bytes are other prompts when they are read as text"
    before = name(tmp_path)
    moved.write_bytes(one.read_bytes().replace(b"0042", b"0043"))
    assert name(moved) != name(one)
    assert name(tmp_path) != before
    table = save(tmp_path / "d.parquet")
    before = name(table)
    save(table, [{**row, "prompt": row["prompt"] + "!"} for row in ROWS])
    assert name(table) != before


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'\n {"prompt": "one"}\n{"prompt": "two"}', ["one", "two"]),
        (b'\xef\xbb\xbf{"prompt": "one"}\n{"prompt": "two"}\n', ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),
        (b'"one"\n{"prompt": "two"}\n', ['"one"', '{"prompt": "two"}']),
        (b'{"prompt": "one"}\ntwo\n', ["one", "broken row stdin:2: the line is not valid JSON"]),
        (b'[\r\n {"prompt": "one"},\r\n {"prompt": "two"}\r\n]', ["one", "two"]),
        (b'[{"prompt": "one"}, {"prompt": "two"}]', ["one", "two"]),
        (b'{\n"data": [{"prompt": "one"}, {"prompt": "two"}]\n}', ["one", "two"]),
        (b"[INST] one\n{two}\n", ["[INST] one", "{two}"]),
    ],
)
def test_standard_input_is_jsonl_or_text(monkeypatch: pytest.MonkeyPatch, data: bytes, expected: list[str]) -> None:
    give_stdin(monkeypatch, data)
    prompts = open_prompts(DataSource.parse("-"), InputOptions())
    first = list(prompts)
    assert [content.partition(" (")[0] for content in contents(first)] == expected
    assert list(prompts) == first
    assert prompts.size == 2


def test_standard_input_has_the_fingerprint_of_its_content_and_can_be_shuffled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.jsonl")
    give_stdin(monkeypatch, path.read_bytes())
    prompts = open_prompts(DataSource.parse("-"), InputOptions(shuffle=True, seed=5))
    filed = open_prompts(DataSource.parse(str(path)), InputOptions(shuffle=True, seed=5))
    assert prompts.fingerprint == filed.fingerprint
    assert list(prompts) == list(filed)


def test_empty_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b"")
    with pytest.raises(InputError, match="Standard input holds no prompts"):
        open_prompts(DataSource.parse("-"), InputOptions())


def test_a_full_disk_under_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    give_stdin(monkeypatch, b"x" * 10)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(StoreError, match=r"\$TMPDIR: No space left on device"):
        open_prompts(DataSource.parse("-"), InputOptions())


def test_reading_jsonl_imports_no_table_library(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl")
    program = (
        "import sys; from cai.core.addresses import *; from cai.data import *; "
        f"assert len(list(open_prompts(DataSource.parse({str(path)!r}), InputOptions(shuffle=True)))) == 4; "
        "assert not {'pyarrow', 'datasets', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz"])
@pytest.mark.parametrize("when", ["before the first row", "after it"])
def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path, name: str, when: str) -> None:
    path = save(tmp_path / name)
    prompts = open_prompts(DataSource.parse(str(path)), InputOptions())
    items = iter(prompts)
    if when == "after it":
        next(items)
    save(tmp_path / f"new-{name}", [*ROWS, {"id": "more", "prompt": "More?", "tags": "dose"}]).replace(path)
    with pytest.raises(InputError, match=rf"{name} (was changed while it was read|cannot be read beyond row)"):
        list(items)
    save(path)
    assert len(list(open_prompts(DataSource.parse(str(path)), InputOptions()))) == 4


def test_a_file_that_is_only_touched_is_the_same(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl")
    prompts = open_prompts(DataSource.parse(str(path)), InputOptions())
    items = iter(prompts)
    next(items)
    os.utime(path, (1, 1))
    assert len(list(items)) == 3


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.csv.gz", "a.txt.gz"])
def test_lines_that_end_in_carriage_returns_alone_are_not_read_as_one(tmp_path: Path, name: str) -> None:
    data = b"prompt\rone\rtwo\r"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(InputError, match="end in carriage returns alone; save it with"):
        read(tmp_path / name)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_table_parted_by_other_marks_is_told(tmp_path: Path, mark: str) -> None:
    (tmp_path / "a.csv").write_text(f"prompt{mark}id\nhi{mark}1\n")
    with pytest.raises(InputError, match="CSV parts columns by commas"):
        read(tmp_path / "a.csv")


def test_a_file_without_an_object_says_what_its_first_line_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"prompt": "café"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.jsonl:1: the line is not UTF-8"):
        read(tmp_path / "a.jsonl")


def test_a_format_more_is_one_entry_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Upside:
        """Lines from the last to the first, in files that end in .pu."""

        columns: ClassVar[dict[str, int | None]] = {"text": None}
        fingerprint, remark = "0" * 16, None

        def __init__(self, path: Path, name: str) -> None:
            self.name = name
            self._lines = path.read_text().splitlines()
            self.size = len(self._lines)

        def rows(self, columns: Collection[str]) -> Iterator[RawRow | BrokenRow]:
            assert "text" in columns
            for number, line in enumerate(reversed(self._lines), start=1):
                yield RawRow(f"{self.name}:{number}", {"text": line})

    monkeypatch.setitem(FORMATS, ".pu", Upside)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "questions.PU").write_text("one\ntwo\n")
    (tmp_path / "some" / "more.txt").write_text("three\n")
    for place, found in (("some/questions.PU", ["two", "one"]), ("some", ["three", "two", "one"])):
        prompts = open_prompts(DataSource.parse(str(tmp_path / place)), InputOptions())
        assert contents(list(prompts)) == found
