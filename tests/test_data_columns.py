"""Which columns make a prompt or an example, and what is said of those that nobody reads."""

import warnings
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.records import Failure, Prompt
from cai.data import InputOptions, open_prompts
from cai.data.examples.shaping import ExampleKind
from cai.train.settings import DataSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from cai.train.data.examples import Examples, load_examples


def write(path: Path, rows: list[Any]) -> str:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def prompts(source: str, **options: Any) -> list[list[dict[str, str]] | str]:
    """Return the turns of every prompt, and the cause of every failure."""
    items = list(open_prompts(DataSource.parse(source), InputOptions(**options)))
    return [
        item.cause if isinstance(item, Failure) else [turn(told["role"], told["content"]) for told in item.messages]
        for item in items
    ]


def load(kind: ExampleKind, source: str) -> Examples:
    return load_examples(kind, DataSettings((DataSource.parse(source),), test_share=0.0), 0)


ALPACA = {"instruction": "Translate to French.", "input": "Good night", "output": "Bonne nuit"}
DOLLY = {"instruction": "When?", "context": "It was in 1999.", "response": "In 1999.", "category": "closed_qa"}
ORCA = {"id": "niv.1", "system_prompt": "Be brief.", "question": "Why?", "response": "Because."}
SYSTEM_AND_PROMPT = {"system": "Be brief.", "prompt": "Why?", "completion": "Because."}
CASES = [
    (ALPACA, [turn("user", "Translate to French.\n\nGood night")], "Bonne nuit"),
    ({**ALPACA, "input": ""}, [turn("user", "Translate to French.")], "Bonne nuit"),
    ({**ALPACA, "input": None}, [turn("user", "Translate to French.")], "Bonne nuit"),
    (DOLLY, [turn("user", "When?\n\nIt was in 1999.")], "In 1999."),
    (ORCA, [turn("system", "Be brief."), turn("user", "Why?")], "Because."),
    ({**ORCA, "system_prompt": ""}, [turn("user", "Why?")], "Because."),
    (SYSTEM_AND_PROMPT, [turn("system", "Be brief."), turn("user", "Why?")], "Because."),
    (
        {"system": "S", **ALPACA},
        [turn("system", "S"), turn("user", "Translate to French.\n\nGood night")],
        "Bonne nuit",
    ),
]


@pytest.mark.parametrize(("row", "asked", "answer"), CASES)
def test_known_companions_are_part_of_the_prompt_for_prompts_and_for_training(
    tmp_path: Path, row: dict[str, Any], asked: list[dict[str, str]], answer: str
) -> None:
    source = write(tmp_path / "a.jsonl", [row])
    assert prompts(source) == [asked]
    (example,) = load("supervised", source).train
    assert example == {"prompt": asked, "completion": [turn("assistant", answer)]}
    (asking,) = load("prompts", source).train
    assert asking == {"prompt": asked, "rubric": [], "tags": []}
    labelled = write(tmp_path / "b.jsonl", [{**row, "label": 1, "score": 2.5}])
    assert load("labelled", labelled).train[0] == {**example, "label": True}
    assert load("scored", labelled).train[0] == {**example, "score": 2.5}


def test_rows_that_differ_in_a_companion_are_no_duplicates(tmp_path: Path) -> None:
    rows = [{"instruction": "Translate.", "input": word} for word in ("night", "day", "noon")]
    opened = open_prompts(DataSource.parse(write(tmp_path / "a.jsonl", rows)), InputOptions())
    assert len(list(opened)) == 3
    assert opened.duplicates == 0


def test_pairs_have_a_system_s_turn_and_a_question(tmp_path: Path) -> None:
    asked = [turn("system", "S"), turn("user", "Q")]
    said = {"chosen": "A", "rejected": "B"}
    whole = {name: [turn("user", "Q"), turn("assistant", text)] for name, text in said.items()}
    for row in (
        {"system": "S", "question": "Q", **said},
        {"system": "S", "prompt": "Q", **said},
        {"system": "S", "prompt": "Q", **whole},
        {"system": "S", **whole},
        {"system": "S", "chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"},
        {"system": "S", "prompt": asked, **said},
    ):
        source = write(tmp_path / "a.jsonl", [row])
        (pair,) = load("pairs", source).train
        assert pair["prompt"] == asked
        assert [pair["chosen"], pair["rejected"]] == [[turn("assistant", "A")], [turn("assistant", "B")]]
        assert len(load("labelled", source).train) == 2
        assert load("prompts", source).train[0] == {"prompt": asked, "rubric": [], "tags": []}


def test_prompts_to_train_on_bring_their_tags_and_those_that_are_none_are_counted(tmp_path: Path) -> None:
    dialogue = [turn("user", "P"), turn("assistant", "A")]
    for rows, wanted in (
        ([{"prompt": "P", "tags": ["a", "b"]}], ["a", "b"]),
        ([{"prompt": "P", "tags": "a, b"}], ["a", "b"]),
        ([{"prompt": "P"}], []),
        ([{"chosen": dialogue, "rejected": [*dialogue[:1], turn("assistant", "B")], "tags": ["a"]}], ["a"]),
    ):
        examples = load("prompts", write(tmp_path / "a.jsonl", rows))
        assert examples.train[0]["tags"] == wanted
    broken = load("prompts", write(tmp_path / "a.jsonl", [{"prompt": "P"}, {"prompt": "Q", "tags": [1]}]))
    assert broken.left_out == {"the tags are neither a string nor a list of strings, but [1]": 1}


