"""Every verb that judges tests its judge first, keeps what was found, and a command tests a model alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

import cai
from cai.cli.models import models
from cai.core.addresses import DataSource
from cai.core.errors import ModelError, UsageError
from cai.core.records import Message
from cai.data.export import ExportOptions, export_run
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.judging.plan import plan_judge
from cai.judging.run import judge_again
from cai.judging.settings import RejudgeSettings
from cai.loop.run import _now
from cai.loop.settings import LoopSettings
from cai.method.settings import CheckSettings
from cai.models.given import GivenModel
from cai.models.scripted import ScriptedEngine
from cai.models.spec import LabelledModel, ModelSpec
from cai.pipeline.watch import Watch

UNTESTED = CheckSettings(judge_check=False)


class Counted(ScriptedEngine):
    """A judge that sees places alone, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        super().__init__(lambda _request: "Well.", self.weigh, name="places")

    def weigh(self, _messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        self.asked += 1
        return (0.8, 0.2)


def labelled(engine: ScriptedEngine, label: str) -> LabelledModel:
    return LabelledModel(label, GivenModel(engine))


def evaluated(out: Path, judge: Counted, *labels: str, **changes: Any) -> tuple[list[str], Evaluation]:
    writer = ScriptedEngine(lambda _request: "Well, no.", lambda _messages, _options: (0.5, 0.5), name="writer")
    settings = EvaluateSettings(
        tuple(labelled(writer, label) for label in labels), "harmless", judge=GivenModel(judge), limit=4, out=out
    )
    said: list[str] = []
    found = asyncio.run(evaluate(plan_evaluate(replace(settings, **changes)), Watch(say=said.append)))
    assert isinstance(found, Evaluation)
    return said, found


@pytest.mark.slow
def test_an_evaluation_tests_its_judge_once_and_tells_it_with_the_result(tmp_path: Path) -> None:
    judge = Counted()
    said, found = evaluated(tmp_path, judge, "one", "two")
    assert any("warning: the judge places sees positions" in line and "up to 4 pairs" in line for line in said)
    assert found.judge_check is not None
    document = orjson.loads((tmp_path / "evaluation.json").read_bytes())
    assert document["judge_check"]["same_place"] == found.judge_check.same_place == 15
    assert found.as_json()["judge_check"]["accuracy"]["value"] == 0.5
    again = Counted()
    said, _ = evaluated(tmp_path, again, "one", "two")
    assert again.asked == 0
    assert any("sees positions" in line for line in said)


@pytest.mark.slow
def test_a_single_model_is_compared_with_nobody_so_only_the_gate_is_tested(tmp_path: Path) -> None:
    said, found = evaluated(tmp_path, Counted(), "one")
    assert found.judge_check is not None
    assert (found.judge_check.judge, found.judge_check.gate) == (None, "places")
    assert ["does not know an answer that breaks" in line for line in said] == [True]


@pytest.mark.slow
def test_a_model_that_is_added_has_the_judge_tested_that_nobody_needed_before(tmp_path: Path) -> None:
    evaluated(tmp_path, Counted(), "one")
    said, found = evaluated(tmp_path, Counted(), "one", "two")
    assert found.judge_check is not None
    assert found.judge_check.judge == "places"
    assert any("sees positions" in line for line in said)


def test_an_evaluation_with_an_unfit_judge_is_refused_when_strict(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--strict makes no row with it"):
        evaluated(tmp_path, Counted(), "one", "two", checking=CheckSettings(strict=True))
    assert not list((tmp_path / "responses").iterdir())


def test_a_run_that_is_judged_again_tests_the_new_judge_and_the_card_tells_it(tmp_path: Path) -> None:
    settings = GenerateSettings("medical", model=ModelSpec.parse("scripted"), limit=2, out=tmp_path / "run")
    asyncio.run(generate(plan_generate(settings), Watch()))
    export_run(tmp_path / "run", ExportOptions())
    assert "The judge was not tested before it labelled." in (tmp_path / "run" / "README.md").read_text()
    judge = Counted()
    wanted = RejudgeSettings(DataSource.parse(str(tmp_path / "run")), judge=GivenModel(judge), out=tmp_path / "again")
    said: list[str] = []
    summary = asyncio.run(judge_again(plan_judge(wanted), Watch(say=said.append)))
    assert summary.judge_check is not None
    assert summary.judge_check.gate is None
    assert any("about 0 of 100 pairs" in line for line in said)
    export_run(tmp_path / "again", ExportOptions())
    card = (tmp_path / "again" / "README.md").read_text()
    assert "tested on pairs whose better answer is known" in card
    assert "sees positions, not answers" in card


def test_the_stages_of_a_loop_test_as_the_loop_was_told_and_are_not_run_again_for_it() -> None:
    loop = LoopSettings("medical", checking=UNTESTED)
    stage = GenerateSettings("medical")
    now = _now(stage, loop, fresh=False)
    assert isinstance(now, GenerateSettings)
    assert (stage.checking, now.checking) == (CheckSettings(), UNTESTED)


def test_a_model_is_tested_alone() -> None:
    told = CliRunner(env={"COLUMNS": "400"}).invoke(models, ["check", "tiny", "--judge", "--constitution", "medical"])
    assert told.exit_code == 0, told.output
    assert "judge check: known pairs (the embedded model's micro-world): the better answer preferred in 16 of 16" in (
        told.output
    )
    given = cai.check_model(Counted(), judge=True, progress=False)
    assert given.same_place == 15
    assert "sees positions" in given.problems()[0]


def test_a_constitution_without_the_test_that_it_is_for_is_refused() -> None:
    told = CliRunner().invoke(models, ["check", "scripted", "--constitution", "no-such.yaml"])
    assert isinstance(told.exception, UsageError)
    assert "--constitution goes with --judge" in str(told.exception)
    with pytest.raises(UsageError, match="constitution goes with judge=True"):
        cai.check_model(Counted(), constitution="no-such.yaml", progress=False)


def test_what_was_found_is_json() -> None:
    told = CliRunner().invoke(models, ["check", "scripted", "--judge", "--json"])
    found = orjson.loads(told.stdout)
    assert found["about"] == "principles of harmless"
    assert found["pairs"] == 15
    assert set(found["accuracy"]) == {"value", "low", "high"}
