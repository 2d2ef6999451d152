"""PPO's equations as functions of tensors, each with its paper: nothing here knows a model, a trainer or a file.

Tensors have the shape (responses, tokens): a row is one response, left-aligned, and `mask` is True where it has a
token. Log-probabilities are in nats. What is computed for a place without a token is 0, or is to be ignored.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_STABLE = 1e-8  # added to a deviation that is divided by

KL_RATE, KL_MOST = 0.1, 0.2
"""How fast the coefficient of the KL penalty moves, and the error that moves it most (1909.08593, section 2.2)."""


def token_rewards(scores: Tensor, log_ratios: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """Return every token's reward: the response's score at its last token, less the KL penalty at each.

    `scores` has the shape (responses,), `log_ratios` is log policy - log reference of each token that was drawn. Summed
    over the response that is R(x, y) = r(x, y) - β log[π(y|x) / π_ref(y|x)] (1909.08593, equation 2; 2009.01325,
    section 3.4; 2203.02155, equation 2 without its second term).
    """
    rewards = -coefficient * log_ratios * mask
    rows = torch.arange(len(scores), device=scores.device)
    last = (mask.sum(1) - 1).clamp_min(0)
    rewards[rows, last] += scores * mask[rows, last]
    return rewards


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, discount: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Return every token's advantage and return, by generalised advantage estimation (1506.02438, equation 16).

    δ_t = r_t + g V(s_{t+1}) - V(s_t) and A_t = δ_t + g λ A_{t+1}, where a response that has ended is worth 0;
    `discount` is g, which the paper calls gamma, and `trace` is λ. The return that the value model learns is the
    λ-return A_t + V(s_t).
    """
    advantages = torch.zeros_like(rewards)
    later = next_value = torch.zeros_like(rewards[:, 0])
    for place in reversed(range(rewards.shape[1])):
        here = mask[:, place]
        residual = rewards[:, place] + discount * next_value - values[:, place]
        later = (residual + discount * trace * later) * here
        next_value = values[:, place] * here
        advantages[:, place] = later
    return advantages, (advantages + values) * mask


def moments(values: Tensor, mask: Tensor) -> Tensor:
    """Return count, sum and sum of squares of what the mask shows, to be added up over processes."""
    shown = values[mask].cpu().double()  # some devices have no double precision
    return torch.stack([torch.tensor(len(shown)).double(), shown.sum(), (shown**2).sum()])


def whiten(advantages: Tensor, mask: Tensor, sums: Tensor) -> Tensor:
    """Return advantages with mean 0 and deviation 1 over the batch with these `moments` (2403.17031, section 7)."""
    mean, deviation = _spread(sums)
    return (advantages - mean) / (deviation + _STABLE) * mask


def policy_losses(log_probs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return every token's clipped surrogate, negated, so that less is better (1707.06347, equation 7).

    With the ratio q = π(a|s) / π_old(a|s) that is -min(q A, clip(q, 1 - ε, 1 + ε) A); `clip` is ε.
    """
    ratios = torch.exp(log_probs - old)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages)


def clipped(log_probs: Tensor, old: Tensor, clip: float) -> Tensor:
    """Return which tokens' ratios lie outside 1 ± ε."""
    return (torch.exp(log_probs - old) - 1).abs() > clip


def value_losses(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return every token's value loss, half the larger of two squared errors: the values', and the clipped values'.

    ½ max((V - R)², (clip(V, V_old - ε, V_old + ε) - R)²), with ε as `clip`. 2005.12729, section 3, describes it, and
    prints a minimum where the code that it examines takes the maximum, as here: then a value gains nothing by moving
    further than ε towards the return.
    """
    held = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)


def approximate_kl(log_probs: Tensor, old: Tensor) -> Tensor:
    """Return every token's estimate of KL(π_old ‖ π) from what π_old drew: (q - 1) - log q, which is never negative.

    J. Schulman, "Approximating KL Divergence", 2020, estimator k3.
    """
    difference = log_probs - old
    return torch.expm1(difference) - difference


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return 1 - Var(R - V) / Var(R): 1 for values that say all returns, 0 for a constant, less for worse.

    0 where returns do not vary, so that there is nothing to explain.
    """
    shown, missed = returns[mask], (returns - values)[mask]
    whole = shown.var(correction=0) if shown.numel() else torch.zeros(())
    return float(1 - missed.var(correction=0) / whole) if whole > 0 else 0.0


@dataclass(slots=True)
class KLCoefficient:
    """The KL penalty's coefficient β: fixed, or steered to `target` nats a response by a proportional controller.

    e = clip((KL - target) / target, ±0.2) and β ← β (1 + 0.1 e) after every step (1909.08593, section 2.2).
    """

    value: float
    target: float | None = None

    def update(self, measured: float) -> None:
        """Take the mean KL of a step's responses from the reference, in nats a response."""
        if self.target is not None:
            error = min(max((measured - self.target) / self.target, -KL_MOST), KL_MOST)
            self.value *= 1 + KL_RATE * error


@dataclass(slots=True)
class RewardScale:
    """Rewards in deviations from the mean of all that were seen so far, cut off at `limit`; with limit 0 as they are.

    r ← clip((r - mean) / deviation, ±limit) (2307.04964, section 5.3.1, where it is called score reparameterisation).
    `sums` are `moments`: of all processes' rewards.
    """

    limit: float
    sums: Tensor

    @classmethod
    def start(cls, limit: float) -> "RewardScale":
        """Return the scale before any reward was seen."""
        return cls(limit, torch.zeros(3, dtype=torch.float64))

    def take(self, sums: Tensor) -> None:
        """Count the rewards whose moments these are among those that were seen."""
        self.sums = self.sums + sums.cpu()

    def spread(self) -> tuple[float, float]:
        """Return the mean and the deviation of the rewards that were seen."""
        return _spread(self.sums)

    def scaled(self, rewards: Tensor) -> Tensor:
        """Return the rewards on the scale."""
        if not self.limit:
            return rewards
        mean, deviation = self.spread()
        return ((rewards - mean) / (deviation + _STABLE)).clamp(-self.limit, self.limit)


def _spread(sums: Tensor) -> tuple[float, float]:
    """Return mean and deviation of what has these moments; 0 and 0 of nothing."""
    count, total, squares = (float(value) for value in sums)
    mean = total / max(count, 1.0)
    return mean, math.sqrt(max(squares / max(count, 1.0) - mean**2, 0.0))
