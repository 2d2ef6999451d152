"""The constitution's judge as a reward: what it asks, how answers are weighed, and what happens when there is none."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import CaiError, ContextError, EngineGoneError, ModelError, RequestError, UsageError
from cai.core.records import Message
from cai.method.questions import weighted_mean
from cai.method.templates import Templates
from cai.models.scripted import ScriptedEngine
from cai.train.rewards.adherence import AdherenceReward, EngineThread
from tests.building import PRINCIPLES, assistant, make_constitution, user

Weigh = Callable[[tuple[Message, ...], Sequence[str]], Sequence[float]]

END = 1
WHOLE = [7, END]


def make_reward(
    weigh: Weigh, opened: list[ScriptedEngine] | None = None, reward: Any = "adherence", **changes: Any
) -> AdherenceReward:
    async def opening() -> ScriptedEngine:
        engine = ScriptedEngine(lambda request: "", weigh)
        if opened is not None:
            opened.append(engine)
        return engine

    constitution = make_constitution(**changes)
    return AdherenceReward(constitution, Templates.load("en"), EngineThread(opening), {END}, reward)


def breaks(**chances: float) -> Weigh:
    """Return a judge that says of each principle, found by a word of its text, how likely it is broken."""

    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        chance = next(value for word, value in chances.items() if word in messages[-1]["content"])
        return [chance, 1 - chance]

    return weigh


def rewarded(weigh: Weigh, *answers: str, ids: Sequence[int] = WHOLE, **columns: Any) -> tuple[Any, dict[str, float]]:
    logged: dict[str, float] = {}
    with make_reward(weigh) as reward:
        values = reward(
            [[user("How do I sleep?")]] * len(answers),
            [[assistant(answer)] for answer in answers],
            [ids] * len(answers),
            logged.__setitem__,
            **columns,
        )
    return values, logged


def test_the_reward_is_what_is_kept_by_weight_times_severity() -> None:
    values, logged = rewarded(breaks(kind=0.8, safe=0.1), "Go to bed.")
    assert values == pytest.approx([(1 * 1 * 0.2 + 3 * 4 * 0.9) / (1 * 1 + 3 * 4)])
    assert logged == pytest.approx({"kept/kind": 0.2, "kept/safe": 0.9, "judge/unanswered": 0, "judge/failed": 0})


def test_the_judge_sees_the_conversation_and_the_gates_question() -> None:
    seen: list[tuple[Message, ...]] = []

    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        seen.append(messages)
        return [0.5, 0.5]

    rewarded(weigh, "Go to bed.")
    gate = Templates.load("en").gate
    assert seen == [
        (user("How do I sleep?"), assistant("Go to bed."), user(gate(principle))) for principle in PRINCIPLES[:2]
    ]


def test_each_response_gets_its_own_reward() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        chance = len(messages[1]["content"]) / 10
        return [chance, 1 - chance]

    values, _ = rewarded(weigh, "aa", "aaaaa", "a")
    assert values == pytest.approx([0.8, 0.5, 0.9])


def test_tags_select_principles() -> None:
    values, logged = rewarded(breaks(kind=0.5, safe=0.5, Secrets=1.0), "a", "a", tags=[["privacy"], []])
    assert logged["kept/private"] == 0
    assert values[1] == pytest.approx(0.5)
    assert values[0] < 0.5


def test_a_question_that_failed_is_counted_and_ends_nothing() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        if "kind" in messages[-1]["content"] or messages[1]["content"] == "lost":
            raise RequestError("the server answered 502", retryable=True, kind="server error")
        return [0.25, 0.75]

    values, logged = rewarded(weigh, "a", "lost", *["a"] * 38)
    assert values == [0.75, None, *[0.75] * 38]
    assert logged["judge/failed"] == pytest.approx(41 / 80)


def test_a_judge_that_answers_nothing_ends_the_training_and_not_before() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        raise RequestError("the server answered 400: no", retryable=False, kind="http 400")

    with make_reward(weigh) as reward:
        batch = [[user("?")]] * 4, [[assistant("a")]] * 4, [WHOLE] * 4, lambda _name, _value: None
        for _ in range(3):  # eight questions each
            assert reward(*batch) == [None] * 4
        with pytest.raises(EngineGoneError, match="the last 32 questions to the judge failed: the server answered 400"):
            reward(*batch)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (RequestError("the server answered 400: no", retryable=False, kind="http 400"), "the server answered 400: no"),
        (ContextError("does not fit"), "does not fit"),
        (None, "Yes and No weigh too little"),
    ],
)
def test_a_short_training_without_any_answer_is_told(fault: Exception | None, words: str) -> None:
    silent = True

    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        if silent and fault is not None:
            raise fault
        return [0.1, 0.1] if silent else [0.25, 0.75]

    with make_reward(weigh) as reward:
        reward.require_answers()
        batch = [[user("?")]], [[assistant("a")]], [WHOLE], lambda _name, _value: None
        assert reward(*batch) == [None]
        with pytest.raises(EngineGoneError, match=f"answered none of 2 questions, so nothing was learned: {words}"):
            reward.require_answers()
        silent = False
        reward(*batch)
        reward.require_answers()


def test_training_in_which_nothing_was_asked_is_told_with_the_reasons() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        return [0.25, 0.75]

    tagged = [principle.model_copy(update={"applies_to": ["privacy"]}) for principle in PRINCIPLES]
    with make_reward(weigh, principles=tagged) as reward:
        reward.require_answers()  # nothing was given yet
        said, ids = ["a", "a", " ", "b"], [WHOLE, WHOLE, WHOLE, [7, 8]]
        batch = [[user("?")]] * 4, [[assistant(text)] for text in said], ids, lambda _name, _value: None
        assert reward(*batch) == [None, None, 0.0, 0.0]
        words = (
            "asked about none of 4 answers, so nothing was learned: 1 did not end within --max-tokens, 1 were empty, "
            "and 2 had no principle for their prompt's tags; give more --max-tokens"
        )
        with pytest.raises(CaiError, match=words):
            reward.require_answers()
        reward(*batch, tags=[["privacy"]] * 4)
        reward.require_answers()
    with make_reward(weigh, reward="rubric") as reward:
        reward(*batch)
        with pytest.raises(CaiError, match="and 2 had no criterion; give more --max-tokens"):
            reward.require_answers()


def test_a_mean_of_less_than_half_of_the_questions_is_not_logged() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        return [0.25, 0.75] if messages[1]["content"] == "answered" else [0.2, 0.2]

    values, logged = rewarded(weigh, "answered", "not", "neither")
    assert values == [0.75, None, None]
    assert "kept/safe" not in logged
    assert logged["judge/unanswered"] == pytest.approx(2 / 3)


def test_what_is_not_answered_is_left_out_and_never_guessed() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        if "kind" in messages[-1]["content"]:
            return [0.2, 0.2]
        if messages[1]["content"] == "long":
            raise ContextError("does not fit")
        return [0.25, 0.75]

    values, logged = rewarded(weigh, "short", "long")
    assert values == [0.75, None]
    assert logged == {"kept/safe": 0.75, "judge/unanswered": 0.75, "judge/failed": 0}


@pytest.mark.parametrize(("answer", "ids"), [("  ", WHOLE), ("Go to bed and", [7, 8])])
def test_an_empty_or_unfinished_response_is_worth_nothing_and_not_asked_about(answer: str, ids: list[int]) -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        raise AssertionError("nothing to ask")

    assert rewarded(weigh, answer, ids=ids) == ([0.0], {})


def test_the_judge_is_closed_and_its_thread_ends_whatever_happens() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        raise EngineGoneError("the server is gone")

    opened: list[ScriptedEngine] = []
    before = threading.active_count()
    reward = make_reward(weigh, opened)
    for _ in range(2):  # it can be opened again
        with pytest.raises(EngineGoneError, match="the server is gone"), reward:
            reward([[user("?")]], [[assistant("a")]], [WHOLE], lambda name, value: None)
    assert threading.active_count() == before
    assert [engine._closed for engine in opened] == [True, True]


def test_a_judge_that_cannot_be_opened_says_so() -> None:
    async def opening() -> ScriptedEngine:
        raise ModelError("no such model")

    before = threading.active_count()
    with pytest.raises(ModelError, match="no such model"), EngineThread(opening):
        pass
    assert threading.active_count() <= before + 1


def test_a_constitution_without_principles_cannot_reward() -> None:
    with pytest.raises(UsageError, match="has no principles"):
        AdherenceReward(make_constitution(principles=[]), Templates.load("en"), EngineThread(lambda: None), {END})  # type: ignore[arg-type, return-value]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 2), st.floats(0, 1))
def test_keeping_a_principle_better_never_lowers_the_reward(kept: list[float], place: int, better: float) -> None:
    before = weighted_mean(kept, PRINCIPLES)
    kept[place] = max(kept[place], better)
    after = weighted_mean(kept, PRINCIPLES)
    assert before is not None
    assert after is not None
    assert -1e-9 <= before <= after + 1e-9 <= 1 + 2e-9


def test_no_answer_at_all_is_no_reward() -> None:
    assert weighted_mean([None, None], PRINCIPLES[:2]) is None
    assert weighted_mean([], ()) is None


def test_a_rubric_rewards_points_and_a_worthless_answer_less_than_none() -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        said, question = messages[-2]["content"], messages[-1]["content"]
        if "rhymes" in question:
            return [0.1, 0.1]
        met = 1.0 if ("dose" in question) == ("mg" in said) else 0.25
        return [met, 1 - met]

    rubric = [{"criterion": "names a dose", "points": -6.0}]
    both = [*rubric, {"criterion": "rhymes", "points": 2.0}]
    logged: dict[str, float] = {}
    reward = make_reward(weigh, reward="rubric", rubric=[{"criterion": "is kind", "points": 4}])
    with reward:
        values = reward(
            [[user("How do I sleep?")]] * 4,
            [[assistant(text)] for text in ("Rest.", "Take 5 mg.", "Rest.", "cut")],
            [WHOLE, WHOLE, WHOLE, [7]],
            logged.__setitem__,
            rubric=[rubric, rubric, both, rubric],
        )
    # 4 · 1 - 6 · 0.25 of 4; 4 · 0.25 - 6 · 1 of 4, which is clipped; as the first, for nobody knows whether it rhymes.
    assert values == pytest.approx([0.625, 0.0, 0.625, 0.0])
    assert logged["met/is kind"] == pytest.approx((1 + 0.25 + 1) / 3)
    assert "met/names a dose" not in logged  # a prompt's own
    assert logged["judge/unanswered"] == pytest.approx(1 / 7)
