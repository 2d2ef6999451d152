"""Formats of other tools: exactly the columns that each reads, nothing dropped in silence, the same bytes again.

What the tools' own readers make of the files is in `test_export_tools.py`; the schemas here are what these demand.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from cai.core.errors import RunError, UsageError
from cai.data.export import ExportOptions, export_run
from cai.data.export.layouts import LAYOUTS, placing
from cai.data.export.layouts.descriptor import (
    BOTH_WAYS,
    ORDER_OF_TURNS,
    REASONING,
    SEVERAL_TURNS,
    SOFT_LABELS,
    SYSTEM_TURN,
    ExportLayout,
)
from cai.data.export.layouts.writing import SOURCES
from cai.data.export.summary import ExportSummary
from cai.data.quality.ledger import read_ledger
from cai.rundir.layout import SFT
from tests.command import Cai
from tests.layouts import PROMPTS, SYSTEM, TALK, make_run, records

OPTIONS = ExportOptions(test_share=0.3)
TEXT = {"type": "string", "minLength": 1}


def obj(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"id": TEXT, **properties},
        "required": [*properties],
        "additionalProperties": False,
    }


def turns(role: str, content: str, *names: str, last: str) -> dict[str, Any]:
    """Return the schema of a conversation: alternating speakers, perhaps after the system's turn, ending with one."""
    turn = {"type": "object", "properties": {role: {"enum": list(names)}, content: TEXT}, "required": [role, content]}
    return {
        "type": "array",
        "minItems": 1,
        "items": {**turn, "additionalProperties": False},
        "contains": {"properties": {role: {"const": last}}},
    }


def chat(last: str) -> dict[str, Any]:
    return turns("role", "content", "system", "user", "assistant", last=last)


def shared(last: str) -> dict[str, Any]:
    return turns("from", "value", "system", "human", "gpt", last=last)