def test_conversations_take_a_system_column_and_refuse_another_turn(tmp_path: Path) -> None:
    told = [turn("user", "Q"), turn("assistant", "A")]
    rows = [
        {"system": "S", "messages": told},
        {"system": "S", "messages": [turn("system", "S"), *told]},
        {"system": "S", "messages": [turn("system", "other"), *told]},
        {"system": None, "messages": [turn("system", "own"), *told]},
        {"system": 7, "messages": told},
    ]
    examples = load("supervised", write(tmp_path / "a.jsonl", rows))
    assert sorted(row["messages"][0]["content"] for row in examples.train) == ["S", "S", "own"]
    assert examples.left_out == {
        "the conversation has a system turn that is not the one in the column system": 1,
        "the column system is not text but of type int": 1,
    }


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"instruction": "I", "input": 5}, "the column input is not text but of type int"),
        ({"instruction": [turn("user", "I")], "input": "x"}, "the column input has text, and instruction is none"),
        ({"prompt": [turn("system", "a"), turn("user", "u")], "system": "b"}, "a system turn that is not the one"),
        ({"prompt": 5, "system": "b"}, "neither a string nor a list of messages, but of type int"),
        ({"prompt": "", "system": "b"}, "empty"),
        ({"prompt": None, "system": "b"}, "no prompt"),
        ({"instruction": "", "input": "only this"}, "empty"),
        ({"messages": '[{"role": "user", "content": "text of JSON"}]'}, "messages is text and no list of turns"),
    ],
)
def test_a_row_whose_columns_cannot_be_combined_is_broken(tmp_path: Path, row: dict[str, Any], cause: str) -> None:
    first, bad = prompts(write(tmp_path / "a.jsonl", [{next(iter(row)): [turn("user", "fine")]}, row]))
    assert first == [turn("user", "fine")]
    assert cause in bad


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        (
            "supervised",
            {"prompt": "p", "output": "a", "response": "b"},
            "has both output and response; call the answer",
        ),
        ("prompts", {"prompt": "p", "system": "a", "system_prompt": "b"}, "has both system and system_prompt; rename"),
        ("supervised", {"instruction": "p", "input": "a", "context": "b", "output": "c"}, "has both input and context"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(
    tmp_path: Path, kind: ExampleKind, row: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        load(kind, write(tmp_path / "a.jsonl", [row]))


def test_ultrafeedback_s_conversations_serve_supervised_training(tmp_path: Path) -> None:
    told = [turn("user", "Q"), turn("assistant", "A")]
    row = {
        "prompt": "Q",
        "prompt_id": "x",
        "chosen": told,
        "rejected": [turn("user", "Q"), turn("assistant", "B")],
        "messages": told,
        "score_chosen": 8.0,
        "score_rejected": 3.5,
    }
    source = write(tmp_path / "train_sft.jsonl", [row])
    examples = load("supervised", source)
    assert list(examples.train) == [{"messages": told}]
    (line,) = examples.remarks
    assert line.endswith(
        "columns used: messages; not used: prompt (100 % of rows), prompt_id (100 % of rows), chosen (100 % of rows), "
        "rejected (100 % of rows), score_chosen (100 % of rows), score_rejected (100 % of rows)"
    )
    assert load("pairs", source).train[0]["chosen"] == told[1:]


def test_columns_that_nobody_reads_are_named_once_with_their_share(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{number}", "id": number, "topic": "t", "question": "other"} for number in range(50)]
    rows[3]["notes"] = "n"
    rows[4]["notes"] = ""
    rows[5]["notes"] = []
    for row in rows[:3]:
        row["late\x1b[31m"] = 1
    opened = open_prompts(DataSource.parse(write(tmp_path / "a.jsonl", rows)), InputOptions())
    (line,) = opened.remarks
    assert line.startswith("columns used: prompt; not used: topic (100 % of rows), question (100 % of rows), ")
    assert line.endswith(r", 'late\x1b[31m' (6 % of rows), notes (2 % of rows)")
    assert (
        open_prompts(
            DataSource.parse(write(tmp_path / "b.jsonl", [{"prompt": "p", "tags": "x"}])), InputOptions()
        ).remarks
        == ()
    )


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_shares_are_counted_in_tables_too(tmp_path: Path, name: str) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    rows = [{"prompt": f"p{number}", "note": "n" if number < 3 else "", "topic": "t"} for number in range(1000)]
    if name == "a.csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    assert open_prompts(DataSource.parse(str(tmp_path / name)), InputOptions()).remarks == (
        "columns used: prompt; not used: note (<1 % of rows), topic (100 % of rows)",
    )


def test_a_directory_s_columns_are_told_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"prompt": "a", "topic": "t"}, {"prompt": "b"}])
    write(tmp_path / "b.jsonl", [{"question": "c", "topic": "t"}, {"question": "d", "topic": "t"}])
    assert open_prompts(DataSource.parse(str(tmp_path)), InputOptions()).remarks == (
        "columns used: prompt, question; not used: topic (75 % of rows)",
    )


def test_generate_and_train_say_what_they_do_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # however long the temporary directory's name is
    source = write(tmp_path / "a.jsonl", [{**DOLLY, "instruction": f"When {number}?"} for number in range(40)])
    line = "columns used: instruction, context; not used: response (100 % of rows), category (100 % of rows)"
    command = ["generate", "--constitution", "medical", "--model", "scripted", "--prompts", source, "--dry-run"]
    for more, told in (([], "err"), (["--json"], "out")):
        with pytest.raises(SystemExit):
            main([*command, *more])
        assert line in getattr(capsys.readouterr(), told)
    command = ["train", "sft", "--data", source, "--out", str(tmp_path / "out"), "--dry-run"]
    line = "a.jsonl: columns used: instruction, context, response; not used: category (100 % of rows)"
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as left:
            main([*command, *more])
        assert left.value.code == 0
        assert line in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")
    assert all(isinstance(item, Prompt) for item in open_prompts(DataSource.parse(source), InputOptions()))
