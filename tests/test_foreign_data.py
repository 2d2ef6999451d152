"""Every public layout with every verb that reads data: each goes on from a file as it is published, or says why not."""

import asyncio
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cai.check.plan import plan_check
from cai.check.settings import DataCheckSettings
from cai.core.addresses import DataSource
from cai.core.errors import InputError, RunError, UsageError
from cai.core.records import Prompt, Row
from cai.data.examples.tables import Example
from cai.data.export import ExportOptions
from cai.data.export.datasets import dataset
from cai.data.export.splits import further_pair, split_of
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.plan import plan_generate
from cai.generate.settings import GenerateSettings
from cai.judging.plan import plan_judge
from cai.judging.run import judge_again
from cai.judging.settings import RejudgeSettings
from cai.method.settings import CheckSettings
from cai.method.templates import Templates
from cai.models.given import GivenModel
from cai.models.scripted import ScriptedEngine
from cai.models.spec import LabelledModel, ModelSpec
from cai.pipeline.watch import Watch
from cai.rundir import Run
from cai.train.settings import DataSettings
from tests.building import shown_answers
from tests.test_shapes import CASES, PKU, write

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from cai.train.data.examples import load_examples

SCRIPTED = ModelSpec.parse("scripted")
OTHER = {"prompt": "What else?"}
UNTESTED = CheckSettings(judge_check=False)
ONE_ANSWER = {(case[0], case[1]) for case in CASES if not {"chosen", "answers", "rejected"} & set(case[3][0])} - {
    ("hf-cai", "supervised"),
    ("pku-saferlhf-safe", "labelled"),
}
"""Layouts with one answer to a prompt, which nobody can compare."""

LOADED = cache(Templates.load)
NAMES = [f"{case[0]}-{case[1]}" for case in CASES]


def prefers_good(messages: Any, _options: Any) -> tuple[float, float]:
    """Judge as everybody would who reads the answers and not their places."""
    first, _second = shown_answers(messages[-1]["content"])
    return (0.9, 0.1) if "Good" in first else (0.1, 0.9)


def judge_settings(data: DataSource, out: Path, **changes: Any) -> RejudgeSettings:
    judge = GivenModel(ScriptedEngine(lambda _request: "A", prefers_good, name="reader"))
    return RejudgeSettings(data, checking=UNTESTED, constitution="helpful", judge=judge, out=out, **changes)


@pytest.fixture(autouse=True)
def templates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Templates, "load", LOADED)


@pytest.mark.parametrize(("name", "kind", "row", "wanted"), CASES, ids=NAMES)
def test_every_verb_reads_every_layout(
    name: str, kind: Any, row: dict[str, Any], wanted: list[dict[str, Any]], tmp_path: Path
) -> None:
    source = write(tmp_path / "rows.jsonl", row)
    shape = name if name.startswith("pku") else None
    asked = wanted[0].get("prompt") or wanted[0]["messages"][:-1]
    for prompts in (
        plan_generate(GenerateSettings(constitution="helpful", model=SCRIPTED, prompts=source)).prompts,
        plan_evaluate(EvaluateSettings((LabelledModel(None, SCRIPTED),), "helpful", prompts=(source,))).prompts,
    ):
        assert [list(item.messages) for item in prompts if isinstance(item, Prompt)] == [asked]
    learnt: Any = "pairs" if kind == "ranked" else kind
    trained = load_examples(learnt, DataSettings((source,), test_share=0.0, shape=shape), 0)
    assert len(trained.train) == len(wanted)
    checked = plan_check(DataCheckSettings(source, learnt, shape=shape, against=(source,))).examples
    assert len([item for item in checked.examples() if isinstance(item, Example)]) == len(wanted)
    if (name, kind) in ONE_ANSWER:
        with pytest.raises(InputError, match=r"rows.jsonl has the columns .*; judging needs chosen and"):
            plan_judge(judge_settings(source, tmp_path / "out"))
        return
    rows = plan_judge(judge_settings(source, tmp_path / "out", shape=shape and "pku-saferlhf-safer")).source.rows()
    (judged_row,) = (item for item in rows if isinstance(item, Row))
    assert list(judged_row.prompt.messages) == asked
    assert {trace.response for trace in judged_row.traces} >= {"Good.", "Bad."}


