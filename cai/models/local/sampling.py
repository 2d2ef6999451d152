"""Drawing one token a row, each row by its own temperature, top-p and random numbers.

A row's tokens depend on its own logits and its own numbers alone: each is found by inverting the row's cumulative
distribution at one uniform number of the request's own Philox stream, so neighbours in a batch change nothing.
"""

import numpy as np
import torch
from torch import Tensor


def stream(seed: int) -> np.random.Generator:
    """Return the random numbers of one request."""
    return np.random.Generator(np.random.Philox(key=seed))


def draw_tokens(logits: Tensor, temperatures: Tensor, top_ps: Tensor, uniforms: Tensor) -> Tensor:
    """Return one token id a row, shape (rows,).

    `logits` has the shape (rows, vocabulary), the others (rows,). Temperature 0 takes the likeliest token. Below 1,
    top-p keeps the likeliest tokens whose sum first reaches it (nucleus sampling, arXiv 1904.09751, section 3.1).
    Uniform numbers lie in [0, 1).
    """
    logits = logits.float()
    greedy = temperatures <= 0
    if bool(greedy.all()):
        return logits.argmax(dim=-1)
    scale = torch.where(greedy, 1.0, temperatures)[:, None]
    probabilities = torch.softmax(logits / scale, dim=-1)
    narrow = (top_ps < 1) & ~greedy
    if bool(narrow.any()):
        probabilities[narrow] = _nucleus(probabilities[narrow], top_ps[narrow])
    drawn = _invert(probabilities, uniforms)
    return torch.where(greedy, logits.argmax(dim=-1), drawn) if bool(greedy.any()) else drawn


def _nucleus(probabilities: Tensor, top_ps: Tensor) -> Tensor:
    """Return the probabilities with everything outside the nucleus set to 0."""
    ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill(before >= top_ps[:, None], 0.0)
    kept[:, 0] = ordered[:, 0]
    return torch.zeros_like(probabilities).scatter_(-1, places, kept)


def _invert(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return the first token whose cumulative probability exceeds the uniform number's share of the total."""
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1]
    # Rounding must not push a number near 1 onto the total, beyond the last token that has any probability.
    targets = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0].clamp(max=probabilities.shape[-1] - 1)
