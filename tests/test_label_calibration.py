"""Soft labels that mean what they say: what is fitted, whose it is, and that everything that judges takes it."""

import asyncio
import json
import random
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.reliability import reliability
from cai.core.shares import Proportion
from cai.data.export import ExportOptions, export_run
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.loop.settings import LoopSettings
from cai.loop.stages import stages_of
from cai.method.judge import JudgeConfiguration, judge
from cai.method.label_calibration import (
    JudgeCalibration,
    JudgeCalibrations,
    fit_weights,
    load_calibrations,
    log_odds,
    weighed,
    write_calibrations,
)
from cai.method.settings import CheckSettings, JudgeSettings
from cai.models.given import GivenModel
from cai.models.spec import LabelledModel, ModelSpec
from cai.pipeline.watch import Watch
from cai.rundir import Run
from tests.building import PRINCIPLES, make_comparison, make_judge_configuration
from tests.test_judge_bench import benched, judging, longer, pairs, write


def calibration(judge: str, asked: dict[str, str], weight: float = 0.5) -> JudgeCalibration:
    return JudgeCalibration((judge,), asked, (weight,), 100, 100, 0.2, 0.02, 0.2, 0.1)


def calibrated(configuration: JudgeConfiguration, name: str, weight: float) -> JudgeConfiguration:
    known = JudgeCalibrations("c.json", (calibration(name, configuration.asked, weight),))
    return replace(configuration, calibrations=known)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_the_temperature_is_found_again(truth: float) -> None:
    rng = random.Random(0)
    said = [rng.gauss(0, 2) for _ in range(2000)]
    labels = [([(vote,)], float(rng.random() < 1 / (1 + exp(-truth * vote)))) for vote in said]
    (weight,) = fit_weights(labels)
    assert weight == pytest.approx(truth, rel=0.12)
    found = reliability(
        (max(p, 1 - p), target if p > 0.5 else 1 - target)
        for p, target in ((weighed(votes[0], (weight,)), target) for votes, target in labels)
    )
    assert found is not None
    assert found.error < 0.03


def test_two_judges_are_weighed_by_what_they_know() -> None:
    rng = random.Random(1)
    labels = []
    for _ in range(1000):
        good, noise = rng.gauss(0, 2), rng.gauss(0, 2)
        labels.append(([(good, noise)], float(rng.random() < 1 / (1 + exp(-good)))))
    good, noise = fit_weights(labels)
    assert good == pytest.approx(1.0, abs=0.2)
    assert noise < 0.15


def test_a_judge_that_is_never_wrong_is_not_infinitely_sure() -> None:
    (weight,) = fit_weights([([(2.0,)], 1.0)] * 20)
    assert 0.9 < weighed((2.0,), (weight,)) < 0.97  # 21 of 22


def test_a_judge_that_is_wrong_has_no_weight() -> None:
    assert fit_weights([([(2.0,)], 0.0)] * 20) == (0.0,)
    assert weighed((2.0,), (0.0,)) == 0.5


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 5))
def test_a_temperature_keeps_the_order_and_the_frame(one: float, other: float, weight: float) -> None:
    a, b = (weighed((log_odds(p),), (weight,)) for p in (one, other))
    assert (a - b) * (one - other) >= 0
    assert a + weighed((log_odds(1 - one),), (weight,)) == pytest.approx(1)


def test_a_verdict_is_as_sure_as_the_calibration_says() -> None:
    engine, configuration = judging(longer), make_judge_configuration()
    comparison = make_comparison("a longer answer", "no")

    def decide(configuration: JudgeConfiguration) -> float | None:
        return asyncio.run(judge(engine, configuration, comparison, PRINCIPLES[0], "p")).probability

    assert decide(configuration) == pytest.approx(0.9)
    assert decide(calibrated(configuration, "judge", 0.5)) == pytest.approx(0.75)  # the odds of 9 are 3
    assert decide(calibrated(configuration, "judge", 0.0)) is None, "a judge that knows nothing finds a tie"
    reasoning = make_judge_configuration(judging=JudgeSettings(judge_reasoning=True))
    assert decide(reasoning) == pytest.approx(0.6)
    assert decide(calibrated(reasoning, "judge", 0.5)) == pytest.approx(0.75), "nothing is clamped then"


