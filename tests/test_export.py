"""What an export holds, what it leaves out, and that it is the same bytes however the rows came to be."""

import fcntl
import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import RunError, UsageError
from cai.core.records import Prompt, Round, Row, Trace, Usage, Verdict
from cai.data.export import DatasetName, ExportOptions, dataset, export_run
from cai.data.export import splits as splits_module
from cai.data.export.preference import preference_pairs
from cai.data.export.sft import sft_examples
from cai.data.quality import count_left_out
from cai.method.verdicts import TIE_LEAD
from cai.rundir import Run
from cai.rundir import run as run_module
from cai.rundir.drop import RowChoice, drop_rows
from tests.storage import PROVENANCE, abstention, fill, make_failure, make_row, open_run, user, verdict


def row_of(traces: tuple[Trace, ...], verdicts: tuple[Verdict, ...] = ()) -> Row:
    prompt = Prompt("p", 0, (user("hello"), {"role": "assistant", "content": "yes?"}, user("how?")))
    return Row(prompt, traces, verdicts, Usage(1, 1, 0, 1), PROVENANCE)


def trace(
    sample: int, response: str, *revisions: str | None, truncated: bool = False, last_truncated: bool = False
) -> Trace:
    rounds = tuple(
        Round(
            f"principle-{number}",
            0.5,
            None if text is None else "critique",
            text,
            last_truncated and number == len(revisions),
        )
        for number, text in enumerate(revisions, start=1)
    )
    final = next((text for text in reversed(revisions) if text is not None), response)
    return Trace(sample, 0, response, rounds, final, truncated)


def texts_of(row: Row, all_revisions: bool = False) -> tuple[list[tuple[str, int, list[str]]], Counter[str]]:
    left_out: Counter[str] = Counter()
    examples = sft_examples(row, all_revisions, count_left_out(left_out))
    return [(item["completion"][0]["content"], item["round"], item["principles"]) for item in examples], left_out


def pairs_of(*verdicts: Verdict, traces: tuple[Trace, ...] | None = None) -> tuple[list[dict[str, Any]], Counter[str]]:
    left_out: Counter[str] = Counter()
    row = row_of(traces or (trace(0, "good", "better"), trace(1, "bad")), verdicts)
    return list(preference_pairs(row, count_left_out(left_out))), left_out


def test_an_sft_example_says_where_its_text_comes_from() -> None:
    row = row_of((trace(1, "draft", "same", None, "same", "last"),))
    (example,) = sft_examples(row, False, count_left_out(Counter()))
    answer = {"role": "assistant", "content": "last"}
    assert example == {
        "id": "p",
        "messages": [*row.prompt.messages, answer],
        "prompt": row.prompt.messages,
        "completion": [answer],
        "sample": 1,
        "round": 4,
        "principles": ["principle-1", "principle-4"],
    }


def test_all_revisions_are_those_that_changed_the_text() -> None:
    row = row_of((trace(0, "draft", "draft", "second", None, "third"), trace(1, "kept", None, "kept")))
    examples, _ = texts_of(row, all_revisions=True)
    assert examples == [
        ("second", 2, ["principle-2"]),
        ("third", 4, ["principle-2", "principle-4"]),
        ("kept", 0, []),
    ]
    assert texts_of(row)[0] == [("third", 4, ["principle-2", "principle-4"]), ("kept", 0, [])]


def test_sft_leaves_out_and_counts_what_teaches_nothing() -> None:
    traces = (trace(0, "a"), trace(1, "a"), trace(2, "b", "a"), trace(3, "c", " \n"), trace(4, "d", truncated=True))
    examples, left_out = texts_of(row_of(traces))
    assert examples == [("a", 0, [])]
    assert left_out == {"duplicate": 2, "empty": 1, "truncated": 1}


def test_a_pair_is_in_the_chosen_answers_frame() -> None:
    (pair,), left_out = pairs_of(verdict("response:0", "response:1", 0.2, 0.3))
    assert not left_out
    assert pair == {
        "id": "p",
        "prompt": row_of(()).prompt.messages,
        "chosen": [{"role": "assistant", "content": "bad"}],
        "rejected": [{"role": "assistant", "content": "good"}],
        "chosen_probability": 0.75,
        "source": "samples",
        "principles": ["privacy"],
        "first": [0.7],
        "second": [0.8],
        "chosen_source": "response:1",
        "rejected_source": "response:0",
    }


