"""The one door to examples: what a source is taken for, and that no row of it goes without a word."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.data.examples.opening import open_examples
from cai.data.examples.shaping import COLUMNS
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
