"""Drawing one token a row, each row by its own `Sampling` and random numbers.

What narrows the choice does so in vLLM's order: the repetition penalty, temperature, min-p, top-k, top-p. A row's
tokens depend on its own logits and its own numbers alone: each is found by inverting the row's cumulative distribution
at one uniform number of the request's own Philox stream, so neighbours in a batch change nothing.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cai.models.base import Sampling


def stream(seed: int) -> np.random.Generator:
    """Return the random numbers of one request."""
    return np.random.Generator(np.random.Philox(key=seed))


class Draws(NamedTuple):
    """How each row is drawn, shape (rows,); `top_ks` and `min_ps` are None where no row has any."""

    temperatures: Tensor
    top_ps: Tensor
    top_ks: Tensor | None = None
    min_ps: Tensor | None = None

    @classmethod
    def of(cls, samplings: Sequence[Sampling], device: torch.device) -> "Draws":
        """Return what the rows' samplings say, on the device."""

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        top_ks = [sampling.top_k or 0 for sampling in samplings]
        min_ps = [sampling.min_p for sampling in samplings]
        return cls(
            column([sampling.temperature for sampling in samplings]),
            column([sampling.top_p for sampling in samplings]),
            torch.tensor(top_ks, device=device) if any(top_ks) else None,
            column(min_ps) if any(min_ps) else None,
        )


def draw_tokens(logits: Tensor, draws: Draws, uniforms: Tensor) -> Tensor:
    """Return one token id a row, shape (rows,).

    `logits` has the shape (rows, vocabulary), `uniforms` (rows,), numbers in [0, 1). Temperature 0 takes the likeliest
    token. Min-p leaves out tokens less likely than this times the likeliest, top-k all but the k likeliest (0: none),
    top-p all but the likeliest whose sum first reaches it (nucleus sampling, arXiv 1904.09751, section 3.1).
    """
    logits = logits.float()
    greedy = draws.temperatures <= 0
    if bool(greedy.all()):
        return logits.argmax(dim=-1)
    scale = torch.where(greedy, 1.0, draws.temperatures)[:, None]
    probabilities = torch.softmax(logits / scale, dim=-1)
    if draws.min_ps is not None:
        least = probabilities.amax(dim=-1, keepdim=True) * draws.min_ps[:, None]
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if draws.top_ks is not None:
        probabilities = _likeliest(probabilities, draws.top_ks)
    narrow = (draws.top_ps < 1) & ~greedy
    if bool(narrow.any()):
        probabilities[narrow] = _nucleus(probabilities[narrow], draws.top_ps[narrow])
    drawn = _invert(probabilities, uniforms)
    return torch.where(greedy, logits.argmax(dim=-1), drawn) if bool(greedy.any()) else drawn


def penalize(logits: Tensor, seen: Iterable[int], penalty: float) -> None:
    """Make tokens that were there less likely in one row's logits, in place (CTRL, arXiv 1909.05858, section 4.1).

    A logit above 0 is divided by the penalty, one below multiplied with it.
    """
    places = torch.tensor(list(seen), device=logits.device)
    found = logits[places]
    logits[places] = torch.where(found > 0, found / penalty, found * penalty)


def _likeliest(probabilities: Tensor, top_ks: Tensor) -> Tensor:
    """Return the probabilities with all but each row's k likeliest set to 0; ties with the last of them stay."""
    most = min(int(top_ks.max()), probabilities.shape[-1])
    ordered = probabilities.topk(most, dim=-1).values
    least = ordered.gather(-1, (top_ks.clamp(1, most) - 1)[:, None])
    return probabilities.masked_fill((probabilities < least) & (top_ks > 0)[:, None], 0.0)


def _nucleus(probabilities: Tensor, top_ps: Tensor) -> Tensor:
    """Return the probabilities with everything outside the nucleus set to 0; what was left is the whole."""
    ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
    sums = ordered.cumsum(dim=-1)
    kept = ordered.masked_fill(sums - ordered >= top_ps[:, None] * sums[:, -1:], 0.0)
    kept[:, 0] = ordered[:, 0]
    return torch.zeros_like(probabilities).scatter_(-1, places, kept)


def _invert(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return the first token whose cumulative probability exceeds the uniform number's share of the total."""
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1]
    # Rounding must not push a number near 1 onto the total, beyond the last token that has any probability.
    targets = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0].clamp(max=probabilities.shape[-1] - 1)