def test_several_principles_are_one_pair_with_their_mean() -> None:
    (pair,), left_out = pairs_of(
        verdict("final:0", "response:0", 0.9, 0.7, "privacy"),
        verdict("final:0", "response:0", 0.3, 0.5, "kind-tone"),
        abstention("final:0", "response:0", "low mass"),
    )
    assert not left_out
    assert pair["chosen_probability"] == pytest.approx(0.6)
    assert (pair["principles"], pair["first"], pair["second"]) == (["privacy", "kind-tone"], [0.9, 0.3], [0.7, 0.5])
    assert (pair["source"], pair["chosen_source"], pair["rejected_source"]) == ("revision", "final:0", "response:0")
    assert pair["chosen"] == [{"role": "assistant", "content": "better"}]


def test_one_order_alone_is_kept_as_one() -> None:
    one_order = Verdict("response:0", "response:1", "privacy", None, 0.25, None, 0.9, 0.25, None, ())
    (pair,), _ = pairs_of(one_order)
    assert (pair["first"], pair["second"], pair["chosen_probability"]) == ([0.75], [None], 0.75)


@pytest.mark.parametrize(
    ("verdicts", "traces", "reason"),
    [
        ([abstention("response:0", "response:1", "low mass")], None, "abstained"),
        ([verdict("response:0", "response:1", 0.6, 0.4)], None, "tie"),
        (
            [verdict("response:0", "response:1", 0.9, 0.7, "x"), verdict("response:0", "response:1", 0.1, 0.3, "y")],
            None,
            "tie",
        ),
        ([verdict("response:0", "response:1", 0.9, 0.9)], (trace(0, "same"), trace(1, "same\n")), "identical"),
        ([verdict("response:0", "response:1", 0.9, 0.9)], (trace(0, "text"), trace(1, " ")), "empty"),
        ([verdict("response:0", "response:1", 0.9, 0.9)], (trace(0, "a", truncated=True), trace(1, "b")), "truncated"),
        ([verdict("response:0", "response:1", 0.9, 0.9)], (trace(0, "a"), trace(1, "b", truncated=True)), "truncated"),
    ],
)
def test_no_pair_without_a_preference(verdicts: list[Verdict], traces: tuple[Trace, ...] | None, reason: str) -> None:
    pairs, left_out = pairs_of(*verdicts, traces=traces)
    assert pairs == []
    assert left_out == {reason: 1}


def test_a_verdict_on_an_answer_that_is_not_there_is_told() -> None:
    with pytest.raises(RunError, match=r"prompt 'p' has a verdict on 'response:7'"):
        pairs_of(verdict("response:0", "response:7", 0.9, 0.9))


@given(st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_comparison_changes_no_pair(first: float, second: float) -> None:
    straight, left_out = pairs_of(verdict("response:0", "response:1", first, second))
    swapped, left_out_too = pairs_of(verdict("response:1", "response:0", 1 - second, 1 - first))
    assert all(pair["chosen_probability"] > 0.5 for pair in straight)
    if abs((first + second) / 2 - 0.5) < TIE_LEAD + 1e-9:
        return
    assert left_out == left_out_too == {}
    for one, other in zip(straight, swapped, strict=True):
        assert (one["chosen"], one["rejected"]) == (other["chosen"], other["rejected"])
        for name in ("chosen_probability", "first", "second"):
            assert other[name] == pytest.approx(one[name])


def columns(directory: Path, kind: str, split: str) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = pq.read_table(directory / kind / f"{split}.parquet").to_pydict()
    return table


def test_an_export_counts_what_it_writes(tmp_path: Path) -> None:
    rows = [make_row(number) for number in range(60)]
    fill(tmp_path, rows, [make_failure(100), make_failure(101), make_failure(102, stage="input")])
    summary = export_run(tmp_path, ExportOptions(test_share=0.2))
    assert summary.rows == 60
    assert summary.sft.train + summary.sft.test == 120
    pairs = summary.preference
    assert pairs.train + pairs.test + sum(pairs.left_out.values()) == 180
    assert pairs.train + pairs.test > 150
    assert summary.failures == {"input": 1, "request": 2}
    counted = {"sft": summary.sft, "preference": summary.preference, "ranking": summary.ranking}
    for kind, counts in counted.items():
        ids = {split: columns(tmp_path, kind, split)["id"] for split in ("train", "test")}
        assert (len(ids["train"]), len(ids["test"])) == (counts.train, counts.test)
        assert 4 <= len(set(ids["test"])) <= 22
        assert set(ids["train"]).isdisjoint(ids["test"])
    assert set(columns(tmp_path, "sft", "test")["id"]) == set(columns(tmp_path, "preference", "test")["id"])
    assert [path.name for path in (tmp_path / ".cai").iterdir()] == ["record.jsonl"]


def test_a_prompt_stays_on_its_side_when_the_run_grows(tmp_path: Path) -> None:
    sides = []
    for count in (30, 60):
        fill(tmp_path, [make_row(number) for number in range(count)])
        export_run(tmp_path, ExportOptions(test_share=0.3))
        sides.append(set(columns(tmp_path, "sft", "test")["id"]))
    assert sides[0] == {name for name in sides[1] if int(name.removeprefix("prompt-")) < 30}


def digests(directory: Path) -> dict[str, str]:
    kinds = ("sft", "preference", "ranking")
    names = [f"{kind}/{split}.parquet" for kind in kinds for split in ("train", "test")]
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in [*names, "README.md"]}


