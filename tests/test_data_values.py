"""Text is text: what was written comes back letter for letter, whatever it looks like and whatever stands beside it."""

import csv
import gzip
import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.records import Failure, Prompt
from cai.data import InputOptions, open_prompts
from cai.data.examples.shaping import ExampleKind
from cai.data.json_rows import elements
from cai.data.rows import RawRow
from cai.train.settings import DataSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    import datasets

    from cai.train.data.examples import Examples, load_examples

LOOKS_TYPED = ["00196", "196.50", "TRUE", "true", "None", "NA", "nan", "null", "2021-03-12", "1e5", "0x1F", "12.0", "-"]

texts = st.one_of(
    st.sampled_from(LOOKS_TYPED),
    st.text(st.characters(codec="utf-8")),
    st.text("\",;\n\r\\'\ufeff\x00\u2028[{}] ab", max_size=12),
)
whole_texts = texts.filter(lambda text: bool(text.strip()) and not text.endswith("\ufffd"))
tables = st.lists(st.tuples(whole_texts, whole_texts), min_size=1, max_size=8, unique_by=lambda row: row[0])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=5,
)
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Rows = Sequence[dict[str, Any]]


def as_jsonl(path: Path, rows: Rows) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def as_escaped_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_array(path: Path, rows: Rows) -> None:
    path.write_text(json.dumps(list(rows), ensure_ascii=False, indent=2))


def as_csv(path: Path, rows: Rows) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())


def as_utf16_csv(path: Path, rows: Rows) -> None:
    as_csv(path, rows)
    path.write_bytes(path.read_bytes().decode().encode("utf-16"))


def as_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=3)


WRITERS: list[tuple[str, Callable[[Path, Rows], None]]] = [
    ("a.jsonl", as_jsonl),
    ("a.JSONL", as_escaped_jsonl),
    ("a.json", as_array),
    ("a.csv", as_csv),
    ("b.csv", as_utf16_csv),
    ("a.parquet", as_parquet),
]


def read(path: Path) -> list[str]:
    items = list(open_prompts(DataSource.parse(str(path)), InputOptions()))
    assert all(isinstance(item, Prompt) for item in items), items
    return [item.messages[-1]["content"] for item in items if isinstance(item, Prompt)]


def load(kind: ExampleKind, path: Path) -> Examples:
    return load_examples(kind, DataSettings((DataSource.parse(str(path)),), test_share=0.0), 0)


def answers(examples: Examples) -> dict[str, str]:
    return {row["prompt"][-1]["content"]: row["completion"][0]["content"] for row in examples.train}


@pytest.mark.parametrize(("name", "write"), WRITERS)
@pytest.mark.parametrize("packed", [False, True])
@quick
@given(table=tables)
@example(table=[(text, text) for text in LOOKS_TYPED])
def test_any_table_of_texts_comes_back_text_for_text(
    tmp_path: Path, name: str, write: Callable[[Path, Rows], None], packed: bool, table: list[tuple[str, str]]
) -> None:
    if ".csv" in name:  # a NUL byte is refused where it stands bare, because UTF-16 without a mark is full of them
        table = [(asked, answer) for asked, answer in table if "\x00" not in asked + answer] or [("a", "b")]
    path = tmp_path / name
    write(path, [{"prompt": asked, "completion": answer, "id": f"r{n}"} for n, (asked, answer) in enumerate(table)])
    if packed and "parquet" not in name:
        data = path.read_bytes()
        path = path.with_name(name + ".gz")
        path.write_bytes(gzip.compress(data, 1))
    assert read(path) == [asked for asked, _ in table]
    examples = load("supervised", path)
    assert answers(examples) == dict(table)
    assert examples.left_out == {}


