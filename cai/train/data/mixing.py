"""Mixing parts: how many examples each gives, which ones, and in what order.

Without weights every example is used once. Weights, and a mixing temperature T > 1 (shares in proportion to n^(1/T):
temperature-scaled mixing, arXiv 1910.10683, section 3.5.2), fix each part's share of the mixture. Nothing is thrown
away for it: the part that is largest for its share is used whole, once, and the others are repeated to hold theirs: in
whole passes, and a last one drawn without replacement.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cai.core.errors import InputError
from cai.core.identity import derive_seed

MOST_PASSES = 1000
"""A part repeated more often than this is a typing error, and its indices would not fit in memory."""

Indices = NDArray[np.int64]


def mixture_sizes(
    counts: Sequence[int], weights: Sequence[float] | None, temperature: float, names: Sequence[str]
) -> list[int]:
    """Return how many examples each part gives, repeats included; no part gives fewer than it has.

    Every size is the part's exact share of the mixture, rounded. Raises InputError when a part with a share has
    nothing to give, or would be repeated beyond reason.
    """
    if weights is None and temperature == 1.0:
        return list(counts)
    shares = [count ** (1.0 / temperature) for count in counts] if weights is None else list(weights)
    for count, share, name in zip(counts, shares, names, strict=True):
        if not count and share:
            raise InputError(
                f"{name} has a weight but no example for training: all of it is left out or held out for testing."
            )
    scale = max((count / share for count, share in zip(counts, shares, strict=True) if count), default=0.0)
    sizes = [max(count, round(scale * share)) for count, share in zip(counts, shares, strict=True)]
    for count, size, name in zip(counts, sizes, names, strict=True):
        if size > MOST_PASSES * count:
            raise InputError(
                f"{name} has {count:,} examples and would be repeated {size // count:,} times to hold its share; "
                "give it a smaller weight or more examples."
            )
    return sizes


def choose(available: Indices, size: int, seed: int) -> Indices:
    """Return `size` of the indices: all of them once before any comes again; the seed draws the last, partial pass."""
    if not size:
        return available[:0]
    passes, rest = divmod(size, len(available))
    drawn = np.random.default_rng(seed).permutation(available)[:rest]
    return np.concatenate([np.tile(available, passes), drawn])


def shuffle(indices: Indices, seed: int) -> Indices:
    """Return the indices in an order drawn from the seed."""
    return np.random.default_rng(derive_seed(seed, "mixture")).permutation(indices)
