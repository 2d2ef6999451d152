"""The reward models' equations: against examples by hand, brute force, and truths that simulated labels came from."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cai.train.trainers.reward_equations import (
    centre_penalties,
    certainty_margins,
    first_thresholds,
    length_slope,
    level_losses,
    list_losses,
    pair_losses,
    squared_errors,
)
from tests.train_context import one_thread  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBERS = st.floats(-4, 4, allow_nan=False)


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def one_list(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_pairs_by_hand() -> None:
    found = pair_losses(row(2, 2, 2), row(1, 1, 1), row(1, 0.8, 1), row(0, 0, 3))
    wanted = (
        -math.log(sigmoid(1)),
        -0.8 * math.log(sigmoid(1)) - 0.2 * math.log(sigmoid(-1)),
        -math.log(sigmoid(1 - 3)),
    )
    torch.testing.assert_close(found, row(*wanted))
    torch.testing.assert_close(certainty_margins(row(1, 0.75, 0.5), 3), row(3, 1.5, 0))


@given(NUMBERS, NUMBERS, st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_pair_turned_round_with_its_probability_is_the_same_pair(one: float, other: float, chance: float) -> None:
    loss = pair_losses(row(one), row(other), row(chance), row(0))
    torch.testing.assert_close(loss, pair_losses(row(other), row(one), row(1 - chance), row(0)))


@given(st.lists(NUMBERS, min_size=2, max_size=4))
@settings(max_examples=25, deadline=None)
def test_all_orders_of_a_list_have_the_whole_probability_and_each_is_a_product_of_choices(scores: list[float]) -> None:
    weights = [math.exp(score) for score in scores]
    whole = 0.0
    for order in itertools.permutations(range(len(scores))):
        chance = math.prod(weights[item] / sum(weights[left] for left in order[at:]) for at, item in enumerate(order))
        ranks = [0.0] * len(scores)
        for place, item in enumerate(order, start=1):
            ranks[item] = place
        found = math.exp(-float(list_losses(row(*scores), row(*ranks), one_list(len(scores)))[0]))
        assert found == pytest.approx(chance)
        whole += found
    assert whole == pytest.approx(1)


def test_a_list_of_two_is_a_pair_and_lists_do_not_see_each_other() -> None:
    scores, ranks = row(0.3, -1, 2, 1, 0), row(1, 2, 3, 1, 2)
    found = list_losses(scores, ranks, torch.tensor([0, 0, 1, 1, 1]))
    torch.testing.assert_close(found[:1], pair_losses(row(0.3), row(-1), row(1), row(0)))
    torch.testing.assert_close(found[1:], list_losses(scores[2:], ranks[2:], one_list(3)))


def test_answers_of_one_rank_are_drawn_from_the_same_rest() -> None:
    # Both of rank 1 from all three; the last has no choice left.
    scores = row(1, 0, -1)
    whole = math.log(math.exp(1) + 1 + math.exp(-1))
    torch.testing.assert_close(list_losses(scores, row(1, 1, 2), one_list(3)), row(2 * whole - 1 - 0))


@given(st.lists(NUMBERS, min_size=1, max_size=5, unique=True), NUMBERS)
@settings(max_examples=30, deadline=None)
def test_levels_have_the_whole_probability_and_are_differences_of_the_cumulative_one(
    places: list[float], score: float
) -> None:
    edges = sorted(places)
    if any(high - low < 1e-3 for low, high in itertools.pairwise(edges)):
        return
    count = len(edges) + 1
    losses = level_losses(torch.full((count,), score, dtype=torch.float64), torch.arange(count), row(*edges))
    cumulative = [0.0, *(sigmoid(edge - score) for edge in edges), 1.0]
    wanted = [high - low for low, high in itertools.pairwise(cumulative)]
    assert (-losses).exp().tolist() == pytest.approx(wanted, abs=1e-9)
    assert float((-losses).exp().sum()) == pytest.approx(1)


def test_levels_far_away_have_a_finite_loss_and_gradient() -> None:
    scores = row(-200, 200, 0).requires_grad_()
    losses = level_losses(scores, torch.tensor([2, 0, 1]), row(-1, 1))
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(losses).all()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, row(-1, 1, 0))


def test_the_first_thresholds_give_the_levels_their_frequencies() -> None:
    counts = torch.tensor([100, 300, 600])
    losses = level_losses(torch.zeros(3).double(), torch.arange(3), first_thresholds(counts))
    assert (-losses).exp().tolist() == pytest.approx([0.1, 0.3, 0.6], abs=2e-3)


def test_centring_by_hand() -> None:
    found = centre_penalties(row(3, -1, 1, 1, 4), torch.tensor([0, 0, 1, 1, 1]))
    torch.testing.assert_close(found, row((3 - 1) ** 2, 4**2))


TRUTH = np.random.default_rng(0).normal(0, 1.5, 12)
"""The worth of twelve answers, from which labels are drawn below."""


def fitted(loss_of: object, extra: int = 0) -> tuple[np.ndarray, Tensor]:
    """Return the scores of the twelve that minimise a loss, and what else was fitted."""
    values = torch.zeros(len(TRUTH) + extra, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_of(values)  # type: ignore[operator]
        (loss + 1e-4 * values.square().sum()).backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return values.detach()[: len(TRUTH)].numpy(), values.detach()[len(TRUTH) :]


def agrees(scores: np.ndarray) -> float:
    return float(np.corrcoef(scores, TRUTH)[0, 1])


def test_pairs_and_lists_recover_the_order_that_their_labels_were_drawn_from() -> None:
    random = np.random.default_rng(1)
    drawn = [random.choice(12, 4, replace=False) for _ in range(150)]
    # Plackett and Luce's order is that of the worths with Gumbel noise.
    orders = [items[np.argsort(-(TRUTH[items] + random.gumbel(size=4)))] for items in drawn]
    places = torch.tensor(np.concatenate(orders))
    ranks, lists = torch.arange(1, 5).repeat(150), torch.arange(150).repeat_interleave(4)
    by_lists, _ = fitted(lambda values: list_losses(values[places], ranks, lists).mean())
    firsts, seconds = torch.tensor([o[0] for o in orders]), torch.tensor([o[1] for o in orders])
    ones, zeros = torch.ones(150).double(), torch.zeros(150).double()
    by_pairs, _ = fitted(lambda values: pair_losses(values[firsts], values[seconds], ones, zeros).mean())
    assert agrees(by_lists) > 0.95
    assert agrees(by_lists) > agrees(by_pairs) > 0.5
    turned, _ = fitted(lambda values: list_losses(values[places], 5 - ranks, lists).mean())
    assert agrees(turned) < -0.9


def test_levels_recover_worths_and_thresholds() -> None:
    random = np.random.default_rng(2)
    items = random.integers(12, size=2000)
    edges = np.array([-2.0, -0.5, 0.5, 3.0])
    levels = torch.tensor(np.searchsorted(edges, TRUTH[items] + random.logistic(size=2000)))
    places = torch.tensor(items)

    def loss(values: Tensor) -> Tensor:
        raw = values[12:]
        thresholds = torch.cat([raw[:1], raw[1:].exp()]).cumsum(0)
        return level_losses(values[:12][places], levels, thresholds).mean()

    scores, raw = fitted(loss, extra=4)
    found = torch.cat([raw[:1], raw[1:].exp()]).cumsum(0).numpy()
    shift = float(np.mean(scores - TRUTH))
    assert agrees(scores) > 0.98
    assert found - shift == pytest.approx(edges, abs=0.35)


def test_squared_errors_recover_means() -> None:
    random = np.random.default_rng(3)
    items = random.integers(12, size=2000)
    labels, places = torch.tensor(TRUTH[items] + random.normal(size=2000)), torch.tensor(items)
    scores, _ = fitted(lambda values: squared_errors(values[places], labels).mean())
    assert agrees(scores) > 0.99


@given(st.floats(-0.08, 0.08), st.integers(0, 5))
@settings(max_examples=6, deadline=None)
def test_the_slope_of_length_is_the_one_that_labels_were_drawn_with(slope: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = torch.tensor(random.integers(5, 60, size=(2, 3000)))
    leads = slope * (lengths[0] - lengths[1])
    probabilities = torch.sigmoid(leads.double())

    def loss(scores: Tensor) -> Tensor:
        return pair_losses(scores[:3000], scores[3000:], probabilities, torch.zeros(())).mean()

    assert length_slope(loss, lengths.flatten()) == pytest.approx(slope, abs=2e-3)


def test_a_length_that_never_differs_has_no_slope_and_one_that_tells_all_has_a_finite_one() -> None:
    ones = torch.ones(4).double()

    def loss(scores: Tensor) -> Tensor:
        return pair_losses(scores[:4], scores[4:], ones, torch.zeros(())).mean()

    assert length_slope(loss, torch.full((8,), 7)) == 0
    assert 0 < length_slope(loss, torch.tensor([9, 8, 9, 8, 1, 2, 1, 2])) < 10
