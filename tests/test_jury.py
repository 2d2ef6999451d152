"""Juries: what several judges come to, that every vote is kept, and that a run, a bench and an estimate know them."""

import asyncio
import copy
import pickle
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.cli.training import own_options
from cai.core.addresses import DataSource
from cai.core.errors import ModelError
from cai.core.records import Verdict
from cai.core.shares import Proportion
from cai.generate.plan import plan_generate
from cai.generate.run import estimate_generate, generate
from cai.generate.settings import GenerateSettings
from cai.judge_bench.page import bench_page
from cai.loop.settings import LoopSettings
from cai.loop.stages import stages_of
from cai.method.judge import judge
from cai.method.jury import disagree, jury_verdict, votes_of
from cai.method.label_calibration import JudgeCalibration, log_odds
from cai.method.settings import CheckSettings
from cai.method.templates import Templates
from cai.models.base import Request
from cai.models.given import GivenModel
from cai.models.jury import JuryEngine, JurySpec, members_of, parse_judge, parse_labelled_judge
from cai.models.meter import Meter, UsageCounter
from cai.models.scripted import ScriptedEngine
from cai.pipeline.watch import Watch
from cai.rundir import Run
from cai.train.methods.online import OnlineSettings
from cai.train.rewards.adherence import AdherenceReward, EngineThread
from cai.train.settings import TrainSettings
from tests.building import PRINCIPLES, assistant, make_comparison, make_constitution, make_judge_configuration, user
from tests.test_judge_bench import always_first, benched, judging, longer, pairs, write


def verdict(first: float, second: float, abstained: str | None = None) -> Verdict:
    mean = None if abstained else (first + second) / 2
    return Verdict("a", "b", "p", first, second, 0.9, 0.8, mean, abstained, ())


def calibration(*weights: float) -> JudgeCalibration:
    return JudgeCalibration(tuple("xyz"[: len(weights)]), {}, weights, 9, 9, 0, 0, 0, 0)


def test_the_votes_of_those_that_decided_are_averaged() -> None:
    found = jury_verdict("xyz", [verdict(0.9, 0.7), verdict(0.1, 0.3), verdict(0.9, 0.1, "orders contradict")], None)
    assert found.abstained == "tie"
    assert [vote.abstained for vote in found.jurors] == [None, None, "orders contradict"]
    assert disagree(found)
    assert found.first == pytest.approx(1.9 / 3)
    two = jury_verdict("xy", [verdict(0.9, 0.7), verdict(0.9, 0.1, "orders contradict")], None)
    assert two.probability == pytest.approx(0.8)
    assert not disagree(two)
    none = jury_verdict("xy", [verdict(0.9, 0.1, "orders contradict"), verdict(0.5, 0.5, "tie")], None)
    assert (none.probability, none.abstained) == (None, "orders contradict")


def test_a_calibrated_jury_weighs_its_jurors() -> None:
    votes = [verdict(0.9, 0.9), verdict(0.2, 0.2)]
    assert jury_verdict("xy", votes, calibration(1.0, 0.0)).probability == pytest.approx(0.9)
    assert jury_verdict("xy", votes, calibration(0.0, 1.0)).probability == pytest.approx(0.2)
    both = jury_verdict("xy", votes, calibration(1.0, 1.0))
    assert list(votes_of(both)) == pytest.approx([log_odds(0.9), log_odds(0.2)])
    assert both.probability == pytest.approx(9 * 0.25 / (1 + 9 * 0.25))  # odds multiply
    abstaining = [verdict(0.9, 0.9), verdict(0.1, 0.3, "low mass")]
    assert jury_verdict("xy", abstaining, calibration(0.5, 1.0)).probability == pytest.approx(0.75)


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), min_size=1, max_size=4))
def test_swapping_the_pair_swaps_the_jury_s_verdict(said: list[tuple[float, float]]) -> None:
    jury = [verdict(first, second) for first, second in said]
    swapped = [verdict(1 - second, 1 - first) for first, second in said]
    one, other = (jury_verdict("abcd"[: len(said)], votes, None) for votes in (jury, swapped))
    if one.probability is None:
        assert other.probability is None
    else:
        assert one.probability + (other.probability or 0) == pytest.approx(1)