def test_exports_are_the_same_bytes_however_often_the_run_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(number) for number in range(50)]
    fill(tmp_path / "whole", rows)
    monkeypatch.setattr(run_module, "JOURNAL_ROWS", 7)
    for start in range(0, 50, 9):
        run = open_run(tmp_path / "pieces")
        for row in reversed(rows[start : start + 9]):
            run.commit(row)
        run.close("interrupted")
    for name in ("whole", "pieces"):
        export_run(tmp_path / name, ExportOptions())
    first = digests(tmp_path / "whole")
    assert digests(tmp_path / "pieces") == first
    export_run(tmp_path / "whole", ExportOptions())
    assert digests(tmp_path / "whole") == first


def test_the_card_tells_counts_and_origin(tmp_path: Path) -> None:
    row = make_row(0)
    abstained = (*row.verdicts, abstention("response:0", "final:0", "low mass"))
    fill(tmp_path, [Row(row.prompt, row.traces, abstained, row.usage, row.provenance)], [make_failure(1)])
    export_run(tmp_path, ExportOptions(test_share=0.0))
    card = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert [config["config_name"] for config in front["configs"]] == ["sft", "preference", "ranking"]
    assert "license" not in front
    for line in (
        "| sft | 2 | 0 |",
        "| preference | 3 | 0 |",
        "| ranking | 1 | 0 |",
        "| preference | abstained | 1 |",
        "| verdicts | abstained: low mass | 1 |",
        "| prompts | failed: request | 1 |",
        "| constitution | `test 1 0123456789abcdef` |",
    ):
        assert line in card.splitlines()


@pytest.mark.parametrize(("prompts", "groups"), [(20, [20, 20]), (21, [20, 20, 2])])
def test_row_groups_have_a_fixed_size_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: int, groups: list[int]
) -> None:
    monkeypatch.setattr(splits_module, "ROWS_PER_BATCH", 5)
    monkeypatch.setattr(splits_module, "ROWS_PER_GROUP", 20)
    rows = [make_row(number) for number in range(prompts)]
    fill(tmp_path, rows)
    export_run(tmp_path, ExportOptions(test_share=0.0))
    metadata = pq.ParquetFile(tmp_path / "sft" / "train.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == groups
    texts = [turns[0]["content"] for turns in columns(tmp_path, "sft", "train")["completion"]]
    assert texts == [trace.final for row in rows for trace in row.traces]


def test_a_split_that_became_empty_has_no_file_and_no_name(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(number) for number in range(20)])
    for share, splits in ((0.5, ["train", "test"]), (0.0, ["train"])):
        export_run(tmp_path, ExportOptions(test_share=share))
        front = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])
        for config in front["configs"]:
            assert [item["split"] for item in config["data_files"]] == splits
            assert {path.stem for path in (tmp_path / config["config_name"]).iterdir()} == set(splits)


def test_a_run_that_is_open_can_be_exported(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.commit(make_row(0))
    assert export_run(tmp_path, ExportOptions()).rows == 1
    run.close("done")


def test_two_exports_of_one_run_do_not_mix(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(0)])
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(RunError, match="is being exported by another process"):
        export_run(tmp_path, ExportOptions())
    os.close(other)
    export_run(tmp_path, ExportOptions())


