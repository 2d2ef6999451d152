"""PPO's equations: against examples by hand, against brute force over all trajectories, and on a bandit."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cai.train.trainers.ppo_equations import (
    KLCoefficient,
    RewardScale,
    approximate_kl,
    clipped,
    explained_variance,
    generalized_advantages,
    moments,
    policy_losses,
    token_rewards,
    value_losses,
    whiten,
)
from tests.train_context import one_thread  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = torch.ones((1, 3), dtype=torch.bool)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_the_score_comes_with_the_last_token_and_every_token_pays_for_leaving_the_reference() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    ratios = torch.tensor([[0.5, -1.0, 9.0], [0.0, 0.0, 2.0], [1.0, 1.0, 1.0]])
    found = token_rewards(torch.tensor([3.0, -1.0, 7.0]), ratios, mask, 0.1)
    torch.testing.assert_close(found, torch.tensor([[-0.05, 3.1, 0.0], [0.0, 0.0, -1.2], [0.0, 0.0, 0.0]]))


def test_advantages_by_hand() -> None:
    # δ = (0 + 0.9·2 - 1, 0 + 0.9·3 - 2, 10 - 3) = (0.8, 0.7, 7), and g λ = 0.45.
    advantages, returns = generalized_advantages(row(0, 0, 10), row(1, 2, 3), ALL, 0.9, 0.5)
    torch.testing.assert_close(advantages, row(0.8 + 0.45 * (0.7 + 0.45 * 7), 0.7 + 0.45 * 7, 7))
    torch.testing.assert_close(returns, advantages + row(1, 2, 3))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(0.1, 1), st.floats(0, 1))
def test_advantages_are_the_sum_of_all_discounted_residuals(data: st.DataObject, discount: float, trace: float) -> None:
    numbers = st.floats(-5, 5, allow_nan=False)
    length, padding = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 3))
    rewards, values = (data.draw(st.lists(numbers, min_size=length, max_size=length)) for _ in range(2))
    residuals = [rewards[t] + discount * (values[t + 1] if t + 1 < length else 0.0) - values[t] for t in range(length)]
    wanted = [
        sum((discount * trace) ** (later - t) * residuals[later] for later in range(t, length)) for t in range(length)
    ]
    behind = [77.0] * padding  # what stands where there is no token is nobody's
    mask = torch.tensor([[True] * length + [False] * padding])
    found, returns = generalized_advantages(row(*rewards, *behind), row(*values, *behind), mask, discount, trace)
    torch.testing.assert_close(found, row(*wanted, *[0.0] * padding), atol=1e-9, rtol=1e-9)
    if trace == 1.0:
        whole = [sum(discount ** (later - t) * rewards[later] for later in range(t, length)) for t in range(length)]
        torch.testing.assert_close(returns[:, :length], row(*whole), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # far enough: nothing more to gain
        (0.5, 2.0, -1.0, -1.0),  # went the wrong way: pulled back whole
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_the_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    new = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    found = policy_losses(new, torch.zeros(1, dtype=torch.float64), torch.tensor([advantage]).double(), 0.2)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(loss)
    assert new.grad is not None
    assert float(new.grad) == pytest.approx(slope)
    assert bool(clipped(new, torch.zeros(1), 0.2)) == (abs(ratio - 1) > 0.2)


def test_value_loss_explained_variance_and_kl_by_hand() -> None:
    # From 0 towards 1: inside the clip 0.1 away; beyond it the clipped error, 0.8, is the larger one.
    torch.testing.assert_close(value_losses(row(0.1, 0.9, -2), row(0, 0, 0), row(1, 1, 1), 0.2), row(0.405, 0.32, 4.5))
    returns = row(1, 2, 3)
    assert explained_variance(returns, returns, ALL) == 1
    assert explained_variance(row(2, 2, 2), returns, ALL) == 0
    assert explained_variance(row(3, 2, 1), returns, ALL) == pytest.approx(-3)
    assert explained_variance(row(3, 2, 1), row(1, 1, 1), ALL) == 0
    old, new = torch.log(row(0.5, 0.3, 0.2)), torch.log(row(0.2, 0.3, 0.5))
    exact = float((old.exp() * (old - new)).sum())
    assert float((old.exp() * approximate_kl(new, old)).sum()) == pytest.approx(exact)
    assert (approximate_kl(new, old) >= 0).all()


def test_whitened_advantages_have_mean_0_and_deviation_1_over_what_counts() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = torch.tensor([[1.0, 2.0, 50.0], [6.0, 70.0, 80.0]])
    sums = moments(values[:1], mask[:1]) + moments(values[1:], mask[1:])  # of two processes
    found = whiten(values, mask, sums)
    expected = (torch.tensor([1.0, 2.0, 6.0]) - 3) / math.sqrt(14 / 3)
    torch.testing.assert_close(found[mask], expected, atol=1e-6, rtol=1e-6)
    assert not found[~mask].any()


def test_the_controller_moves_by_a_fiftieth_at_most_and_stands_still_at_its_target() -> None:
    steered, fixed = KLCoefficient(0.2, 6.0), KLCoefficient(0.2)
    for measured, factor in ((60.0, 1.02), (6.0, 1.0), (0.0, 0.98), (6.6, 1.01)):
        before = steered.value
        steered.update(measured)
        fixed.update(measured)
        assert steered.value == pytest.approx(before * factor)
    assert fixed.value == 0.2


def test_rewards_are_counted_in_deviations_of_all_that_were_seen() -> None:
    scale, raw = RewardScale.start(1.5), RewardScale.start(0.0)
    known = torch.ones(2, dtype=torch.bool)
    for seen in (torch.tensor([0.0, 2.0]), torch.tensor([4.0, 6.0])):
        scale.take(moments(seen, known))
    rewards = torch.tensor([3.0, 3.0 + math.sqrt(5), 99.0])
    torch.testing.assert_close(scale.scaled(rewards), torch.tensor([0.0, 1.0, 1.5]))
    assert raw.scaled(rewards) is rewards
    alike = RewardScale.start(5.0)
    alike.take(moments(torch.tensor([0.7, 0.7]), known))
    assert float(alike.scaled(torch.tensor([0.7]))) == pytest.approx(0.0, abs=1e-3)


def test_the_gradient_is_that_of_the_expected_reward_by_brute_force() -> None:
    # Two actions, three places, a policy for each state; the state is what was done so far. All 8 trajectories.
    torch.manual_seed(0)
    logits = torch.randn(
        7, 2, dtype=torch.float64, requires_grad=True
    )  # a state's number: 1, then twice that and so on
    values = torch.randn(7, dtype=torch.float64)
    worth = dict(zip(itertools.product((0, 1), repeat=3), torch.randn(8).double().tolist(), strict=True))

    def walk(actions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        told, seen, state = [], [], 1
        for action in actions:
            told.append(logits[state - 1].log_softmax(-1)[action])
            seen.append(values[state - 1])
            state = 2 * state + action
        return torch.stack(told), torch.stack(seen)

    expected = torch.stack([walk(one)[0].sum().exp() * worth[one] for one in worth]).sum()
    (exact,) = torch.autograd.grad(expected, logits)
    losses = []
    for one, score in worth.items():
        told, seen = walk(one)
        rewards = token_rewards(torch.tensor([score]).double(), torch.zeros(1, 3).double(), ALL, 0.0)
        # With λ = 1 any values whatever leave the expected gradient as it is: they are a baseline.
        advantages, _ = generalized_advantages(rewards, seen[None], ALL, 1.0, 1.0)
        chance = told.detach().sum().exp()
        losses.append(chance * policy_losses(told[None], told[None].detach(), advantages, 0.2).sum())
    (found,) = torch.autograd.grad(torch.stack(losses).sum(), logits)
    torch.testing.assert_close(-found, exact)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_on_a_bandit_the_best_arm_is_found_and_with_flipped_rewards_the_worst(sign: float) -> None:
    arms = torch.tensor([0.1, 0.5, 0.2, 0.9, 0.4])
    generator = torch.Generator().manual_seed(1)
    logits = torch.zeros(5, requires_grad=True)
    value = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([logits, value], lr=0.1)
    mask = torch.ones((64, 1), dtype=torch.bool)
    for _ in range(40):
        drawn = torch.multinomial(logits.detach().softmax(-1), 64, replacement=True, generator=generator)
        noise = 0.1 * torch.randn(64, generator=generator)
        old, before = logits.detach().log_softmax(-1)[drawn][:, None], value.detach().expand(64)[:, None].clone()
        rewards = token_rewards(sign * arms[drawn] + noise, torch.zeros(64, 1), mask, 0.0)
        advantages, returns = generalized_advantages(rewards, before, mask, 1.0, 0.95)
        advantages = whiten(advantages, mask, moments(advantages, mask))
        for _ in range(4):
            new = logits.log_softmax(-1)[drawn][:, None]
            loss = policy_losses(new, old, advantages, 0.2).mean()
            loss = loss + value_losses(value.expand(64)[:, None], before, returns, 0.2).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    best = int(arms.argmax()) if sign > 0 else int(arms.argmin())
    assert logits.softmax(-1)[best].item() > 0.9
    assert value.item() == pytest.approx(float(sign * arms[best]), abs=0.1)
