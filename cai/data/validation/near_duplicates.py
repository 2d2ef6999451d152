"""Near-duplicates over a whole set: MinHash (Broder 1997) with locality-sensitive hashing, and memory that stays small.

Two texts are near-duplicates when the Jaccard similarity of their shingles (`shingles.py`) is at least `SIMILAR`, as
128 hash functions estimate it. Texts of which a band of eight hashes is the same are compared: at a similarity of 0.8
that finds 95 of 100 pairs, at 0.9 all but one of 10,000. Of each text 384 bytes lie in temporary files, 8 in memory.

`datasketch` was measured first: benchmarks/checking.py has its time and memory beside these.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cai.data.validation.key_file import KeyFile, Records
from cai.data.validation.shingles import Hashes, Places, Shingles, mix, shingle

SIMILAR = 0.8
"""From this Jaccard similarity on, two texts are near-duplicates."""

BANDS, ROWS = 16, 8
FUNCTIONS = BANDS * ROWS

_CHARACTERS = 1 << 20
"""Characters that are hashed at once."""
_COMPARED = 4096
"""Pairs whose signatures are read at once."""

_DRAWN = np.random.default_rng(0)
_FACTORS = _DRAWN.integers(0, 1 << 64, FUNCTIONS, np.uint64) | np.uint64(1)
_TERMS = _DRAWN.integers(0, 1 << 64, FUNCTIONS, np.uint64)
_BAND_FACTORS = _DRAWN.integers(0, 1 << 64, ROWS, np.uint64) | np.uint64(1)


class NearDuplicates:
    """Takes the texts of a set in their order, and says in the end which are near-duplicates of which."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._keys = self._stack.enter_context(KeyFile(columns=2))
        signatures = tempfile.TemporaryFile(prefix="cai-signatures-")  # noqa: SIM115  (closed with the stack)
        self._file = self._stack.enter_context(signatures)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return self._count

    def add(self, texts: Sequence[str]) -> None:
        """Take in more texts; raises OSError when the disk refuses."""
        for part in _parts(texts):
            shingles = shingle(part)
            filled = np.flatnonzero(shingles.counts)
            signatures = _sign(shingles)
            for band in _bands(signatures):
                self._keys.add(np.stack([band, filled.astype(np.uint64) + np.uint64(self._count)], axis=1))
            rows = np.zeros((len(part), FUNCTIONS), np.uint8)
            rows[filled] = (signatures & np.uint64(0xFF)).T
            self._file.write(rows.tobytes())
            self._count += len(part)

    def firsts(self) -> Places:
        """Return of each text the first that it is a near-duplicate of, itself where there is none before it.

        What is a near-duplicate of a near-duplicate is one too. A text without a word is none.
        """
        self._file.flush()
        first = np.arange(self._count)
        for part in self._keys.parts():
            pairs = _candidates(part)
            pairs = pairs[first[pairs[:, 0]] != first[pairs[:, 1]]]
            _unite(first, pairs[self._are_similar(pairs)])
        return first

    def _are_similar(self, pairs: Places) -> NDArray[np.bool_]:
        """Tell which pairs are similar, by how many hashes agree; a 256th of those that differ do by chance."""
        found = np.zeros(len(pairs), np.bool_)
        number = self._file.fileno()
        for start in range(0, len(pairs), _COMPARED):
            some = pairs[start : start + _COMPARED]
            # Read, not mapped: of a mapped file 64 kB come with every signature, and count as memory.
            read = b"".join(os.pread(number, FUNCTIONS, text * FUNCTIONS) for text in some.ravel().tolist())
            rows = np.frombuffer(read, np.uint8).reshape(-1, 2, FUNCTIONS)
            agree = (rows[:, 0] == rows[:, 1]).mean(axis=1)
            found[start : start + _COMPARED] = (agree - 1 / 256) / (1 - 1 / 256) >= SIMILAR
        return found


def similarity(first: str, second: str) -> float:
    """Return the Jaccard similarity of two texts' shingles, exactly; 0 where one has no word."""
    shingles = shingle([first, second])
    cut = int(shingles.counts[0])
    a, b = (set(part.tolist()) for part in (shingles.hashes[:cut], shingles.hashes[cut:]))
    return len(a & b) / len(a | b) if a and b else 0.0


def _parts(texts: Sequence[str]) -> list[Sequence[str]]:
    """Return texts in parts that are hashed at once."""
    parts, start, characters = [], 0, 0
    for place, text in enumerate(texts):
        if characters and characters + len(text) > _CHARACTERS:
            parts.append(texts[start:place])
            start, characters = place, 0
        characters += len(text)
    return [*parts, texts[start:]]


def _sign(shingles: Shingles) -> Hashes:
    """Return the smallest hash of every text that has a word, a row a function."""
    starts = shingles.starts[shingles.counts > 0]
    signatures = np.empty((FUNCTIONS, len(starts)), np.uint64)
    if len(starts):
        values = np.empty_like(shingles.hashes)
        for row, factor, term in zip(signatures, _FACTORS, _TERMS, strict=True):
            np.multiply(shingles.hashes, factor, out=values)
            np.add(values, term, out=values)
            row[:] = np.minimum.reduceat(values, starts) >> np.uint64(32)
    return signatures


def _bands(signatures: Hashes) -> Iterator[Hashes]:
    """Yield each band's keys; two bands have no key in common."""
    for number, band in enumerate(signatures.reshape(BANDS, ROWS, -1)):
        yield mix((band * _BAND_FACTORS[:, None]).sum(axis=0, dtype=np.uint64) + np.uint64(number))


def _candidates(records: Records) -> Places:
    """Return pairs of texts with the same key: each with the one before it and with the first, earlier ones first."""
    order = np.argsort(records[:, 0], kind="stable")
    keys, texts = records[order, 0], records[order, 1].astype(np.int64)
    same = np.concatenate([[False], keys[1:] == keys[:-1]])
    begin = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
    later = np.flatnonzero(same)
    neighbours = np.stack([texts[later - 1], texts[later]], axis=1)
    leading = np.stack([texts[begin[later]], texts[later]], axis=1)[begin[later] != later - 1]
    return np.concatenate([neighbours, leading])


def _unite(first: Places, pairs: Places) -> None:
    """Let every text's first be that of all texts that pairs connect it with, in place."""
    while len(pairs):
        ends = first[pairs]
        low, high = ends.min(axis=1), ends.max(axis=1)
        differing = low != high
        if not differing.any():
            break
        pairs = pairs[differing]
        np.minimum.at(first, high[differing], low[differing])
        while (first[first] != first).any():
            first[:] = first[first]
