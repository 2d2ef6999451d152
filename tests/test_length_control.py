"""Win rates at equal length: on made preferences the truth is known, with and without a liking for long answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.evaluate.pairs import PairDecisions, measure_pairs
from cai.evaluate.statistics import Numbers
from cai.evaluate.usefulness.length_control import at_equal_length
from cai.method.verdicts import TIE
from tests.building import make_prompt
from tests.evaluating import answered, made_answer, made_decision


def simulated(strength: float, bias: float, longer: float, count: int, seed: int) -> tuple[Numbers, Numbers]:
    """Return lengths and winners of a judge to whom length counts by `bias`, the first model writing `longer` texts."""
    generator = np.random.default_rng(seed)
    lengths = generator.normal(longer, 300, count)
    odds = strength + bias * np.tanh(lengths / lengths.std())
    won = generator.random(count) < 1 / (1 + np.exp(-odds))
    return lengths, won.astype(float)


@pytest.mark.parametrize("strength", [-0.8, 0.0, 0.5])
def test_what_a_liking_for_length_adds_is_taken_out(strength: float) -> None:
    truth = 1 / (1 + np.exp(-strength))
    lengths, won = simulated(strength, bias=1.5, longer=350, count=1500, seed=3)
    assert won.mean() > truth + 0.12, "the raw rate is what length makes of it"
    value, low, high = at_equal_length(lengths, won, seed=1)
    assert low < truth < high
    assert value == pytest.approx(truth, abs=0.06)


def test_without_such_a_liking_it_is_the_raw_rate_within_noise() -> None:
    lengths, won = simulated(0.5, bias=0.0, longer=0, count=1500, seed=5)
    value, low, high = at_equal_length(lengths, won, seed=1)
    assert value == pytest.approx(won.mean(), abs=0.01)
    assert low < won.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(won.mean() * (1 - won.mean()) / 1500), rel=0.1)


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth = 1 / (1 + np.exp(-0.4))
    held = 0
    for seed in range(40):
        _, low, high = at_equal_length(*simulated(0.4, bias=1.0, longer=200, count=100, seed=seed), seed=seed)
        held += low <= truth <= high
    assert held >= 34  # of 40 at 95 %: fewer would come in one of a hundred such tests


@given(st.lists(st.tuples(st.integers(-500, 500), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=25, deadline=None)
def test_swapping_the_models_gives_the_rest(rows: list[tuple[int, bool]]) -> None:
    lengths, won = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    value, low, high = at_equal_length(lengths, won, seed=0)
    other, other_low, other_high = at_equal_length(-lengths, 1 - won, seed=0)
    assert (value, low, high) == pytest.approx((1 - other, 1 - other_high, 1 - other_low), abs=1e-6)
    assert 0 <= low <= high <= 1


def test_extremes_stay_what_they_are() -> None:
    same = np.zeros(20)
    assert at_equal_length(same, np.ones(20), seed=0) == pytest.approx((1, 1, 1))
    half: Numbers = np.array([0.0, 1.0] * 10)
    assert at_equal_length(same, half, seed=0)[0] == pytest.approx(0.5)
    lengths = np.where(half > 0, 400.0, -400.0)
    value, low, high = at_equal_length(lengths, half, seed=0)
    assert value == pytest.approx(0.5, abs=0.01), "length alone tells the winner: nothing is left"
    assert 0 <= low < value < high <= 1


def test_pairs_have_it_beside_the_raw_rate() -> None:
    prompts = [replace(make_prompt(), id=f"q{number}") for number in range(21)]
    wordy = answered("wordy", *(made_answer(one.id, "word " * (9 if n % 3 else 1)) for n, one in enumerate(prompts)))
    short = answered("short", *(made_answer(one.id, "word " * 5) for one in prompts))
    decisions = {one.id: made_decision(one.id, 0.9 if n % 3 else 0.2) for n, one in enumerate(prompts[:-1])}
    decisions[prompts[-1].id] = made_decision(prompts[-1].id, None, TIE)
    (pair,) = measure_pairs(prompts, [PairDecisions("wordy", "short", decisions, {})], [wordy, short], 0)
    assert pair.win_rate is not None
    assert pair.length_controlled is not None
    assert (pair.win_rate.value, pair.length_controlled.count) == (13 / 20, 20)
    assert pair.length_controlled.value == pytest.approx(0.5, abs=0.12), "the longer answer always wins"
    assert pair.longer == pytest.approx((13 * 20 - 7 * 20) / 20)
    (none,) = measure_pairs(prompts, [PairDecisions("wordy", "short", {}, {})], [wordy, short], 0)
    assert (none.length_controlled, none.longer) == (None, None)
