"""Bradley and Terry: the laws that a ranking keeps, against an optimiser of another kind, and known strengths."""

import random
from itertools import combinations, pairwise
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from cai.method.ranking import (
    PRIOR_DEVIATION,
    Outcome,
    Triples,
    connected,
    cyclic_triples,
    logistic,
    most_telling,
    rank,
)

SOME = settings(max_examples=40, deadline=None)


@st.composite
def compared(draw: st.DrawFn) -> tuple[int, list[Outcome]]:
    count = draw(st.integers(2, 6))
    pairs = st.sampled_from(list(combinations(range(count), 2)))
    outcome = st.builds(
        lambda pair, probability: Outcome(pair[0], pair[1], probability),
        pairs,
        st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0]),
    )
    return count, draw(st.lists(outcome, min_size=1, max_size=12))


@SOME
@given(compared(), st.randoms(use_true_random=False))
def test_other_numbers_give_the_same_items_the_same_strengths(
    case: tuple[int, list[Outcome]], chance: random.Random
) -> None:
    count, outcomes = case
    numbers = list(range(count))
    chance.shuffle(numbers)
    renamed = [Outcome(numbers[item.a], numbers[item.b], item.probability) for item in outcomes]
    chance.shuffle(renamed)
    one, other = rank(count, outcomes), rank(count, renamed)
    for item in range(count):
        assert other.strengths[numbers[item]] == pytest.approx(one.strengths[item], abs=1e-7)
        assert other.errors[numbers[item]] == pytest.approx(one.errors[item], abs=1e-6)


@SOME
@given(compared())
def test_a_pair_told_the_other_way_round_says_the_same(case: tuple[int, list[Outcome]]) -> None:
    count, outcomes = case
    swapped = [Outcome(item.b, item.a, 1.0 - item.probability) for item in outcomes]
    assert rank(count, swapped).strengths == pytest.approx(rank(count, outcomes).strengths, abs=1e-7)
    assert cyclic_triples(swapped) == cyclic_triples(outcomes)


@SOME
@given(compared())
def test_it_finds_what_an_optimiser_without_derivatives_finds(case: tuple[int, list[Outcome]]) -> None:
    count, outcomes = case

    def loss(strengths: np.ndarray) -> float:
        total = float((strengths**2).sum()) / (2 * PRIOR_DEVIATION**2)
        for item in outcomes:
            lead = float(strengths[item.a] - strengths[item.b])
            total += item.probability * np.logaddexp(0, -lead) + (1 - item.probability) * np.logaddexp(0, lead)
        return total

    found = rank(count, outcomes)
    best = minimize(loss, np.zeros(count), method="BFGS", options={"gtol": 1e-9})
    assert loss(np.array(found.strengths)) <= best.fun + 1e-9
    assert sum(found.strengths) == pytest.approx(0, abs=1e-7)
    leads = [found.strengths[item] for item in found.order]
    assert all(one >= other - 1e-8 for one, other in pairwise(leads))


def test_one_comparison_is_hardly_moved_by_the_prior_and_a_certain_one_is_finite() -> None:
    assert rank(2, [Outcome(0, 1, 0.9)]).probability(0, 1) == pytest.approx(0.89, abs=0.005)
    certain = rank(2, [Outcome(0, 1, 1.0)])
    assert 0.95 < certain.probability(0, 1) < 1
    assert max(certain.errors) < PRIOR_DEVIATION


def observed(truth: list[float], count: int, chance: random.Random) -> list[Outcome]:
    """Return so many comparisons of each pair, each won or lost by chance."""
    outcomes = []
    for a, b in combinations(range(len(truth)), 2):
        won = sum(chance.random() < logistic(truth[a] - truth[b]) for _ in range(count))
        outcomes.append(Outcome(a, b, won / count, weight=count))
    return outcomes


def test_known_strengths_are_found_again_within_their_errors() -> None:
    truth = [1.5, 0.5, 0.0, -0.5, -1.5]
    found = rank(5, observed(truth, 200, random.Random(7)))
    assert found.order == (0, 1, 2, 3, 4)
    assert max(found.errors) < 0.1
    for strength, error, known in zip(found.strengths, found.errors, truth, strict=True):
        assert abs(strength - known) < 3 * error


def test_the_standard_error_is_the_spread_of_repeated_estimates() -> None:
    chance = random.Random(3)
    repeated = [rank(3, observed([0.6, 0.0, -0.6], 30, chance)) for _ in range(300)]
    spread = np.std([found.strengths[0] for found in repeated])
    assert np.mean([found.errors[0] for found in repeated]) == pytest.approx(spread, rel=0.15)


def test_soft_outcomes_weigh_what_they_say() -> None:
    soft = rank(2, [Outcome(0, 1, 0.7, weight=1000.0)])
    assert soft.strengths[0] - soft.strengths[1] == pytest.approx(log(0.7 / 0.3), abs=1e-3)
    assert soft.probability(0, 1) == pytest.approx(1 / (1 + exp(soft.strengths[1] - soft.strengths[0])))


@pytest.mark.parametrize(
    ("outcomes", "found"),
    [
        ([(0, 1, 0.9), (1, 2, 0.9), (0, 2, 0.1)], Triples(1, 1)),
        ([(0, 1, 0.9), (1, 2, 0.9), (0, 2, 0.9)], Triples(1, 0)),
        ([(0, 1, 0.9), (1, 2, 0.9), (0, 2, 0.5)], Triples(0, 0)),
        ([(0, 1, 0.9), (1, 2, 0.9)], Triples(0, 0)),
        ([(0, 1, 0.9), (2, 1, 0.1), (2, 0, 0.6), (0, 3, 0.2), (1, 3, 0.2), (2, 3, 0.2)], Triples(4, 1)),
    ],
)
def test_cycles_are_counted_among_the_triples_that_can_have_one(
    outcomes: list[tuple[int, int, float]], found: Triples
) -> None:
    assert cyclic_triples([Outcome(*item) for item in outcomes]) == found


def test_items_that_nothing_connects_are_groups_of_their_own() -> None:
    outcomes = [Outcome(1, 2, 0.6), Outcome(4, 2, 0.6)]
    assert connected(5, outcomes) == ((1, 2, 4), (0,), (3,))
    assert connected(3, []) == ((0,), (1,), (2,))


def test_what_tells_most_connects_first_and_then_looks_at_near_neighbours() -> None:
    pairs = list(combinations(range(4), 2))
    assert most_telling(4, [], pairs, 1) == ((0, 1),)
    assert most_telling(4, [], pairs, 9) == ((0, 1), (2, 3))
    assert most_telling(4, [], pairs[::-1], 9) == ((2, 3), (0, 1))
    assert most_telling(4, [Outcome(0, 1, 0.9)], pairs[1:], 1) == ((2, 3),)
    # All are connected; 0 and 1 lie close together, 0 and 3 far apart.
    chain = [Outcome(0, 2, 0.9), Outcome(1, 2, 0.9), Outcome(2, 3, 0.9)]
    assert most_telling(4, chain, [(0, 3), (1, 3), (0, 1)], 1) == ((0, 1),)
    assert most_telling(4, chain, [], 1) == ()
