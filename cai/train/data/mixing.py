"""Mixing the parts that `--data` names (PATH or PATH:WEIGHT): how many examples each gives, which, in what order.

Whatever follows the last colon is a weight when it reads as a number, and part of the path when it does not.

Without weights every example is used once. Weights, and a mixing temperature T > 1 (shares in proportion to n^(1/T):
temperature-scaled mixing, arXiv 1910.10683, section 3.5.2), fix each part's share of the mixture. Nothing is thrown
away for it: the part that is largest for its share is used whole, once, and the others are repeated to hold theirs: in
whole passes, and a last one drawn without replacement.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import derive_seed
from cai.train.settings import DataSettings

MOST_PASSES = 1000
"""A part repeated more often than this is a typing error, and its indices would not fit in memory."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WeightedSource:
    """One item of `--data`; without a weight it is None."""

    path: DataSource
    weight: float | None


def parse_parts(settings: DataSettings) -> tuple[WeightedSource, ...]:
    """Return the items of `settings.data`; raises InputError when they, or how to mix them, cannot be meant."""
    parts = tuple(_parse(item) for item in settings.data)
    if not parts:
        raise InputError("There is nothing to learn from; name some with --data PATH.")
    weighted = [part for part in parts if part.weight is not None]
    if weighted and len(weighted) < len(parts):
        without = next(part for part in parts if part.weight is None)
        raise InputError(
            f"--data {without.path} has no weight, but {weighted[0].path} has one; give every part a weight, or none."
        )
    temperature = settings.mixing_temperature
    if not (math.isfinite(temperature) and temperature >= 1.0):
        raise InputError(f"--mixing-temperature must be at least 1, not {temperature:g}.")
    if weighted and temperature != 1.0:
        raise InputError("--mixing-temperature sets the shares where no weights are given; leave one of the two out.")
    if settings.limit is not None and settings.limit < 1:
        raise InputError(f"--limit must be at least 1, not {settings.limit}.")
    if not 0.0 <= settings.test_share < 1.0:
        raise InputError(f"--test-share must be at least 0 and less than 1, not {settings.test_share:g}.")
    return parts


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


def _parse(item: DataSource) -> WeightedSource:
    path, colon, tail = item.reveal().rpartition(":")
    try:
        weight = float(tail) if colon else None
    except ValueError:
        weight = None
    if weight is None:
        path = item.reveal()
    elif not (math.isfinite(weight) and weight > 0.0):
        raise InputError(f"--data {item} has the weight {tail}; a weight is a number above 0.")
    if not path:
        raise InputError(f"--data {str(item)!r} names no path.")
    return WeightedSource(DataSource.parse(path), weight)