ANSWER = {
    "type": "object",
    "properties": {"role": {"const": "assistant"}, "content": TEXT},
    "additionalProperties": False,
}
GPT = {"type": "object", "properties": {"from": {"const": "gpt"}, "value": TEXT}, "additionalProperties": False}
ASKED = {
    "instruction": TEXT,
    "input": {"const": ""},
    "system": {"type": "string"},
    "history": {"type": "array", "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}},
}
BOOLEAN = {"type": "boolean"}
ONE = {"type": "array", "minItems": 1, "maxItems": 1, "items": ANSWER}
COMPLETIONS = {"type": "array", "minItems": 2, "items": obj(rank={"type": "integer", "minimum": 0}, completion=ONE)}

SCHEMAS: dict[str, dict[str, dict[str, Any]]] = {
    "llama-factory": {
        "sft": obj(conversations=shared("gpt")),
        "preference": obj(conversations=shared("human"), chosen=GPT, rejected=GPT),
        "kto": obj(conversations=shared("gpt"), kto_tag=BOOLEAN),
    },
    "axolotl": {
        "sft": obj(messages={"type": "array", "items": {"required": ["role", "content", "training"]}}),
        "preference": obj(messages=chat("user"), chosen=ANSWER, rejected=ANSWER),
        "kto": obj(completion=chat("assistant"), label=BOOLEAN),
    },
    "openrlhf": {
        "sft": obj(input=chat("user"), output=ONE),
        "preference": obj(prompt=chat("user"), chosen=ONE, rejected=ONE),
    },
    "verl": {
        "sft": obj(messages=chat("assistant")),
        "preference": obj(prompt=TEXT, chosen=TEXT, rejected=TEXT),
        "rl": obj(
            data_source={"const": "cai"},
            prompt=chat("user"),
            ability={"const": "alignment"},
            reward_model=obj(style={"const": "model"}, ground_truth=TEXT),
            extra_info=obj(split={"enum": ["train", "test"]}, index={"type": "integer"}, id=TEXT),
        ),
    },
    "nemo-rl": {
        "sft": obj(messages=chat("assistant")),
        "preference": obj(context=chat("user"), completions={**COMPLETIONS, "maxItems": 2}),
        "ranking": obj(context=chat("user"), completions=COMPLETIONS),
    },
    "sharegpt": {
        "sft": obj(conversations=shared("gpt")),
        "preference": obj(conversations=shared("human"), chosen=GPT, rejected=GPT),
    },
    "alpaca": {
        "sft": obj(**ASKED, output=TEXT),
        "preference": obj(**ASKED, chosen=TEXT, rejected=TEXT),
        "kto": obj(**ASKED, output=TEXT, kto_tag=BOOLEAN),
    },
    "csv": {
        "sft": obj(system={"type": "string"}, prompt=TEXT, completion=TEXT),
        "preference": obj(
            system={"type": "string"},
            prompt=TEXT,
            chosen=TEXT,
            rejected=TEXT,
            chosen_probability={"pattern": r"^[01]\."},
        ),
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("layouts") / "run")


@pytest.fixture(scope="module")
def exports(run: Path) -> dict[str, ExportSummary]:
    return {name: export_run(run, OPTIONS, name) for name in LAYOUTS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_record_is_as_the_tool_documents_it(run: Path, exports: dict[str, ExportSummary], name: str) -> None:
    layout = exports[name].layout
    assert layout is not None
    assert set(layout.parts) == set(SCHEMAS[name])
    for folder, schema in SCHEMAS[name].items():
        found = records(run / name, folder)
        assert len(found) == layout.parts[folder].size > 0
        validator = Draft202012Validator(schema)
        for record in found:
            validator.validate(record)


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - {"argilla"}))
def test_the_card_tells_datasets_what_to_load(run: Path, exports: dict[str, ExportSummary], name: str) -> None:
    layout = exports[name].layout
    assert layout is not None
    text = (run / name / "README.md").read_text()
    configs = {one["config_name"]: one["data_files"] for one in yaml.safe_load(text.split("---")[1])["configs"]}
    assert set(configs) == set(layout.parts)
    for folder, files in configs.items():
        assert {one["split"] for one in files} == {"train", "test"}
        assert all((run / name / one["path"]).is_file() for one in files), folder


def test_datasets_loads_a_format_from_its_folder(run: Path, exports: dict[str, ExportSummary], tmp_path: Path) -> None:
    pairs = load_dataset(str(run / "llama-factory"), "preference", cache_dir=str(tmp_path))
    layout = exports["llama-factory"].layout
    assert layout is not None
    assert (len(pairs["train"]), len(pairs["test"])) == (
        layout.parts["preference"].train,
        layout.parts["preference"].test,
    )


def test_what_a_format_has_no_place_for_is_counted(exports: dict[str, ExportSummary]) -> None:
    layouts = {name: summary.layout for name, summary in exports.items()}
    pairs = {name: layout.parts["preference"] for name, layout in layouts.items() if layout is not None}
    assert pairs["jsonl"].not_held == {}
    assert pairs["csv"].not_held.keys() == pairs["argilla"].not_held.keys() == {"where answers come from"}
    assert pairs["openrlhf"].not_held[SOFT_LABELS] == pairs["openrlhf"].size
    assert layouts["alpaca"] is not None
    assert layouts["alpaca"].without == {"ranking": len(PROMPTS) * 2}


def test_what_a_format_cannot_hold_is_left_out_by_reason(run: Path, exports: dict[str, ExportSummary]) -> None:
    whole = exports["jsonl"].sft.size
    assert whole == len(PROMPTS) * 4
    assert exports["llama-factory"].sft.left_out == {ORDER_OF_TURNS: 4}
    assert exports["csv"].sft.left_out == {ORDER_OF_TURNS: 4, SEVERAL_TURNS: 8}
    verl = exports["verl"].preference.left_out
    assert {SEVERAL_TURNS, SYSTEM_TURN, ORDER_OF_TURNS} <= set(verl)
    for summary in exports.values():
        assert summary.sft.size + sum(summary.sft.left_out.values()) == whole
    listed = list(read_ledger(run / "csv" / "quality" / "ledger.parquet", SEVERAL_TURNS))
    assert {(entry.dataset, entry.id) for entry in listed if entry.dataset == "sft"} == {
        (SFT, f"{name}-{number}") for name in ("talk", "both") for number in range(2)
    }
    assert listed[0].reason == "the format holds one question and its answer, and there was talk before"
    assert "turns that do not alternate | 4" in (run / "llama-factory" / "README.md").read_text()


def test_reasoning_is_kept_where_it_can_be_and_counted_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "plain", "talk")
    asked = ExportOptions(test_share=0.0, reasoning=True)
    kept, lost = (export_run(run, asked, name) for name in ("axolotl", "openrlhf"))
    answers = [record["messages"][-1] for record in records(run / "axolotl", "sft")]
    assert [answer.get("reasoning_content") for answer in answers] == [None, None, "hm", "hm"] * 2
    assert kept.layout is not None
    assert lost.layout is not None
    assert kept.layout.parts["sft"].not_held.keys() == {"where answers come from"}
    assert lost.layout.parts["sft"].not_held[REASONING] == 4
    pairs = kept.layout.parts["preference"].not_held, lost.layout.parts["preference"].not_held
    assert pairs[0][REASONING] == pairs[1][REASONING] > 0