@quick
@given(table=tables, values=st.lists(json_values, min_size=8, max_size=8))
@example(table=[("a", "b"), ("c", "d")], values=[10**400, "\ud800", None, {}, [], [[1], {"a": None}], 1, "x"])
def test_a_column_that_nobody_reads_changes_nothing(
    tmp_path: Path, table: list[tuple[str, str]], values: list[Any]
) -> None:
    rows = [{"prompt": asked, "completion": answer} for asked, answer in table]
    as_escaped_jsonl(tmp_path / "plain.jsonl", rows)
    more = [{"extra": value, **row} for row, value in zip(rows, values, strict=False)]
    as_escaped_jsonl(tmp_path / "more.jsonl", more)
    as_array(tmp_path / "array.json", [{k: v for k, v in row.items() if v != "\ud800"} for row in more])
    plain = load("supervised", tmp_path / "plain.jsonl")
    for name in ("more.jsonl", "array.json"):
        assert read(tmp_path / name) == read(tmp_path / "plain.jsonl")
        other = load("supervised", tmp_path / name)
        assert (other.fingerprint, other.left_out) == (plain.fingerprint, plain.left_out)


def test_a_change_of_looks_after_many_rows_changes_no_value(tmp_path: Path) -> None:
    # load_dataset inferred types anew every 10,000 rows.
    rows = [{"prompt": f"q{n}", "completion": "words"} for n in range(10_000)]
    rows += [{"prompt": f"00{n}", "completion": "196.50"} for n in range(200)]
    as_csv(tmp_path / "a.csv", rows)
    texts = set(
        load("supervised", tmp_path / "a.csv")
        .train.data.column("prompt")
        .combine_chunks()
        .flatten()
        .field(1)
        .to_pylist()
    )
    assert texts == {row["prompt"] for row in rows}


@pytest.mark.parametrize("values", [["196", "0042"], ["2021-03-12", "2021-03-13"], ["TRUE", "FALSE"]])
@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_a_file_of_nothing_but_numbers_or_dates_is_text(
    tmp_path: Path, name: str, write: Callable[[Path, Rows], None], values: list[str]
) -> None:
    write(tmp_path / name, [{"prompt": value, "completion": value} for value in values])
    assert read(tmp_path / name) == values
    assert answers(load("supervised", tmp_path / name)) == dict(zip(values, values, strict=True))


def test_a_value_that_is_no_text_is_not_made_one(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": value, "completion": "a"} for value in ("fine", 5, 1.5, True, {"a": 1}, 10**30)
    ]
    as_escaped_jsonl(tmp_path / "a.jsonl", rows)
    first, *others = list(open_prompts(DataSource.parse(str(tmp_path / "a.jsonl")), InputOptions()))
    assert isinstance(first, Prompt)
    assert [item.cause.rpartition(" ")[2] for item in others if isinstance(item, Failure)] == [
        *("int", "float", "bool", "dict", "float"),
    ]
    examples = load("supervised", tmp_path / "a.jsonl")
    assert len(examples.train) == 1
    assert examples.left_out == {"the prompt is neither a string nor a list of messages": 5}


def test_a_text_that_was_cut_inside_a_character_is_not_taken(tmp_path: Path) -> None:
    cut = "안녕하세요".encode()[:-1].decode("utf-8", "replace")
    rows: list[dict[str, Any]] = [
        {"prompt": "what does \ufffd mean?", "completion": "a"},
        {"prompt": cut, "completion": "a"},
        {"prompt": "b", "completion": cut},
        {"prompt": [{"role": "user", "content": cut}], "completion": "a"},
        {"prompt": "half \ud83d", "completion": "a"},
    ]
    as_escaped_jsonl(tmp_path / "a.jsonl", rows)
    assert [
        isinstance(item, Prompt) for item in open_prompts(DataSource.parse(str(tmp_path / "a.jsonl")), InputOptions())
    ] == [*(True, False, True, False, False)]
    examples = load("supervised", tmp_path / "a.jsonl")
    assert len(examples.train) == 1
    assert examples.left_out == {
        "a text ends in U+FFFD: it was cut inside a character before it came here": 3,
        "a text has half a surrogate pair, which is no character": 1,
    }


@pytest.mark.parametrize(
    ("value", "label"),
    [*((text, True) for text in ("1", "true", "TRUE", "1.0", " good ")), *((text, False) for text in ("0", "False"))],
)
def test_labels_scores_and_probabilities_are_read_from_text(tmp_path: Path, value: str, label: bool) -> None:
    as_csv(tmp_path / "a.csv", [{"prompt": "q", "completion": "a", "label": value, "score": "-0.25e1"}])
    assert load("labelled", tmp_path / "a.csv").train["label"] == [label]
    assert load("scored", tmp_path / "a.csv").train["score"] == [-2.5]
    as_csv(tmp_path / "b.csv", [{"prompt": "q", "chosen": "a", "rejected": "b", "chosen_probability": "0.75"}])
    assert load("pairs", tmp_path / "b.csv").train["chosen_probability"] == [0.75]


