"""A question for one of two answers: asked as it is, and once more with the answer begun where nothing was decided."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cai.constitution import RevisionPlan
from cai.method.choosing import choose_word
from cai.method.critique import respond_and_revise
from cai.method.judge import judge
from cai.method.templates import Templates
from cai.method.verdicts import LOW_MASS
from cai.models.base import NOT_THINKING, Choice, Request, Thinking
from tests.building import (
    PRINCIPLES,
    TEMPLATES,
    make_comparison,
    make_engine,
    make_judge_configuration,
    make_method,
    make_prompt,
    user,
)

QUESTION = Request((user("Yes or no?"),), thinking=NOT_THINKING)


class Begun:
    """A `choose` with one mass for the question as it is and one behind the beginning."""

    def __init__(self, plain: float, begun: float) -> None:
        self.masses = {False: plain, True: begun}
        self.prefills: list[str] = []

    async def __call__(self, request: Request, _options: Sequence[str]) -> Choice:
        """Prefer the first option, and more so where the answer is begun."""
        self.prefills.append(request.prefill)
        begun = bool(request.prefill)
        return Choice((0.9, 0.1) if begun else (0.6, 0.4), self.masses[begun], 5, 0)


@pytest.mark.parametrize(
    ("plain", "begun", "prefill", "asked", "mass"),
    [
        (0.75, 0.9, "It is:", [""], 0.75),
        (0.74, 0.9, "It is:", ["", "It is:"], 0.9),
        (0.3, 0.2, "It is:", ["", "It is:"], 0.3),
        (0.1, 0.9, "", [""], 0.1),
    ],
)
def test_an_answer_is_begun_only_where_it_has_to_be(
    plain: float, begun: float, prefill: str, asked: list[str], mass: float
) -> None:
    choose = Begun(plain, begun)
    assert asyncio.run(choose_word(choose, QUESTION, ["Yes", "No"], prefill)).mass == mass
    assert choose.prefills == asked


def test_behind_a_thought_it_is_begun_at_once() -> None:
    choose = Begun(0.9, 0.7)
    thinking = replace(QUESTION, thinking=Thinking("on"))
    assert asyncio.run(choose_word(choose, thinking, ["Yes", "No"], "It is:")).mass == 0.7
    assert choose.prefills == ["It is:"]


def test_judge_and_gate_begin_as_the_templates_say(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, choose = make_engine(lambda _: "A text."), Begun(0.2, 0.8)
    monkeypatch.setattr(engine, "choose", choose)
    method = make_method(RevisionPlan(schedule="walk", rounds=1, gate=True))
    trace = asyncio.run(respond_and_revise(engine, method, make_prompt(), 0))
    assert choose.prefills == ["", TEMPLATES.gate_prefill] * 2
    assert {(turn.gate, turn.gate_mass) for turn in trace.rounds} == {(0.9, 0.8)}
    choose.prefills.clear()
    verdict = asyncio.run(judge(engine, make_judge_configuration(), make_comparison("a", "b"), PRINCIPLES[0], "p"))
    assert choose.prefills == ["", TEMPLATES.judge_prefill] * 2
    assert (verdict.first_mass, verdict.second_mass) == (0.8, 0.8)
    choose.masses[True] = 0.3
    verdict = asyncio.run(judge(engine, make_judge_configuration(), make_comparison("a", "b"), PRINCIPLES[0], "p"))
    assert (verdict.abstained, verdict.first_mass) == (LOW_MASS, 0.3)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_shipped_beginnings_are_there(language: str) -> None:
    templates = Templates.load(language)
    assert templates.gate_prefill.endswith('"')
    assert templates.judge_prefill.endswith("(")
