"""The judge's laws, on scripted judges whose leanings are known exactly."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.records import Comparison, Message, Verdict
from cai.method.judge import JudgeConfiguration, draw_principles, judge
from cai.method.settings import JudgeSettings
from cai.method.verdicts import CONTRADICTION, IDENTICAL, LOW_MASS, TIE, UNREADABLE
from cai.models.base import Request
from tests.building import PRINCIPLES, make_comparison, make_engine, make_judge_configuration, shown_answers

Preference = Callable[[str, str], float]
"""The probability that the first of two shown texts is better."""


def decide(
    comparison: Comparison,
    prefers: Preference,
    *,
    configuration: JudgeConfiguration | None = None,
    mass: float = 0.9,
    answer: str = "unused",
) -> Verdict:
    def choose(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        probability = prefers(*shown_answers(messages[0]["content"]))
        return [mass * probability, mass * (1 - probability)]

    def say(_request: Request) -> str:
        return answer

    return asyncio.run(
        judge(make_engine(say, choose), configuration or make_judge_configuration(), comparison, PRINCIPLES[0], "p0")
    )


words = st.text("abcdef", min_size=1, max_size=8)
shares = st.floats(0, 1)


@given(words, words, shares, shares, st.sampled_from(["both", "one"]), st.integers(0, 99))
def test_swapping_the_pair_swaps_the_verdict(
    a: str, b: str, shown_ab: float, shown_ba: float, orders: str, seed: int
) -> None:
    def prefers(first: str, second: str) -> float:
        return shown_ab if (first, second) == (a, b) else shown_ba

    configuration = make_judge_configuration(seed=seed, judging=JudgeSettings(judge_orders=orders))  # type: ignore[arg-type]
    verdict = decide(make_comparison(a, b), prefers, configuration=configuration)
    swapped = decide(make_comparison(a, b).swap(), prefers, configuration=configuration)
    assert verdict.abstained == swapped.abstained
    if verdict.probability is not None and swapped.probability is not None:
        assert verdict.probability + swapped.probability == pytest.approx(1, abs=1e-12)
    else:
        assert verdict.probability is None
        assert swapped.probability is None


@given(words, words, shares)
def test_a_judge_that_looks_at_the_position_only_never_decides(a: str, b: str, leaning: float) -> None:
    verdict = decide(make_comparison(a, b), lambda _first, _second: leaning)
    assert verdict.probability is None
    assert verdict.abstained in {TIE, CONTRADICTION, IDENTICAL}


@given(words)
def test_an_identical_pair_is_never_a_preference(text: str) -> None:
    verdict = decide(make_comparison(text, f" {text}\n"), lambda _first, _second: 1.0)
    assert (verdict.probability, verdict.abstained) == (None, IDENTICAL)


def test_both_orders_are_in_a_s_frame_and_averaged() -> None:
    verdict = decide(make_comparison("good", "bad"), lambda first, _second: 0.9 if first == "good" else 0.3)
    assert verdict.first == pytest.approx(0.9)
    assert verdict.second == pytest.approx(0.7)
    assert verdict.probability == pytest.approx(0.8)
    assert verdict.first_mass == verdict.second_mass == pytest.approx(0.9)


def test_a_small_mass_abstains() -> None:
    verdict = decide(make_comparison("good", "bad"), lambda first, _second: float(first == "good"), mass=0.49)
    assert (verdict.probability, verdict.abstained) == (None, LOW_MASS)


def test_contradicting_orders_abstain_only_beyond_the_margin() -> None:
    def leaning(by: float) -> Preference:
        return lambda first, _second: 0.4 + by if first == "good" else 0.6  # the second order says 0.4 for good

    assert decide(make_comparison("good", "bad"), leaning(0.5)).abstained == CONTRADICTION
    assert decide(make_comparison("good", "bad"), leaning(0.26)).abstained == CONTRADICTION
    assert decide(make_comparison("good", "bad"), leaning(0.24)).probability == pytest.approx(0.52)


def test_one_order_asks_once_and_says_which() -> None:
    configuration = make_judge_configuration(judging=JudgeSettings(judge_orders="one"))
    verdict = decide(
        make_comparison("good", "bad"),
        lambda first, _second: 0.9 if first == "good" else 0.1,
        configuration=configuration,
    )
    assert (verdict.first is None) != (verdict.second is None)
    assert verdict.probability == pytest.approx(0.9)


def test_reasoning_does_not_hide_that_the_orders_contradict() -> None:
    configuration = make_judge_configuration(judging=JudgeSettings(judge_reasoning=True))
    verdict = decide(
        make_comparison("good", "bad"),
        lambda _first, _second: 0.9,
        configuration=configuration,
        answer="Because.",
    )
    assert (verdict.probability, verdict.abstained) == (None, CONTRADICTION)


def test_reasoning_is_kept_and_its_labels_are_clamped() -> None:
    configuration = make_judge_configuration(judging=JudgeSettings(judge_reasoning=True))
    verdict = decide(
        make_comparison("good", "bad"),
        lambda first, _second: float(first == "good"),
        configuration=configuration,
        answer="Because.",
    )
    assert verdict.rationales == ("Because.", "Because.")
    assert verdict.probability == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("A", "B"), 1.0),
        (("(B).", " A\n"), 0.0),
        (("A", "A"), CONTRADICTION),
        (("A", "Both are fine"), UNREADABLE),
        (("", "B"), UNREADABLE),
        (("AB", "B"), UNREADABLE),
        (("Answer: A", "B"), UNREADABLE),
    ],
)
def test_letters_read_from_text_are_never_guessed(answers: tuple[str, str], expected: float | str) -> None:
    def say(request: Request) -> str:
        return answers[0] if shown_answers(request.messages[0]["content"])[0] == "good" else answers[1]

    configuration = make_judge_configuration(judging=JudgeSettings(judge_by="text"))
    verdict = asyncio.run(judge(make_engine(say), configuration, make_comparison("good", "bad"), PRINCIPLES[0], "p0"))
    assert expected == (verdict.abstained if verdict.probability is None else verdict.probability)
    assert verdict.first_mass is None


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_principles_are_drawn_without_repetition_and_whatever_the_order(seed: int, count: int) -> None:
    configuration = make_judge_configuration(seed=seed, judging=JudgeSettings(judge_principles=count))
    drawn = draw_principles(configuration, "p0", (), ("response:0", "response:1"))
    assert drawn == draw_principles(configuration, "p0", (), ("response:1", "response:0"))
    assert len(drawn) == len({item.id for item in drawn}) == min(count, 2)  # `private` needs its tag
    assert all(item.id != "private" for item in drawn)


def test_principles_are_drawn_by_weight() -> None:
    configuration = make_judge_configuration()
    drawn = [draw_principles(replace(configuration, seed=seed), "p0", (), ("x", "y"))[0].id for seed in range(2000)]
    assert drawn.count("safe") / 2000 == pytest.approx(0.75, abs=0.04)  # weight 3 of 4; 4 standard deviations
