"""Names and seeds that depend on content alone, so that order, batching and restarts never change them."""

import hashlib
from typing import Any

import orjson


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that name `value` (anything JSON can say); key order does not matter."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def key(name: str) -> int:
    """Return an unsigned 64-bit integer that stands for `name` where a million names must fit in memory."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def steady(probability: float) -> float:
    """Return a probability to three digits.

    Beyond the sixth digit it depends on which other requests a model read in the same pass: matrix products round
    otherwise for another number of rows. Three digits differ between two runs once in about 40,000 numbers.
    """
    return round(probability, 3)


def derive_seed(seed: int, *parts: str | int) -> int:
    """Return a seed in [0, 2**31) drawn from the run's seed and what it is for (prompt id, sample, step).

    31 bits, because some servers read a request's seed as a signed 32-bit integer.
    """
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1


def draw(seed: int, *parts: str | int) -> float:
    """Return a number in [0, 1) drawn like `derive_seed`, for choices made outside any model."""
    return derive_seed(seed, *parts) / 2**31
