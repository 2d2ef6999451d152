"""The judge tested on known pairs: what is found of judges whose faults are known, and what is made of it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.constitution import load_constitution, shipped_constitutions
from cai.core.errors import ModelError, RequestError
from cai.core.records import Message, Usage, Verdict
from cai.core.shares import wilson
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.judge_checking import Subject, check_judge, find_pairs
from cai.judge_checking.pairs import KnownPairs
from cai.method.gate import GateAnswer
from cai.method.judge import JudgeConfiguration
from cai.method.judge_check import FEW, JudgeCheck
from cai.method.known_pairs import Circumstances, PairAnswers, conclude
from cai.method.settings import CheckSettings, JudgeSettings
from cai.method.templates import Templates
from cai.models.base import Choice, Request, Sampling
from cai.models.given import GivenModel
from cai.models.scripted import ScriptedEngine
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch
from cai.rundir import RunReader
from cai.tiny import oracle
from tests.building import shown_answers

MEDICAL = load_constitution("medical")
KNOWN = find_pairs(MEDICAL, micro_world=False)
BETTER = {pair.better for pair in KNOWN.pairs}


def configuration(**judging: Any) -> JudgeConfiguration:
    settings = replace(JudgeSettings(), **judging)
    return JudgeConfiguration(MEDICAL, Templates.load("en"), settings, Sampling(), seed=0)


class Judges:
    """Weights of judges whose faults are known; a gate's question ends a dialogue that has the answer in it."""

    @staticmethod
    def position(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        return (0.8, 0.2)

    @staticmethod
    def good(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        if options[0] == "Yes":
            return (0.1, 0.9) if messages[-2]["content"] in BETTER else (0.9, 0.1)
        first, second = shown_answers(messages[-1]["content"])
        return (0.5, 0.5) if first == second else (0.9, 0.1) if first in BETTER else (0.1, 0.9)

    @staticmethod
    def quiet(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        return [weight / 5 for weight in Judges.good(messages, options)]

    @staticmethod
    def silent(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        raise RequestError("no log-probabilities here", retryable=False)


def engine(judge: str, delay: float = 0.0) -> ScriptedEngine:
    return ScriptedEngine(lambda _request: "I cannot say.", getattr(Judges, judge), name=judge, delay=delay)


def checked(
    judge: str, known: KnownPairs = KNOWN, *, gate: bool = True, delay: float = 0.0, **judging: Any
) -> JudgeCheck:
    asked = engine(judge, delay)
    subject = Subject(asked, asked if gate else None, configuration(**judging))
    return asyncio.run(check_judge(subject, known, lambda _line: None, 0.2 if delay else 60.0))


def test_a_good_judge_is_right_on_all_and_has_no_problem() -> None:
    found = checked("good")
    assert (found.answered, found.right, found.same_place) == (30, 30, 0)
    assert (found.gates, found.gates_right, found.labelled, found.verdicts) == (60, 60, 30, 30)
    assert found.first == 0.5
    assert found.problems() == ()
    assert "the better answer preferred in 30 of 30 (100% [89, 100])" in found.told()


def test_a_judge_that_sees_positions_is_told_of_with_what_to_do_and_what_it_means_for_the_run() -> None:
    found = checked("position", gate=False)
    assert (found.right, found.same_place, found.labelled, found.first) == (15, 30, 0, 0.8)
    (problem,) = found.problems(comparisons=400)
    assert "sees positions, not answers: the same place won in 30 of 30" in problem
    assert "about 0 of up to 400 pairs will be labelled" in problem
    assert "another --judge, let it write down reasons first (--judge-reasoning), or" in problem
    assert "more principles (--judge-principles)" in problem
    assert "--judge-reasoning" not in found.problems(reasoning=True)[0]


def test_with_one_order_the_position_would_be_the_label() -> None:
    found = checked("position", judge_orders="one")
    assert (found.verdicts, found.labelled) == (60, 60)
    told = found.problems(comparisons=400)[0]
    assert "about 400 of up to 400 pairs will be labelled, with labels that cannot be told from guesses" in told


def test_a_judge_with_little_mass_is_right_and_labels_nothing() -> None:
    found = checked("quiet")
    assert (found.right, found.labelled, found.abstained) == (30, 0, {"low mass": 30})
    assert found.mass == pytest.approx(0.2)
    judge, gate = found.problems()
    assert "wants to say something else than a letter: the letters weigh 0.20 (median)" in judge
    assert "leaves 60 of 60 questions unanswered: the answers weigh 0.20" in gate


def test_a_judge_that_cannot_answer_says_why() -> None:
    found = checked("silent")
    assert (found.pairs, found.answered, found.accuracy) == (0, 0, None)
    assert (
        "answered none of the known pairs (no log-probabilities here): nothing would be labelled" in found.problems()[0]
    )


def test_a_judge_by_text_that_names_no_letter() -> None:
    found = checked("good", gate=False, judge_by="text")
    assert (found.pairs, found.answered, found.abstained) == (30, 0, {"unreadable": 30})
    assert "names no letter in 30 of 30 verdicts on known pairs" in found.problems()[0]


def test_what_is_not_answered_in_time_is_counted_and_left_out() -> None:
    found = checked("good", delay=1.0)
    assert (found.pairs, found.left) == (0, 30)
    assert (
        "nothing is known of the judge good: it answered 0 of the known pairs' questions in 0 s" in found.problems()[0]
    )


def test_what_says_nothing_is_tested_again() -> None:
    good = checked("good")
    assert good.covers(judge=True, gate=True)
    assert not checked("good", gate=False).covers(judge=True, gate=True)
    assert not checked("good", delay=1.0).covers(judge=True, gate=False)
    assert checked("silent").covers(judge=True, gate=True), "it would not answer another time either"


PROBABILITIES = st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.55, 0.8, 1.0])


def verdict(first: float, second: float) -> Verdict:
    return Verdict("better", "worse", "p", first, second, 1.0, 1.0, None, None, ())


CIRCUMSTANCES = Circumstances("judge", None, "any", True, 0, "", 0, Usage(), 0.0)


@given(st.lists(st.tuples(PROBABILITIES, PROBABILITIES), min_size=1, max_size=40))
def test_neither_the_order_of_showing_nor_a_lean_to_a_place_alone_changes_how_often_a_judge_is_right(
    pairs: list[tuple[float, float]],
) -> None:
    found, swapped = (
        conclude([PairAnswers(verdict(*pair)) for pair in some], CIRCUMSTANCES)
        for some in (pairs, [(second, first) for first, second in pairs])
    )
    assert found == swapped
    blind = conclude([PairAnswers(verdict(first, 1 - first)) for first, _ in pairs], CIRCUMSTANCES)
    assert blind.right == len(pairs) / 2


@given(st.integers(1, 500), st.data())
def test_an_interval_holds_its_share_and_narrows_with_more(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, 2 * count)) / 2
    few, many = wilson(right, count), wilson(10 * right, 10 * count)
    assert 0 <= few.low <= few.value <= few.high <= 1
    assert many.high - many.low < few.high - few.low


def test_a_gate_that_says_yes_to_all_knows_nothing() -> None:
    yes = GateAnswer(0.9, 1.0)
    found = conclude([PairAnswers(better=yes, worse=yes)] * 8, replace(CIRCUMSTANCES, judge=None, gate="gate"))
    assert (found.gates, found.gates_right) == (16, 8)
    assert "does not know an answer that breaks a principle" in found.problems()[0]


@pytest.mark.parametrize("name", shipped_constitutions())
def test_every_shipped_principle_has_pairs_of_its_own_and_each_has_two_answers(name: str) -> None:
    constitution = load_constitution(name)
    known = find_pairs(constitution, micro_world=False)
    assert known.about == f"principles of {name}"
    for principle in constitution.principles:
        own = [pair for pair in known.pairs if pair.principle == principle]
        assert len(own) >= 2, principle.id
        assert all(pair.better.strip() != pair.worse.strip() for pair in own)


def test_length_alone_gives_no_right_answers() -> None:
    pairs = [
        pair
        for name in shipped_constitutions()
        for pair in find_pairs(load_constitution(name), micro_world=False).pairs
    ]
    longer = sum(len(pair.better) > len(pair.worse) for pair in pairs)
    assert 0.35 <= longer / len(pairs) <= 0.65


def test_the_micro_world_s_pairs_are_what_the_oracle_says() -> None:
    known = find_pairs(MEDICAL, micro_world=True)
    assert len(known.pairs) == 16
    for pair in known.pairs:
        question = oracle.understand(pair.prompt)
        assert question is not None
        kind = oracle.kind_of(pair.principle.id)
        assert oracle.read(question, pair.better).good
        assert kind in oracle.read(question, pair.worse).broken


def test_a_constitution_without_known_pairs_is_said_to_be_unknown() -> None:
    own = MEDICAL.model_copy(
        update={
            "name": "own",
            "principles": (MEDICAL.principles[0].model_copy(update={"text": "Rhyme."}),),
            "exemplars": (),
        }
    )
    known = find_pairs(own, micro_world=False)
    assert known.about == "general, for there are none about the principles of own"
    assert len(known.pairs) == 12
    part = own.model_copy(update={"principles": (MEDICAL.principles[4],)})
    assert find_pairs(part, micro_world=False).about == "3 about principles of own, the others general"
    told = find_pairs(own, micro_world=True).about
    assert told == "of the embedded model's micro-world, for there are none about the principles of own"


@pytest.mark.parametrize("micro_world", [False, True])
@pytest.mark.parametrize("name", shipped_constitutions())
def test_there_are_pairs_for_every_shipped_constitution(name: str, micro_world: bool) -> None:
    assert len(find_pairs(load_constitution(name), micro_world=micro_world).pairs) >= FEW


def plan(out: Path, asked: ScriptedEngine, **changes: Any) -> GenerateSettings:
    settings = GenerateSettings(
        "medical", model=ModelSpec.parse("scripted"), judge=GivenModel(asked), out=out, limit=3, gate=False
    )
    return replace(settings, **changes)


def made(settings: GenerateSettings) -> tuple[list[str], JudgeCheck | None]:
    said: list[str] = []
    summary = asyncio.run(generate(plan_generate(settings), Watch(say=said.append)))
    return said, summary.judge_check


def test_a_run_tells_of_its_judge_before_the_first_row_and_keeps_that(tmp_path: Path) -> None:
    said, found = made(plan(tmp_path, engine("position")))
    assert found is not None
    assert [line for line in said if "warning: the judge position sees positions" in line]
    recorded = json.loads((tmp_path / "run.json").read_text())["judge_check"]
    assert recorded["same_place"] == 30
    assert RunReader(tmp_path).manifest.judge_check == found


def test_what_a_check_took_is_counted_apart(tmp_path: Path) -> None:
    _, found = made(plan(tmp_path / "tested", engine("good")))
    made(plan(tmp_path / "untested", engine("good"), checking=CheckSettings(judge_check=False)))
    tested, untested = (RunReader(tmp_path / name).manifest for name in ("tested", "untested"))
    assert found is not None
    assert found.usage.requests == 64
    assert (tested.usage, tested.lost_usage) == (untested.usage, untested.lost_usage)


def test_the_same_run_again_reads_what_was_found_and_asks_nobody(tmp_path: Path) -> None:
    _, first = made(plan(tmp_path, engine("position")))
    silent = ScriptedEngine(lambda _request: "?", Judges.silent, name="position")
    said, again = made(plan(tmp_path, silent))
    assert again == first
    assert [line for line in said if "sees positions" in line]


def test_strict_makes_no_row_with_an_unfit_judge(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"sees positions, not answers.*--strict makes no row"):
        made(plan(tmp_path, engine("position"), checking=CheckSettings(strict=True)))
    assert RunReader(tmp_path).manifest.rows == 0
    _, found = made(plan(tmp_path, engine("position")))
    assert found is not None
    assert RunReader(tmp_path).manifest.rows == 3


def test_a_judge_is_not_tested_where_nobody_wants_it_or_where_it_stands_for_none(tmp_path: Path) -> None:
    assert made(plan(tmp_path / "unwanted", engine("position"), checking=CheckSettings(judge_check=False)))[1] is None
    assert made(plan(tmp_path / "scripted", engine("good"), judge=None))[1] is None
    assert made(plan(tmp_path / "nothing", engine("position"), samples=1, rounds=0))[1] is None


def test_a_person_who_stops_it_waits_no_longer(tmp_path: Path) -> None:
    watch = Watch()

    async def main() -> None:
        settings = plan(tmp_path, engine("good", delay=30.0))
        making = asyncio.ensure_future(generate(plan_generate(settings), watch))
        while watch.stage != "testing the judge":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        watch.stop.drain()
        summary = await asyncio.wait_for(making, 20)
        assert (summary.status, summary.judge_check) == ("interrupted", None)

    asyncio.run(main())


def test_requests_are_those_of_a_run() -> None:
    asked: list[Request] = []

    class Listening(ScriptedEngine):
        async def choose(self, request: Request, options: Sequence[str]) -> Choice:
            asked.append(request)
            return await super().choose(request, options)

    listening = Listening(lambda _request: "?", Judges.good)
    asyncio.run(check_judge(Subject(listening, None, configuration()), KNOWN, lambda _line: None))
    templates, pair = Templates.load("en"), KNOWN.pairs[0]
    shown = templates.judge(pair.principle, pair.comparison.messages, pair.better, pair.worse)
    assert shown in {request.messages[-1]["content"] for request in asked}