@pytest.mark.parametrize("value", ["1e999", "nan", "inf", "1_0", "٣", "0,5", "1" * 400, True, [1], 1e300])
def test_what_is_no_number_is_no_score(tmp_path: Path, value: Any) -> None:
    as_escaped_jsonl(tmp_path / "a.jsonl", [{"prompt": "q", "completion": "a", "score": value}])
    with pytest.raises(InputError, match=r"a\.jsonl:1 has the score .*; a score is a number"):
        load("scored", tmp_path / "a.jsonl")


@pytest.mark.parametrize("value", ["", "meh", "2", 2, 0.5, [], "yes"])
def test_a_label_is_never_guessed(tmp_path: Path, value: Any) -> None:
    as_jsonl(tmp_path / "a.jsonl", [{"prompt": "q", "completion": "a", "label": value}])
    with pytest.raises(InputError, match=r"there is no label 1" if value == "" else r"a\.jsonl:1 has the label "):
        load("labelled", tmp_path / "a.jsonl")


def test_ids_that_pandas_made_floats_are_whole_again_and_tags_are_parted_by_commas(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a", "b", "c", "d"],
            "id": pa.array([12.0, float("nan"), 13.5, 1e17]),
            "tags": ["x,y", " x , ", "", None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    items = list(open_prompts(DataSource.parse(str(tmp_path / "a.parquet")), InputOptions()))
    assert [item.id for item in items] == [
        "12",
        fingerprint([{"role": "user", "content": "b"}]),
        "broken row a.parquet:3",
        "broken row a.parquet:4",
    ]
    assert [item.tags for item in items if isinstance(item, Prompt)] == [("x", "y"), ("x",)]
    as_csv(
        tmp_path / "a.csv", [{"id": "12.0", "prompt": "a", "tags": "x,y"}, {"id": "", "prompt": "b", "tags": "['x']"}]
    )
    item, listed = open_prompts(DataSource.parse(str(tmp_path / "a.csv")), InputOptions())
    assert isinstance(item, Prompt)
    assert (item.id, item.tags) == ("12.0", ("x", "y"))
    assert isinstance(listed, Failure)
    assert "the tags are a list written as text" in listed.cause


def test_values_of_tables_that_python_cannot_hold_break_their_row_alone(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a", "b"],
            "id": pa.array([2**50, 5], pa.timestamp("s")),
            "extra": pa.array([b"\xff", None], pa.binary()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    causes = [
        item.cause
        for item in open_prompts(DataSource.parse(str(tmp_path / "a.parquet")), InputOptions())
        if isinstance(item, Failure)
    ]
    assert causes[0].startswith("the row has a value that cannot be read (")
    assert causes[1].startswith("the id is neither a string nor a whole number, but datetime")


def test_saved_datasets_keep_their_texts(tmp_path: Path) -> None:
    rows = [{"prompt": text, "completion": text, "extra": {"a": [1]}} for text in LOOKS_TYPED]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == LOOKS_TYPED
    assert answers(load("supervised", tmp_path / "saved")) == {text: text for text in LOOKS_TYPED}


class InPieces:
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._file, self._size = io.BytesIO(data), size

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._size))

    def readline(self, size: int) -> bytes:
        return self._file.readline(size)


@quick
@given(values=st.lists(st.dictionaries(texts, json_values, max_size=3), max_size=5), size=st.integers(1, 40))
def test_an_array_is_read_in_pieces_of_any_size(values: list[dict[str, Any]], size: int) -> None:
    for indent in (None, 1):
        text = json.dumps(values, ensure_ascii=False, indent=indent)
        found = list(elements(InPieces(f" {text}\n ".encode(), size), "a", None))
        assert all(isinstance(row, RawRow) for row in found)
        assert [repr(row.values) for row in found if isinstance(row, RawRow)] == [
            repr(json.loads(json.dumps(value), parse_int=lambda digits: _as_read(int(digits)))) for value in values
        ]


def _as_read(number: int) -> int | float:
    return number if -(2**63) <= number < 2**64 else float(number)