def test_an_export_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(number) for number in range(40)])
    export_run(tmp_path, ExportOptions())
    before = digests(tmp_path)
    run = open_run(tmp_path)
    run.commit(Row(Prompt("x", 90, (user("x"),)), (), (verdict("a", "b", 0.9, 0.9),), Usage(0, 0, 0, 0), PROVENANCE))
    run.close("done")
    with pytest.raises(RunError, match="no such answer"):
        export_run(tmp_path, ExportOptions())
    assert digests(tmp_path) == before
    assert [path.name for path in (tmp_path / ".cai").iterdir()] == ["record.jsonl"]


def test_misuse_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        export_run(tmp_path, ExportOptions())
    for share in (-0.1, 1.0):
        with pytest.raises(UsageError, match="test share"):
            ExportOptions(test_share=share)


def test_only_the_texts_that_were_cut_are_left_out() -> None:
    """A cut revision spoils the final text, not the response, and the other way round."""
    cut_final = row_of((trace(0, "a", "b", last_truncated=True), trace(1, "c")))
    assert texts_of(cut_final) == ([("c", 0, [])], {"truncated": 1})
    verdicts = (verdict("response:0", "response:1", 0.9, 0.9), verdict("final:0", "response:0", 0.9, 0.9))
    left_out: Counter[str] = Counter()
    pairs = list(preference_pairs(replace(cut_final, verdicts=verdicts), count_left_out(left_out)))
    assert [pair["chosen_source"] for pair in pairs] == ["response:0"]
    assert left_out == {"truncated": 1}
    cut_response = row_of((trace(0, "a", "b", truncated=True),))
    assert texts_of(cut_response) == ([("b", 1, ["principle-1"])], {})


def test_adherence_is_the_mean_of_the_gates(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(number) for number in range(5)])
    adherence = export_run(tmp_path, ExportOptions()).adherence
    assert list(adherence) == ["kind-tone", "privacy"]
    assert adherence["kind-tone"].mean == pytest.approx(0.9)
    assert adherence["privacy"].gates == 10


@pytest.mark.parametrize("name", ["sft", "preference"])
@pytest.mark.parametrize("all_revisions", [False, True])
def test_a_dataset_in_memory_is_what_an_export_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: DatasetName, all_revisions: bool
) -> None:
    monkeypatch.setattr("cai.data.export.datasets.ROWS_PER_BATCH", 7)
    fill(tmp_path, map(make_row, range(40)))
    options = ExportOptions(all_revisions=all_revisions, test_share=0.3)
    export_run(tmp_path, options)
    reader, left_out = Run.read(tmp_path), Counter[str]()
    splits = {split: dataset(reader, name, options, split=split) for split in ("train", "test")}
    for split, made in splits.items():
        table = pq.read_table(tmp_path / name / f"{split}.parquet")
        assert made.to_list() == table.to_pylist()
        assert made.features.arrow_schema.remove_metadata().equals(table.schema.remove_metadata())
    whole = dataset(reader, name, options, left_out=left_out)
    assert Counter(whole["id"]) == Counter(splits["train"]["id"]) + Counter(splits["test"]["id"])
    assert [row.prompt.id for row in reader if row.prompt.id in set(whole["id"])] == list(dict.fromkeys(whole["id"]))


def test_a_run_without_rows_has_empty_datasets(tmp_path: Path) -> None:
    fill(tmp_path, [])
    assert dataset(Run.read(tmp_path), "sft").num_rows == 0


def test_an_export_that_holds_less_than_the_last_one_says_so(tmp_path: Path) -> None:
    rows = [
        replace(row_of((trace(0, f"draft {number}", "second", "third"),)), prompt=make_row(number).prompt)
        for number in range(30)
    ]
    fill(tmp_path, rows)
    assert export_run(tmp_path, ExportOptions(all_revisions=True)).remarks == ()
    assert export_run(tmp_path, ExportOptions(all_revisions=True)).remarks == ()
    assert export_run(tmp_path, ExportOptions()).remarks == (
        "sft holds 30 examples where the last export had 60: they were of every round, which --all-revisions exports "
        "again",
    )
    assert export_run(tmp_path, ExportOptions()).remarks == ()
    (told,) = export_run(tmp_path, ExportOptions(test_share=0.5)).remarks
    assert "--test-share was another one" in told
    drop_rows(tmp_path, RowChoice(ids={"prompt-1", "prompt-2"}), "why")
    (told,) = export_run(tmp_path, ExportOptions(test_share=0.5)).remarks
    assert told == "sft holds 28 examples where the last export had 30"
    (tmp_path / "sft" / "train.parquet").write_bytes(b"")
    assert export_run(tmp_path, ExportOptions(test_share=0.5)).remarks == ()