def test_jurors_are_asked_alone_and_counted_together() -> None:
    tally = UsageCounter()
    engine = Meter(JuryEngine([judging(longer, "x"), judging(always_first, "y")]), tally)
    comparison = make_comparison("a longer answer", "no")
    found = asyncio.run(judge(engine, make_judge_configuration(), comparison, PRINCIPLES[0], "p"))
    assert found.probability == pytest.approx(0.9)
    assert [(vote.judge, vote.abstained) for vote in found.jurors] == [("x", None), ("y", "orders contradict")]
    assert tally.usage.requests == 4
    choice = asyncio.run(engine.choose(Request((user(_question()),)), ("A", "B")))
    assert choice.probabilities[0] == pytest.approx((0.9 + 0.8) / 2)


def _question() -> str:
    return "(A 1) a longer answer\n\n(B 1) no\n\nWhat follows a mark with 1 is text"


def test_a_jury_is_typed_with_commas() -> None:
    spec = parse_judge("tiny,openai:m@http://h:1/v1,http://i:2/v1, transformers:a,b")
    assert [str(one) for one in members_of(spec)] == [
        "tiny",
        "openai:m@http://h:1/v1,http://i:2/v1",
        "transformers:a,b",
    ]
    assert parse_judge(str(spec)) == spec
    assert not isinstance(parse_judge("transformers:a,b"), JurySpec)
    assert parse_labelled_judge("j=tiny,scripted").title == "j"
    assert parse_labelled_judge("tiny,scripted").title == "tiny+scripted"
    with pytest.raises(ModelError, match="tiny is twice in a jury"):
        parse_judge("tiny,scripted,tiny")
    with pytest.raises(ModelError, match="two jurors are both called judge"):
        JuryEngine([judging(longer), judging(always_first)])
    secret = parse_judge("tiny,openai:m@http://user:hunter22@h/v1")
    assert "hunter22" not in f"{secret} {secret!r} {secret.model}"


def test_a_jury_goes_to_other_processes_without_secrets() -> None:
    jury = parse_judge("tiny,openai:m@http://user:hunter22@h/v1")
    carried = pickle.dumps(jury)
    assert b"hunter22" not in carried
    there = pickle.loads(carried)
    assert [str(one) for one in members_of(there)] == [str(one) for one in members_of(jury)]
    alike = parse_judge("tiny,scripted")
    assert pickle.loads(pickle.dumps(alike)) == alike == copy.deepcopy(alike)


def test_a_run_keeps_every_vote_and_the_estimate_counts_them(tmp_path: Path) -> None:
    jurors = [judging(longer, "x"), judging(lambda _a, _b: 0.5, "y")]
    answering = judging(longer, "answering")
    answering._answer = lambda request: "yes " * (request.seed % 9 + 1)

    def settings(members: int, name: str) -> GenerateSettings:
        return GenerateSettings(
            constitution="medical",
            model=GivenModel(answering),
            judge=JurySpec([GivenModel(engine) for engine in jurors[:members]]),
            prompts=DataSource.parse("tiny"),
            checking=CheckSettings(judge_check=False),
            limit=3,
            rounds=0,
            out=tmp_path / name,
        )

    asyncio.run(generate(plan_generate(settings(2, "run")), Watch()))
    verdicts = [one for row in Run.read(tmp_path / "run").rows() for one in row.verdicts if one.jurors]
    assert verdicts
    assert {tuple(vote.judge for vote in one.jurors) for one in verdicts} == {("x", "y")}
    alone, together = (estimate_generate(plan_generate(settings(n, f"e{n}"))) for n in (1, 2))
    assert together.expected.requests - alone.expected.requests == 3 * 2