def test_a_data_set_is_judged_into_a_run_and_its_labels_are_not_looked_at(tmp_path: Path) -> None:
    said = {"prompt": "Why?", "chosen": "Bad.", "rejected": "Good."}
    again = {"prompt": "Why?", "chosen": "Good!", "rejected": "Bad!"}
    others = [
        {"id": str(number), "prompt": f"Why {number}?", "chosen": "Good.", "rejected": "Bad."} for number in range(8)
    ]
    broken = {"prompt": "", "chosen": "a", "rejected": "b"}
    source = write(
        tmp_path / "pairs.jsonl", said, again, {**said, "chosen": "Good.", "rejected": "Bad."}, broken, *others
    )
    told: list[str] = []
    plan = plan_judge(judge_settings(source, tmp_path / "out"))
    summary = asyncio.run(judge_again(plan, Watch(say=told.append)))
    assert (summary.rows, summary.duplicates, summary.failures) == (10, 1, {"input: empty": 1})
    rows = list(Run.read(tmp_path / "out"))
    assert rows[1].prompt.id == further_pair(rows[0].prompt.id, 2)
    assert [row.prompt.id for row in rows[2:]] == [str(number) for number in range(8)]
    assert {split_of(row.prompt.id, share / 10) for row in rows[:2] for share in range(1)} == {"train"}
    assert all(split_of(rows[0].prompt.id, n / 10) == split_of(rows[1].prompt.id, n / 10) for n in range(11))
    assert {row.traces[0].response for row in rows[2:]} == {"Good.", "Bad."}, "no place goes with the label"
    pairs, answers = (
        dataset(Run.read(tmp_path / "out"), name, ExportOptions(test_share=0.0)).to_list()
        for name in ("preference", "sft")
    )
    assert len(pairs) == len(answers) == len(rows)
    assert {pair["chosen"][0]["content"] for pair in pairs} == {"Good.", "Good!"}
    assert {answer["completion"][0]["content"] for answer in answers} == {"Good.", "Good!"}, "what the judge preferred"
    # The run that was made is one like any other: it can be judged again, and the same command goes on.
    second = judge_settings(DataSource.parse(str(tmp_path / "out")), tmp_path / "again")
    assert asyncio.run(judge_again(plan_judge(second), Watch(say=told.append))).rows == 10
    resumed = asyncio.run(judge_again(plan_judge(judge_settings(source, tmp_path / "out")), Watch(say=told.append)))
    assert (resumed.done, resumed.skipped) == (0, 11)


def test_a_data_set_that_was_changed_does_not_go_on_under_the_same_name(tmp_path: Path) -> None:
    pair = {"id": "q", "prompt": "Why?", "chosen": "Good.", "rejected": "Bad."}
    for answer in ("Bad.", "Worse."):
        source = write(tmp_path / "pairs.jsonl", {**pair, "rejected": answer})
        plan = plan_judge(judge_settings(source, tmp_path / "out"))
        if answer == "Bad.":
            asyncio.run(judge_again(plan, Watch(say=lambda _: None)))
        else:
            with pytest.raises(UsageError, match="data"):
                asyncio.run(judge_again(plan, Watch(say=lambda _: None)))


def test_what_a_data_set_does_not_say_is_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "pairs.jsonl", {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."})
    settings = judge_settings(source, tmp_path / "out")
    with pytest.raises(RunError, match=r"pairs.jsonl does not say which constitution .* name one with --constitution"):
        plan_judge(replace(settings, constitution=None))
    with pytest.raises(RunError, match=r"pairs.jsonl does not say who judged it; name a model with --judge"):
        plan_judge(replace(settings, judge=None))
    with pytest.raises(InputError, match="say which with --shape pku-saferlhf-better or --shape pku-saferlhf-safer"):
        plan_judge(replace(settings, data=write(tmp_path / "pku.jsonl", PKU)))


def test_answers_that_are_ranked_are_all_compared(tmp_path: Path) -> None:
    answers = [
        {"text": text, "score": score, "model": f"m{score}"} for score, text in enumerate(("Bad.", "Good.", "Worse."))
    ]
    source = write(tmp_path / "ranked.jsonl", {"prompt": "Why?", "answers": answers})
    asyncio.run(judge_again(plan_judge(judge_settings(source, tmp_path / "out")), Watch(say=lambda _: None)))
    (row,) = Run.read(tmp_path / "out")
    assert {(trace.response, trace.model) for trace in row.traces} == {
        ("Bad.", "m0"),
        ("Good.", "m1"),
        ("Worse.", "m2"),
    }
    assert len(row.verdicts) == 3
