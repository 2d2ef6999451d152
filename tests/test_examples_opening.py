"""The one door to examples: what a source is taken for, and that no row of it goes without a word."""

import gzip
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.data import json_rows
from cai.data.examples.opening import open_examples
from cai.data.examples.shaping import COLUMNS
from cai.data.examples.tables import Example
from cai.data.export import ExportOptions, export_run
from cai.data.rows import BrokenRow
from cai.rundir.layout import split_path
from tests.storage import fill, make_row

PAIR = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def write(path: Path, *rows: dict[str, Any]) -> DataSource:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return DataSource.parse(str(path))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (PAIR, "pairs"),
        ({"prompt": "Why?", "completion": "Because.", "score": 3}, "scored"),
        ({"prompt": "Why?", "completion": "Because.", "label": True}, "labelled"),
        ({"prompt": "Why?", "completion": "Because."}, "supervised"),
        ({"text": "Because."}, "supervised"),
        ({"prompt": "Why?"}, "prompts"),
    ],
)
def test_a_table_is_read_as_what_says_most(row: dict[str, Any], kind: str, tmp_path: Path) -> None:
    opened = open_examples(write(tmp_path / "rows.jsonl", row))
    assert opened.kind == kind
    (example,) = opened.examples()
    assert not isinstance(example, BrokenRow)
    assert (example.place, set(example.values)) == ("rows.jsonl:1", set(COLUMNS[opened.layout]))


def test_every_row_gives_an_example_or_its_reason_again_and_again(tmp_path: Path) -> None:
    same = {**PAIR, "rejected": "Because."}
    opened = open_examples(write(tmp_path / "pairs.jsonl", PAIR, same, {**PAIR, "prompt": None}, PAIR))
    first = list(opened.examples())
    assert [item.place for item in first] == [f"pairs.jsonl:{line}" for line in (1, 2, 3, 4)]
    left_out = [(item.cause, "Because." in item.raw) for item in first if isinstance(item, BrokenRow)]
    assert left_out == [("identical", True), ("there is no prompt", True)]
    assert list(opened.examples()) == first


KOREAN = [{"prompt": f"질문 {n}?", "chosen": f"좋은 답변 {n}.", "rejected": f"나쁜 답변 {n}."} for n in range(8)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in KOREAN)
TABLE = "\r\n".join(",".join(cells) for cells in [list(KOREAN[0]), *(list(row.values()) for row in KOREAN)])
WRAPPED = {"version": 1, "note": "a [ and a {", "labels": ["x"], "data": KOREAN, "end": [{"data": []}]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mark.jsonl", LINES.encode("utf-8-sig")),
        ("utf16.jsonl", LINES.encode("utf-16")),
        ("utf16.csv", TABLE.encode("utf-16")),
        ("cp949.jsonl", LINES.encode("cp949")),
        ("cp949.csv", TABLE.encode("cp949")),
        ("windows.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("nan.jsonl", LINES.replace("{", '{"score_of_mine": NaN, ').encode()),
        ("array.json", json.dumps(KOREAN, indent=1).encode()),
        ("array.jsonl", json.dumps(KOREAN).encode()),
        ("wrapped.json", json.dumps(WRAPPED, indent=2).encode()),
        ("wrapped.jsonl", json.dumps(WRAPPED).encode()),
        ("wrapped16.json", json.dumps(WRAPPED, ensure_ascii=False, indent=2).encode("utf-16")),
        ("packed.json.gz", gzip.compress(json.dumps(WRAPPED).encode())),
    ],
)
@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_every_way_to_write_a_file_gives_the_same_pairs(
    name: str, data: bytes, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    (tmp_path / name).write_bytes(data)
    items = list(open_examples(DataSource.parse(str(tmp_path / name)), "pairs").examples())
    wanted = open_examples(write(tmp_path / "plain.jsonl", *KOREAN), "pairs").examples()
    assert [item.values for item in items if isinstance(item, Example)] == [
        item.values for item in wanted if isinstance(item, Example)
    ]
    assert len(items) == len(KOREAN)


def test_one_bad_row_among_good_ones_is_told_in_every_form(tmp_path: Path) -> None:
    bad = '{"prompt": "Why?", "chosen": "Bec'
    good = [json.dumps(PAIR)] * 2
    for name, text in {
        "rows.jsonl": "\n".join([good[0], bad, good[1]]),
        "rows.json": f'{{"data": [{good[0]}, {{"prompt": tru}}, {good[1]}], "n": 3}}',
    }.items():
        (tmp_path / name).write_text(text)
        items = list(open_examples(DataSource.parse(str(tmp_path / name)), "pairs").examples())
        assert [isinstance(item, BrokenRow) for item in items] == [False, True, False], name


def test_rows_under_two_keys_are_asked_for_and_a_row_s_own_list_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(json.dumps({"train": [PAIR], "test": [PAIR]}, indent=1))
    with pytest.raises(InputError, match=r"two.json has rows under 'train' and 'test'; make a file of each"):
        open_examples(DataSource.parse(str(tmp_path / "two.json")))
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    (example,) = open_examples(write(tmp_path / "one.jsonl", {"messages": turns})).examples()
    assert isinstance(example, Example)
    assert example.values == {"messages": turns}


def test_a_run_gives_pairs_or_what_it_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "run", [make_row(number) for number in range(3)])
    source = DataSource.parse(str(tmp_path / "run"))
    pairs = open_examples(source)
    assert pairs.kind == "pairs"
    assert {item.place for item in pairs.examples()} <= {f"{source}:prompt-{number}" for number in range(3)}
    assert [item.place for item in open_examples(source, "prompts").examples()] == [
        f"{source}:prompt-{number}" for number in range(3)
    ]


def test_a_run_s_ranked_answers_are_what_its_export_reads_as(tmp_path: Path) -> None:
    fill(tmp_path / "run", [make_row(number) for number in range(20)])
    export_run(tmp_path / "run", ExportOptions(test_share=0.0))
    exported = DataSource.parse(str(split_path(tmp_path / "run", "ranking", "train")))
    of_run, of_file = (
        [item.values for item in open_examples(source, "ranked").examples() if not isinstance(item, BrokenRow)]
        for source in (DataSource.parse(str(tmp_path / "run")), exported)
    )
    assert of_run == of_file != []


def test_what_holds_nothing_is_told_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows.jsonl has the columns a, b; examples have chosen and rejected"):
        open_examples(write(tmp_path / "rows.jsonl", {"a": 1, "b": 2}))
