"""Texts as sets of shingles: hashes of three words in a row, by which near-duplicates are found.

Words are runs of letters and digits in one case; where a script writes none apart (Chinese, Japanese, Thai) every
character is one. A text of fewer than three words has one shingle, of all its words. All texts of a batch are hashed at
once, in numpy: a word is a polynomial in its characters, taken from sums over the whole batch.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

WORDS = 3
"""Words of a shingle."""

LONGEST = 1 << 18
"""Characters of a text that are looked at."""

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_OUTSIDE, _LETTER, _ALONE = 0, 1, 2
_BASE = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)
_ALONE_FROM = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
)
"""Thai and Lao, Burmese, Khmer, kana, Han."""
_HAN_FROM = 0x20000


@dataclass(frozen=True, slots=True)
class Shingles:
    """The shingles of texts, one text's after the other; `counts` are how many each has: 0 for one without a word."""

    hashes: Hashes
    counts: Places

    @property
    def starts(self) -> Places:
        """Where each text's begin."""
        return np.cumsum(self.counts) - self.counts


def shingle(texts: Sequence[str]) -> Shingles:
    """Return the shingles of texts; those that a text has twice are there twice."""
    plain = [_plain(text) for text in texts]
    codes = np.frombuffer("\n".join(plain).encode("utf-32-le", "surrogatepass"), np.uint32)
    if not len(codes):
        return Shingles(np.empty(0, np.uint64), np.zeros(len(texts), np.int64))
    words, starts = _words(codes)
    lengths = np.fromiter(map(len, plain), np.int64, len(plain))
    ends = np.cumsum(lengths + 1)
    word_counts = np.diff(np.searchsorted(starts, ends), prepend=0)
    return _runs(words, word_counts)


def mix(values: Hashes) -> Hashes:
    """Return 64 bits for each 64 bits, in which every bit depends on all (splitmix64's last step)."""
    values = (values ^ (values >> np.uint64(30))) * _FACTORS[0]
    values = (values ^ (values >> np.uint64(27))) * _FACTORS[1]
    return values ^ (values >> np.uint64(31))


def _plain(text: str) -> str:
    text = text[:LONGEST]
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).casefold()


def _words(codes: NDArray[np.uint32]) -> tuple[Hashes, Places]:
    """Return every word's hash and where it starts."""
    kinds = _kinds()[np.minimum(codes, 0xFFFF)]
    if codes.max() > 0xFFFF:
        beyond = codes > 0xFFFF
        kinds[beyond] = np.where(codes[beyond] >= _HAN_FROM, _ALONE, _OUTSIDE)
    inside, alone = kinds != _OUTSIDE, kinds == _ALONE
    joined = inside[1:] & inside[:-1] & ~(alone[1:] | alone[:-1])
    starts = np.flatnonzero(inside & ~np.concatenate([[False], joined]))
    ends = np.flatnonzero(inside & ~np.concatenate([joined, [False]])) + 1
    powers, inverses = _powers(1 << len(codes).bit_length())
    sums = np.concatenate([[np.uint64(0)], np.cumsum((codes.astype(np.uint64) + np.uint64(1)) * powers[: len(codes)])])
    return mix((sums[ends] - sums[starts]) * inverses[starts]), starts


def _runs(words: Hashes, counts: Places) -> Shingles:
    """Return the runs of words of each text."""
    total = len(words)
    last = np.repeat(np.cumsum(counts), counts)  # of each word, where its text's words end
    first = last - np.repeat(counts, counts)
    place = np.arange(total)
    hashes = words * _FACTORS[0]
    for step in range(1, WORDS):
        following = np.zeros(total, np.uint64)
        following[:-step] = words[step:]
        hashes += np.where(place + step < last, following, np.uint64(0)) * _FACTORS[step]
    kept = (place + WORDS <= last) | (place == first)
    return Shingles(mix(hashes[kept]), np.where(counts > WORDS, counts - WORDS + 1, np.minimum(counts, 1)))


@cache
def _kinds() -> NDArray[np.uint8]:
    """Return of every character of the basic plane whether it is part of a word, or a word by itself."""
    found = np.fromiter((chr(code).isalnum() for code in range(0x10000)), np.uint8, 0x10000)
    for first, last in _ALONE_FROM:
        found[first : last + 1] *= _ALONE
    return found


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Return the powers of the base, and those of its inverse modulo 2**64."""
    inverse = np.uint64(pow(int(_BASE), -1, 1 << 64))
    return tuple(  # type: ignore[return-value]
        np.concatenate([[np.uint64(1)], np.cumprod(np.full(size - 1, base))]) for base in (_BASE, inverse)
    )