def test_another_judge_s_is_refused_and_so_is_one_asked_otherwise(tmp_path: Path) -> None:
    configuration = make_judge_configuration()
    path = tmp_path / "c.json"
    path.write_bytes(write_calibrations([calibration("mine", configuration.asked)]))
    known = load_calibrations(path)
    assert known.of(("mine",), configuration.asked).weights == (0.5,)
    with pytest.raises(UsageError, match=r"c\.json is for mine, and not for yours; measure it with"):
        known.of(("yours",), configuration.asked)
    one = make_judge_configuration(judging=JudgeSettings(judge_orders="one"))
    with pytest.raises(UsageError, match=r"asked otherwise \(judge-orders both and not one\)"):
        known.of(("mine",), one.asked)
    for damaged in (b"{}", b"[]", b"no", write_calibrations([calibration("x", {}, -1.0)])):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="no file that `cai judge bench --calibrate` wrote"):
            load_calibrations(path)


def test_a_bench_writes_what_a_run_uses(tmp_path: Path) -> None:
    rows = [
        row if number % 10 < 7 else row | {"chosen": row["rejected"], "rejected": row["chosen"]}
        for number, row in enumerate(pairs(200))
    ]
    engine = judging(longer)
    bench = benched(write(tmp_path / "p.jsonl", rows), tmp_path / "bench", {"j": engine}, calibrate=True)
    found = bench.of("j").calibrated
    assert found is not None
    assert found.fitted + found.tested == 200
    assert found.error_after < 0.1 < found.error_before
    assert found.label([log_odds(0.9)]) == pytest.approx(0.7, abs=0.07)
    path = tmp_path / "bench" / "calibration.json"
    assert load_calibrations(path).known == (found,)

    def settings(name: str) -> GenerateSettings:
        return GenerateSettings(
            constitution="medical",
            model=GivenModel(engine),
            judging=JudgeSettings(judge_calibration=path),
            checking=CheckSettings(judge_check=False),
            prompts=DataSource.parse("tiny"),
            limit=4,
            rounds=0,
            out=tmp_path / name,
        )

    engine._answer = lambda request: "yes " * (request.seed % 9 + 1)
    asyncio.run(generate(plan_generate(settings("run")), Watch()))
    run = Run.read(tmp_path / "run")
    labels = [verdict.probability for row in run.rows() for verdict in row.verdicts if verdict.probability is not None]
    assert labels
    assert {round(max(label, 1 - label), 3) for label in labels} == {round(found.label([log_odds(0.9)]), 3)}
    export_run(tmp_path / "run", ExportOptions())
    assert "soft labels were calibrated on known labels" in (tmp_path / "run" / "README.md").read_text()
    assert run.manifest.identity["judge-calibration"] == load_calibrations(path).fingerprint
    engine.name = "another"
    with pytest.raises(UsageError, match="is for judge, and not for another"):
        asyncio.run(generate(plan_generate(settings("other")), Watch()))
    assert not (tmp_path / "other").exists()
    used = JudgeSettings(judge_calibration=path)
    again = benched(tmp_path / "p.jsonl", tmp_path / "again", {"j": judging(longer)}, judging=used).of("j")
    assert again.labels is not None
    assert again.labels.error < 0.05
    assert again.accuracy == bench.of("j").accuracy == Proportion(140, 200)


def test_evaluations_and_loops_take_it_too(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(write_calibrations([calibration("mine", {})]))
    plan = plan_evaluate(
        EvaluateSettings(
            (LabelledModel.parse("scripted"),), "medical", judging=JudgeSettings(judge_calibration=path), limit=2
        )
    )
    assert plan.identity("mine")["judge-calibration"] == load_calibrations(path).fingerprint
    assert "judge-calibration" not in plan_evaluate(
        EvaluateSettings((LabelledModel.parse("scripted"),), "medical", limit=2)
    ).identity("mine")
    stages = stages_of(LoopSettings("medical", ModelSpec.parse("tiny"), judge_calibration=path), tmp_path)
    judging_stages = [one.settings for one in stages if isinstance(one.settings, GenerateSettings | EvaluateSettings)]
    assert len(judging_stages) == 3
    assert {one.judging.judge_calibration for one in judging_stages} == {path}
    assert json.loads(path.read_text())["calibrations"][0]["temperature"] == 2.0
