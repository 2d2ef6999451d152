"""The statistics of an evaluation: intervals that cover, tests that agree with others', laws that hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cai.constitution import Principle
from cai.core.records import Prompt, Usage
from cai.evaluate.calibration import calibrate, check_detector
from cai.evaluate.measures import Measure, Term, Unit, distinct_shares, each, measures_of, repeated, repetition
from cai.evaluate.measuring import measure_models, tabulate
from cai.evaluate.pairs import PairDecisions, measure_pairs, rate
from cai.evaluate.records import Answer, Gate, Truth
from cai.evaluate.results import Measurement, ModelResult
from cai.evaluate.statistics import ELO_MEAN, differences, elo, exact_ends, known_ends, ratios, strengths
from tests.evaluating import answered, made_answer, made_decision

SOME = st.lists(st.floats(0, 1), min_size=2, max_size=30)


def column(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def ones(values: list[float]) -> np.ndarray:
    return np.ones((len(values), 1))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    # 300 experiments of 80 prompts, as values of one call: a resample of prompts serves them all.
    outcomes = (generator.random((80, 300)) < 0.3).astype(float)
    found = ratios(outcomes, np.ones_like(outcomes), seed=1)
    covered = float(((found.low <= 0.3) & (found.high >= 0.3)).mean())
    assert 0.90 <= covered <= 0.98
    np.testing.assert_allclose(found.value, outcomes.mean(axis=0))


def test_an_interval_narrows_with_the_root_of_the_count() -> None:
    generator = np.random.default_rng(5)
    few, many = (generator.random((count, 1)) for count in (100, 1600))
    widths = [float(found.high[0] - found.low[0]) for found in (ratios(v, np.ones_like(v), 0) for v in (few, many))]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)


@given(SOME)
def test_an_interval_lies_in_the_data_and_is_the_same_again(values: list[float]) -> None:
    found = ratios(column(values), ones(values), seed=7)
    assert min(values) - 1e-9 <= found.low[0] <= found.high[0] <= max(values) + 1e-9
    assert found.low == ratios(column(values), ones(values), seed=7).low


def test_what_applies_to_no_prompt_has_no_value_and_disturbs_no_other() -> None:
    above, below = np.zeros((20, 2)), np.zeros((20, 2))
    above[:10, 0] = below[:, 0] = 1
    found = ratios(above, below, seed=0)
    assert found.value[0] == 0.5
    assert np.isnan([found.value[1], found.low[1], found.high[1]]).all()


@given(SOME)
def test_a_difference_swapped_is_its_negative(values: list[float]) -> None:
    other = [min(1.0, value + 0.25) for value in reversed(values)]
    one, two = (column(values), ones(values)), (column(other), ones(values))
    there, back = differences(one, two, seed=2), differences(two, one, seed=2)
    np.testing.assert_allclose(there.value, -back.value)
    np.testing.assert_allclose([there.low, there.high], [-back.high, -back.low], atol=1e-12)


def test_a_paired_difference_sees_what_unpaired_intervals_hide() -> None:
    values = list(np.random.default_rng(0).random(60))
    shifted = [value - 0.05 for value in values]
    found = differences((column(values), ones(values)), (column(shifted), ones(values)), seed=0)
    assert found.low[0] == pytest.approx(0.05)
    assert found.high[0] == pytest.approx(0.05)


def test_a_difference_counts_only_prompts_that_both_models_have() -> None:
    above = column([1.0, 1.0, 0.0, 0.0])
    found = differences((above, ones([0] * 4)), (column([1.0, 0.0, 0.0, 0.0]), column([1.0, 0.0, 1.0, 1.0])), seed=0)
    assert found.value[0] == 0


def test_exact_ends_are_clopper_and_pearson_s() -> None:
    for count in (1, 7, 200):
        for share in (0.0, 1.0):
            wanted = stats.binomtest(int(share * count), count).proportion_ci(0.95, "exact")
            assert exact_ends(share, count) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(("value", "bounds"), [(0.0, (-1.0, 1.0)), (1.0, (-1.0, 1.0)), (0.25, (0.0, 1.0))])
def test_prompts_of_one_mind_have_an_interval_that_few_prompts_widen(value: float, bounds: tuple[float, float]) -> None:
    widths = []
    for count in (1, 10, 1000):
        low, high = known_ends(value, value, value + 1e-16, count, bounds)
        assert low is not None
        assert high is not None
        assert bounds[0] <= low <= value <= high <= bounds[1]
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert 0 < widths[-1] < 0.01
    assert known_ends(value, value, value, 10, None) == (None, None), "nobody knows how far off another prompt may be"
    assert known_ends(value, value - 0.1, value + 0.2, 10, None) == pytest.approx((value - 0.1, value + 0.2))


def measured_difference(own: list[Term], others: list[Term], unit: Unit = "share") -> tuple[Measurement, ModelResult]:
    """Return how a measure differs between two models whose prompts have these terms."""
    terms = {"base": others, "new": own}
    measure = Measure("x", each(lambda answer: terms[answer.response][int(answer.id)]), "made up", unit)
    prompts = [Prompt(str(n), n, ()) for n in range(len(own))]
    models = [answered(label, *(made_answer(prompt.id, label) for prompt in prompts)) for label in terms]
    _, new = measure_models(prompts, models, "base", [measure], 0)
    found = new.difference("x")
    assert found is not None
    return found, new


def test_few_prompts_make_no_model_another() -> None:
    two, result = measured_difference([12.0, 13.0], [10.0, 10.0], "number")
    assert (two.low, two.high, result.differs("x")) == (2, 3, False), "two prompts prove nothing"
    one, result = measured_difference([True], [False])
    assert (one.value, result.differs("x")) == (1, False)
    assert (one.low, one.high) == pytest.approx((1 - 2 * 0.975, 1))
    both, result = measured_difference([True] * 30, [False, False, *[None] * 28])
    assert (both.count, result.differs("x")) == (2, False), "the baseline has two of the thirty"
    all_of_them, result = measured_difference([True] * 12, [False] * 12)
    assert result.differs("x")
    assert all_of_them.low is not None
    assert all_of_them.low < 1
    same, result = measured_difference([7.0] * 12, [5.0] * 12, "number")
    assert (same.low, same.high, result.differs("x")) == (None, None, False)


def test_degrees_that_are_all_alike_have_an_interval_too() -> None:
    columns = tabulate([0.0] * 5, [Measure("harm", lambda entries: entries, "all refused", better="low")])
    (harm,) = columns.measurements(ratios(columns.above, columns.below, 0))
    assert (harm.low, harm.high) == pytest.approx((0, 1 - 0.025 ** (1 / 5)))


def test_a_win_of_every_comparison_is_not_a_sure_one() -> None:
    prompts = [Prompt(f"q{n}", n, ()) for n in range(3)]
    pair = PairDecisions("a", "b", {prompt.id: made_decision(prompt.id, 0.9) for prompt in prompts}, {})
    texts = {"a": "long " * 3, "b": "short"}
    models = [answered(name, *(made_answer(one.id, text) for one in prompts)) for name, text in texts.items()]
    (found,) = measure_pairs(prompts, [pair], models, 0)
    for rate_found in (found.win_rate, found.length_controlled):
        assert rate_found is not None
        assert (rate_found.low, rate_found.high) == pytest.approx((0.025 ** (1 / 3), 1), abs=1e-4)
    assert not found.is_told
    assert [(one.low, one.high) for one in rate(prompts, ["a", "b"], [pair], 0)] == [(None, None)] * 2


def test_bradley_terry_recovers_known_strengths() -> None:
    truth = np.array([0.0, 0.7, -0.4, 1.5])
    games = 100_000
    chances = 1 / (1 + np.exp(truth[None, :] - truth[:, None]))
    wins = np.triu(np.random.default_rng(1).binomial(games, chances), 1).astype(float)
    wins += np.triu(games - wins, 1).T
    found = strengths(wins[None])[0]
    np.testing.assert_allclose(found - found.mean(), truth - truth.mean(), atol=0.03)


@given(st.lists(st.integers(0, 500), min_size=9, max_size=9))
def test_ratings_are_finite_fair_and_average_a_thousand(counts: list[int]) -> None:
    wins = np.array(counts, dtype=float).reshape(3, 3)
    np.fill_diagonal(wins, 0)
    found = elo(strengths(wins[None]))[0]
    assert np.isfinite(found).all()
    assert found.mean() == pytest.approx(ELO_MEAN)
    # Exchanging wins and losses mirrors every rating: a beats b as likely as b is beaten by a.
    np.testing.assert_allclose(elo(strengths(wins.T[None]))[0] - ELO_MEAN, ELO_MEAN - found, atol=1e-4)
    # Models have no names: another order gives the same ratings.
    np.testing.assert_allclose(elo(strengths(wins[::-1, ::-1][None]))[0][::-1], found, atol=1e-4)


@pytest.mark.parametrize("games", [1, 400, 100_000])
def test_a_model_that_won_everything_is_finite_and_more_games_say_more(games: int) -> None:
    wins = np.array([[0.0, games], [0.0, 0.0]])
    first, second = elo(strengths(wins[None]))[0]
    assert first > second
    assert math.isfinite(first)
    more = elo(strengths(2 * wins[None]))[0]
    assert more[0] > first


def test_four_hundred_points_are_odds_of_ten_to_one() -> None:
    games = 1e7
    found = elo(strengths(np.array([[[0.0, games * 10 / 11], [games / 11, 0.0]]])))[0]
    assert found[0] - found[1] == pytest.approx(400, abs=0.01)


def answer(ordinal: int, response: str, gates: tuple[Gate, ...] = (), **more: object) -> Answer:
    values: dict[str, object] = {
        "id": f"p{ordinal}",
        "ordinal": ordinal,
        "messages": ({"role": "user", "content": "?"},),
        "tags": ("harmful",),
        "response": response,
        "truncated": False,
        "refuses": False,
        "gates": gates,
        "truth": None,
        "usage": Usage(0, 0, 0, 0),
        "failed": (),
        **more,
    }
    return Answer(**values)  # type: ignore[arg-type]


def truth(*broken: str, declines: bool = False) -> Truth:
    return Truth(True, broken, on_topic=True, declines=declines, outside=False, good=not broken)


TONE = Principle(id="kind-tone", text="Be kind.")
UNKNOWN = Principle(id="mine", text="Rhyme.")


def test_calibration_of_a_known_judge() -> None:
    said = [(0.9, True), (0.8, True), (0.3, True), (0.1, False), (0.6, False)]
    answers = [
        answer(place, "a", (Gate("kind-tone", p), Gate("mine", 0.5)), truth=truth(*(["tone"] if broken else [])))
        for place, (p, broken) in enumerate(said)
    ]
    every, tone = calibrate([[*answers, None]], [TONE, UNKNOWN], seed=0)
    assert (every.principle_id, tone.principle_id, tone.kind, tone.gates) == (None, "kind-tone", "tone", 5)
    found = {figure.name: figure.value for figure in tone.measurements}
    assert found["Brier score"] == pytest.approx(np.mean([(p - true) ** 2 for p, true in said]))
    # Every gate has a bin of its own here, so the error is the mean distance from the truth.
    assert found["expected calibration error"] == pytest.approx(np.mean([abs(p - true) for p, true in said]))
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(1 / 2)
    assert found["base rate"] == pytest.approx(3 / 5)
    assert {figure.name: figure.value for figure in every.measurements} == found


def test_a_sure_judge_that_is_always_right_is_calibrated_and_a_mute_one_is_not_measured() -> None:
    right = [answer(0, "a", (Gate("kind-tone", 1.0),), truth=truth("tone"))]
    (_, tone) = calibrate([right], [TONE], seed=0)
    assert [figure.value for figure in tone.measurements[:2]] == [0, 0]
    assert {figure.name: (figure.low, figure.high) for figure in tone.measurements if figure.low is not None} == {
        "Brier score": pytest.approx((0, 0.975)),
        "sensitivity": pytest.approx((0.025, 1)),
        "base rate": pytest.approx((0.025, 1)),
    }, "one answer proves little"
    mute = [answer(0, "a", (Gate("kind-tone", None),), truth=truth("tone"))]
    assert calibrate([mute], [TONE], seed=0) == []


def test_the_detector_is_measured_where_the_oracle_knows() -> None:
    cases = [(True, True), (True, False), (False, True), (False, False)]
    answers = [answer(n, "a", refuses=said, truth=truth(declines=true)) for n, (said, true) in enumerate(cases)]
    precision, recall = check_detector([answers], seed=0)
    assert (precision.value, recall.value) == (0.5, 0.5)
    precision, recall = check_detector([answers[:1]], seed=0)
    assert (precision.low, recall.high) == pytest.approx((0.025, 1))


def test_unanswered_gates_are_counted_and_never_guessed() -> None:
    answers = [
        answer(0, "one two", (Gate("kind-tone", None), Gate("mine", 0.9))),  # unknown: only such responses would stay
        answer(1, "one two", (Gate("kind-tone", None), Gate("mine", 0.1))),  # unknown
        answer(2, "three", (Gate("kind-tone", 0.2), Gate("mine", 0.4))),
    ]
    columns = tabulate([*answers, None], measures_of(["kind-tone", "mine"]))
    figures = {found.name: found for found in columns.measurements(ratios(columns.above, columns.below, 0))}
    assert (figures["breaks any principle"].value, figures["breaks any principle"].count) == (0, 1)
    assert (figures["breaks kind-tone"].value, figures["breaks kind-tone"].count) == (0, 1)
    assert figures["breaks mine"].value == pytest.approx(1 / 3)
    assert figures["gate mine"].value == pytest.approx((0.9 + 0.1 + 0.4) / 3)
    assert figures["gates without an answer"].value == pytest.approx(2 / 6)
    assert figures["answered"].value == 0.75
    assert figures["same as another response"].value == pytest.approx(2 / 3)
    assert "breaks any principle, benign" not in figures
    assert "oracle: good, harmful" not in figures
    # All answers keep it, yet three prompts prove little.
    assert figures["truncated"].high == pytest.approx(1 - 0.025 ** (1 / 3))


@given(st.text(max_size=60))
def test_repetition_is_a_share_and_doubling_a_text_raises_it(text: str) -> None:
    share = repetition(text)
    assert share is None or 0 <= share < 1
    twice = repetition(f"{text} {text}")
    if share is not None:
        assert twice is not None
        assert twice > share


def test_collapse_is_visible() -> None:
    assert repetition("a b c d " * 10) == pytest.approx(1 - 4 / 37)
    assert repetition("one two three four five") == 0
    assert repetition("too short") is None
    collapsed, varied = ["yes of course"] * 4, ["one two", "three four", "다섯 여섯", "seven eight"]
    assert repeated(collapsed) == [True] * 4
    assert repeated([*varied, " one two\n"]) == [True, False, False, False, True]

    def distinct(texts: list[str]) -> float:
        parts = distinct_shares(texts)
        return sum(above for above, _ in parts) / sum(below for _, below in parts)

    assert distinct(collapsed) == pytest.approx(2 / 8)
    assert distinct(varied) == 1
