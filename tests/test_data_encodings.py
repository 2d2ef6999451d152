"""Files in other encodings or of other kinds than their names say, or without end: one sentence, or a broken row."""

import gzip
import io
import os
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.records import Failure, Prompt
from cai.data import InputOptions, open_prompts
from cai.train.settings import DataSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from cai.train.data.examples import load_examples

LIMIT = 1 << 20

KOREAN = ["감기에 걸렸는데 어떤 약을 먹어야 하나요?", "두통이 심해요, 도와주세요", "English only, 1234"]


def read(path: Path, **options: Any) -> list[str]:
    items = list(open_prompts(DataSource.parse(str(path)), InputOptions(**options)))
    return [item.messages[-1]["content"] if isinstance(item, Prompt) else f"{item.id}: {item.cause}" for item in items]


def refused(path: Path) -> str:
    """Return the one sentence that prompts and training data are refused with."""
    with pytest.raises(InputError) as caught:
        read(path)
    with pytest.raises(InputError):
        load_examples("supervised", DataSettings((DataSource.parse(str(path)),)), 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(form: str, texts: list[str]) -> str:
    if form == "csv":
        return "prompt,completion\r\n" + "".join(f'"{text}","{text}"\r\n' for text in texts)
    if form == "jsonl":
        return "".join(orjson.dumps({"prompt": text, "completion": text}).decode() + "\n" for text in texts)
    return "".join(f"{text}\n" for text in texts)


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "txt"])
def test_korean_files_are_read_in_their_encoding_and_it_is_said(tmp_path: Path, form: str, encoding: str) -> None:
    text = written(form, KOREAN)
    if encoding == "utf-16-be":
        text = "\ufeff" + text
    path = tmp_path / f"a.{form}"
    path.write_bytes(text.encode(encoding))
    told = encoding.upper().removesuffix("-BE")
    remarks = () if encoding == "utf-8-sig" else (f"a.{form} was read as {told}",)
    assert read(path) == KOREAN
    assert (
        tuple(line for line in open_prompts(DataSource.parse(str(path)), InputOptions()).remarks if "read as" in line)
        == remarks
    )
    examples = load_examples("supervised", DataSettings((DataSource.parse(str(path)),), test_share=0.0), 0)
    assert len(examples.train) == 3
    assert set(remarks) <= set(examples.remarks)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            "it\u2019s the doctor\u2019s word\n".encode("cp1252"),
            "Windows's apostrophe and an s are a syllable of CP949",
        ),
        ("déjà vu, café\n".encode("latin-1"), "Latin-1"),
        ("привет, как дела\n".encode("cp1251"), "Cyrillic"),
        ("今日はいい天気です\n".encode("shift_jis"), "Japanese"),
        ("今日はいい天気です\n".encode("euc_jp"), "Japanese"),
        ("我想问一下这个药怎么吃才对身体没有伤害\n".encode("gbk"), "Chinese"),
        ("é è à ç\n".encode() * 20 + "it\u2019s\n".encode("cp1252"), "UTF-8 with one bad line"),
        ("안녕하세요\n".encode() * 20 + "안녕하세요\n".encode("cp949"), "UTF-8 with one line in CP949"),
    ],
)
def test_what_is_not_korean_beyond_doubt_is_not_read_as_korean(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain words\n" + data)
    opened = open_prompts(DataSource.parse(str(path)), InputOptions())
    failures = [item for item in opened if isinstance(item, Failure)]
    assert not [line for line in opened.remarks if "CP949" in line], why
    assert [failure.cause.partition(" (")[0] for failure in failures] == ["the line is not UTF-8"]


def test_a_header_in_another_encoding_is_told_with_its_byte(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,caf\xe9\nx,y\n")
    assert refused(tmp_path / "a.csv") == "a.csv:1 must name the columns, but the line is not UTF-8 (byte 11)."


def test_utf16_without_a_mark_is_not_read_as_text_full_of_nul(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16-le"))
    assert all("NUL character (UTF-16 needs a byte order mark)" in told for told in read(tmp_path / "a.txt"))
    (tmp_path / "a.csv").write_bytes("prompt\none\n".encode("utf-16-le"))
    assert "a.csv:1 must name the columns, but the line has a NUL character" in refused(tmp_path / "a.csv")
    (tmp_path / "a.jsonl").write_bytes('{"prompt": "one"}\n'.encode("utf-16-le"))
    assert "no line of it is a JSON object" in refused(tmp_path / "a.jsonl")


def test_a_damaged_utf16_file_is_told(tmp_path: Path) -> None:
    data = "prompt\n안녕\n".encode("utf-16")
    (tmp_path / "a.csv").write_bytes(data[:-1])
    assert "a.csv is not whole: utf-16" in refused(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer and not the file itself"),
        (gzip.compress(b'{"prompt": "a"}\n', mtime=0), "is compressed with gzip; let its name end in .gz"),
        (b"PAR1\x15\x04", "is a Parquet file; let its name end in .parquet"),
        (b"PK\x03\x04", "is a ZIP archive or a spreadsheet"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "a.json", "a.parquet"])
def test_a_file_that_is_another_kind_says_what_it_is(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    told = refused(tmp_path / name)
    assert says in told or (name == "a.parquet" and data.startswith(b"PAR1") and "is not a Parquet file" in told)


def test_a_pointer_for_a_packed_file_is_told_and_standard_input_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refused(tmp_path / "a.jsonl.gz")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"x"))))
    with pytest.raises(InputError, match="stdin is compressed with gzip"):
        open_prompts(DataSource.parse("-"), InputOptions())


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_a_line_without_end_is_a_broken_row_and_does_not_enter_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("cai.data.encodings.LINE_LIMIT", LIMIT)
    with (tmp_path / name).open("wb") as file:
        file.write(b"prompt\n" if name == "a.csv" else b"")
        file.write(b'{"prompt": "a"}\n' if name == "a.jsonl" else b"a\n")
        for _ in range(20):
            file.write(b"x" * LIMIT)
        file.write(b"\n")
        file.write(b'{"prompt": "b"}\n' if name == "a.jsonl" else b"b\n")
    tracemalloc.start()
    try:
        first, long, last = read(tmp_path / name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (first, last) == ("a", "b")
    assert "the line is longer than 1 MiB" in long
    assert peak < 6 * LIMIT


def test_an_element_without_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cai.data.encodings.LINE_LIMIT", LIMIT)
    with (tmp_path / "a.json").open("wb") as file:
        file.write(b'[{"prompt": "')
        for _ in range(2):
            file.write(b"x" * LIMIT)
        file.write(b'"}]')
    assert refused(tmp_path / "a.json") == "a.json, row 1, is longer than 1 MiB."


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('[{"prompt": "a"}, {"prompt": "b"}]', ["a", "b"]),
        ('\n[\n {"prompt": "a"},\n {"prompt": "b]\\"[{"}\n]\n', ["a", 'b]"[{']),
        ('[{"prompt": "a"}, 5, {"prompt": "b"}]', ["a", "broken row a.json:2: the line is not a JSON object", "b"]),
        (
            '[{"prompt": "a"}, {"prompt" "x"}, {"prompt": "b"}]',
            ["a", "broken row a.json:2: the line is not valid", "b"],
        ),
        ('[{"prompt": "a"}, {"prompt": "b"', ["a", "broken row a.json:2: the array is not closed"]),
        ('{"prompt": "a"}\n{"prompt": "b"}\n', ["a", "b"]),
        ('["x"]\n{"prompt": "b"}\n', ["broken row a.json:1: the line is not a JSON object", "b"]),
        ('[{"prompt": "a", "x": NaN}, {"prompt": "b", "x": 1e999}]', ["a", "b"]),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_arrays_and_lines_are_told_apart_by_what_they_are(
    tmp_path: Path, name: str, data: str, expected: list[str]
) -> None:
    (tmp_path / name).write_text(data)
    found = read(tmp_path / name)
    assert len(found) == len(expected)
    assert all(a.startswith(b.replace("a.json", name)) for a, b in zip(found, expected, strict=True))


def test_what_follows_an_array_is_not_left_out_silently(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[\n{"prompt": "a"}\n]\n{"prompt": "b"}\n')
    assert "begins with a JSON array and goes on after its end" in refused(tmp_path / "a.json")


def test_a_key_that_stands_twice_breaks_its_row(tmp_path: Path) -> None:
    lines = [
        '{"prompt": "a", "prompt": "b"}',
        '{"prompt": "a", "other": {"prompt": "b"}}',
        '{"prompt": "say \\"prompt\\"", "x": "prompt"}',
        '{"other": 1, "other": 2, "prompt": "c"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    first, *others = read(tmp_path / "a.jsonl")
    assert first == "broken row a.jsonl:1: the line has 'prompt' twice"
    assert others == ["a", 'say "prompt"', "c"]


def test_what_is_nested_without_end_is_a_broken_row(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    lines = [f'{{"prompt": "a", "x": {deep}}}', '{"prompt": "b"}', f'{{"prompt": "c", "x": {"[" * 900}{"]" * 900}}}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    first, *others = read(tmp_path / "a.jsonl")
    assert "the line is not valid JSON" in first
    assert others == ["b", "c"]
    (tmp_path / "a.json").write_text("[" + ", ".join(lines) + "]")
    assert read(tmp_path / "a.json")[1:] == ["b", "c"]


def test_two_columns_of_one_name_and_old_line_ends_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,x,prompt\na,b,c\n")
    assert "has the column 'prompt' more than once" in refused(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"prompt\ra\rb\r")
    assert "b.csv" in refused(tmp_path / "b.csv")


def test_an_empty_file_among_others_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert read(tmp_path) == ["a"]
    assert len(load_examples("supervised", DataSettings((DataSource.parse(str(tmp_path)),)), 0).train) == 1
    (tmp_path / "b.jsonl").write_text("\n")
    assert "holds no prompts" in refused(tmp_path)


def test_a_pipe_in_a_directory_is_told_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    os.mkfifo(tmp_path / "b.jsonl")
    assert "b.jsonl is a pipe or a device" in refused(tmp_path)


def test_names_that_no_file_can_have_are_one_sentence(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000, "\udcff", "a\nb", str(tmp_path / "a\udcff.jsonl")):
        with pytest.raises(InputError) as caught:
            open_prompts(DataSource.parse(name), InputOptions())
        with pytest.raises(InputError) as also:
            load_examples("supervised", DataSettings((DataSource.parse(name),)), 0)
        for told in (caught, also):
            assert "\n" not in str(told.value)
            str(told.value).encode()