def test_only_the_last_answer_of_a_conversation_is_learnt(run: Path, exports: dict[str, ExportSummary]) -> None:
    found = next(record for record in records(run / "axolotl", "sft") if record["id"] == "both-0")
    learnt = [(turn["role"], turn["training"]) for turn in found["messages"]]
    assert learnt == [*((turn["role"], False) for turn in (SYSTEM, *TALK)), ("assistant", True)]


def test_thumbs_are_the_answers_of_pairs_each_once() -> None:
    def pair(chosen: str, rejected: str) -> dict[str, Any]:
        return {
            "id": "p",
            "prompt": [],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }

    left_out: Counter[str] = Counter()

    def leave_out(_: Any, reason: str, __: str) -> None:
        left_out[reason] += 1

    pairs = [pair("best", "middle"), pair("middle", "worst"), pair("best", "worst")]
    found = [(one["completion"][0]["content"], one["label"]) for one in SOURCES["thumbs"](pairs, leave_out)]
    assert found == [("best", True), ("worst", False)]
    assert left_out == {BOTH_WAYS: 1, "duplicate": 3}


def test_people_are_not_shown_the_better_answer_first(run: Path, exports: dict[str, ExportSummary]) -> None:
    judged = {}
    for record in records(run / "argilla", "preference"):
        suggestion = record["suggestions"]["better"]
        judged[record["id"]] = record["fields"][f"response_{suggestion['value']}"]
        assert 0.5 < suggestion["score"] <= 1.0
    chosen = {
        f"{pair['id']}:{pair['chosen_source']}:{pair['rejected_source']}": pair["chosen"][0]["content"]
        for pair in records(run / "jsonl", "preference")
    }
    assert judged == chosen
    assert {record["suggestions"]["better"]["value"] for record in records(run / "argilla", "preference")} == {"a", "b"}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_exporting_again_gives_the_same_bytes(run: Path, exports: dict[str, ExportSummary], name: str) -> None:
    before = snapshot(run / name)
    export_run(run, OPTIONS, name)
    assert snapshot(run / name) == before


def test_what_is_no_longer_made_is_removed_and_nothing_else_is_touched(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "plain")
    export_run(run, ExportOptions(test_share=0.99), "openrlhf")
    (run / "openrlhf" / "mine.txt").write_text("mine")
    export_run(run, ExportOptions(test_share=0.0), "openrlhf")
    assert not list((run / "openrlhf").rglob("test.jsonl"))
    assert "--eval.dataset" not in (run / "openrlhf" / "sft.args").read_text()
    assert (run / "openrlhf" / "mine.txt").read_text() == "mine"


def test_a_file_of_somebody_elses_is_refused_before_any_work(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "plain")
    (run / "verl").mkdir()
    with pytest.raises(RunError, match="verl was not written by cai"):
        export_run(run, OPTIONS, "verl")


def test_a_failure_on_the_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", "plain")
    export_run(run, OPTIONS, "csv")
    before = snapshot(run / "csv")

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cai.data.export.layouts.writing.sync_file", broken)
    with pytest.raises(Exception, match="the disk is full"):
        export_run(run, ExportOptions(test_share=0.9), "csv")
    assert snapshot(run / "csv") == before


def test_a_format_from_outside_is_one_line_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ExportLayout(
        "mine", "My tool", LAYOUTS["jsonl"].parts[:1], "Read it.\n", lambda _: {"mine.txt": "x"}, ("mine.txt",)
    )
    monkeypatch.setitem(LAYOUTS, "mine", mine)
    monkeypatch.setattr(placing, "FORMATS", ("trl", *LAYOUTS))
    run = make_run(tmp_path / "run", "plain")
    export_run(run, OPTIONS, "mine")
    assert (run / "mine" / "mine.txt").read_text() == "x"
    assert "## For My tool\n\nRead it." in (run / "mine" / "README.md").read_text()


def test_there_is_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no format 'parquet'; there are trl, llama-factory"):
        export_run(make_run(tmp_path / "run", "plain"), OPTIONS, "parquet")


def test_the_command_says_what_the_format_could_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", "plain", "talk")
    code, out, _ = Cai(capsys)("export", str(run), "--format", "csv", "--test-share", "0")
    assert code == 0
    assert "left out of sft: several turns 4" in out
    assert "not held of sft: where answers come from 4" in out
    assert f"for CSV: {run}/csv/README.md says how it is read" in out