def test_a_bench_measures_a_jury_and_fits_its_weights(tmp_path: Path) -> None:
    spec = JurySpec([GivenModel(judging(longer, "x")), GivenModel(judging(lambda a, b: 0.7 if a > b else 0.3, "y"))])
    bench = benched(
        write(tmp_path / "p.jsonl", pairs(60)), tmp_path / "out", {"jury": spec}, calibrate=True, variant=("plain",)
    )
    found = bench.of("jury")
    assert found.judge == "x and y"
    assert found.accuracy == Proportion(60, 60)
    assert 0 < found.disagreement.part <= found.disagreement.of == 60
    assert found.calibrated is not None
    assert found.calibrated.judges == ("x", "y")
    assert found.calibrated.weights[0] > 3 * found.calibrated.weights[1]
    written = (tmp_path / "out" / "calibration.json").read_bytes()
    again = benched(tmp_path / "p.jsonl", tmp_path / "out", {"jury": spec}, variant=("plain",))
    assert again.of("jury").calibrated is None
    assert (tmp_path / "out" / "calibration.json").read_bytes() == written, "runs may name it"


def test_a_judge_with_too_few_labels_is_told_to_be_not_calibrated(tmp_path: Path) -> None:
    judge = {"x": GivenModel(judging(longer, "x"))}
    bench = benched(write(tmp_path / "p.jsonl", pairs(8)), tmp_path / "out", judge, calibrate=True)
    assert bench.of("x").calibrated is None
    assert "labels to fit it to" in bench.of("x").uncalibrated
    assert bench.of("x").uncalibrated in bench_page(bench)
    assert not (tmp_path / "out" / "calibration.json").exists()


def test_a_calibration_is_measured_on_the_same_labels_before_and_after(tmp_path: Path) -> None:
    def unsure(first: str, second: str) -> float:
        right = int(first.rsplit(maxsplit=1)[-1]) % 2 == 0
        return 0.8 if (len(first) > len(second)) == right else 0.2

    judge = {"x": GivenModel(judging(unsure, "x"))}
    file = write(tmp_path / "p.jsonl", pairs(61))
    found = benched(file, tmp_path / "out", judge, calibrate=True, variant=("plain",)).of("x")
    assert found.label_accuracy.interval is not None
    assert 0.3 < found.label_accuracy.interval.value < 0.7
    assert found.calibrated is not None
    assert found.calibrated.weights[0] < 0.3, "it is hardly to be believed"
    assert found.calibrated.fitted + found.calibrated.tested == found.labelled.part


def test_a_jury_judges_every_stage_of_a_loop() -> None:
    settings = LoopSettings("medical", limit=4, judge=parse_judge("tiny,scripted"), method="grpo")
    stages = [stage.settings for stage in stages_of(settings, Path("l"))]
    asked = [one.judge for one in stages if not isinstance(one, TrainSettings)]
    rewarding = [one.own.judge for one in stages if isinstance(one, TrainSettings) and one.method == "grpo"]
    assert asked + rewarding == [settings.judge] * 3


def test_a_jury_is_typed_for_training_and_rewards_with_its_mean_answer() -> None:
    taken: dict[str, object] = {}
    command = click.command()(own_options(OnlineSettings)(lambda **options: taken.update(options)))
    command.main(["--judge", "tiny,scripted"], standalone_mode=False)
    assert [str(one) for one in members_of(taken["judge"])] == ["tiny", "scripted"]  # type: ignore[arg-type]

    def saying(name: str, breaks: float) -> ScriptedEngine:
        engine = ScriptedEngine(lambda _: "", lambda *_: [breaks, 1 - breaks])
        engine.name = name
        return engine

    async def opening() -> JuryEngine:
        return JuryEngine([saying("x", 0.2), saying("y", 0.6)])

    reward = AdherenceReward(make_constitution(), Templates.load("en"), EngineThread(opening), {1})
    with reward:
        found = reward([[user("May I?")]], [[assistant("Yes.")]], [[7, 1]], lambda *_: None)
    assert found == pytest.approx([0.6])
