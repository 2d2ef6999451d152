"""Contamination: prompts of a set that hold, nearly word for word, a prompt that models are measured with.

An evaluation prompt is in a prompt when `HELD` of its shingles (`shingles.py`) stand there, whatever else does: a
question within a longer one is as spoilt for measuring as a copy. Counted exactly, against all evaluation prompts at
once. Those of fewer than `FEWEST` shingles are found only where they are all of the prompt's: short questions are in
many texts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai.data.validation.shingles import Places, shingle

HELD = 0.8
"""Share of an evaluation prompt's shingles from which it is in a prompt."""

FEWEST = 5


@dataclass(frozen=True, slots=True)
class EvaluationPrompt:
    """A prompt that models are measured with: its text, the set it is of and its name there."""

    text: str
    set: str
    name: str


class Contamination:
    """Compares prompts with evaluation prompts."""

    def __init__(self, prompts: Iterable[EvaluationPrompt]) -> None:
        self.prompts = tuple(prompts)
        shingles = shingle([prompt.text for prompt in self.prompts])
        owners = np.repeat(np.arange(len(self.prompts)), shingles.counts)
        pairs = np.unique(np.stack([shingles.hashes, owners.astype(np.uint64)]), axis=1)
        self._hashes, self._owners = pairs[0], pairs[1].astype(np.int64)
        self._sizes = np.bincount(self._owners, minlength=len(self.prompts))
        self._known = np.unique(self._hashes)

    def find(self, texts: Sequence[str]) -> list[int | None]:
        """Return of each text which evaluation prompt has most in it, None where too little of any is."""
        found: list[int | None] = [None] * len(texts)
        shingles = shingle(texts)
        places = np.searchsorted(self._known, shingles.hashes)
        places[places == len(self._known)] = 0
        known = self._known[places] == shingles.hashes if len(self._known) else np.zeros(len(places), np.bool_)
        hits = np.bincount(np.repeat(np.arange(len(texts)), shingles.counts)[known], minlength=len(texts))
        enough = (hits >= HELD * FEWEST) | ((hits == shingles.counts) & (hits > 0))
        for text in np.flatnonzero(enough).tolist():
            start = int(shingles.starts[text])
            own = np.unique(shingles.hashes[start : start + int(shingles.counts[text])])
            found[text] = self._best(own)
        return found

    def _best(self, own: NDArray[np.uint64]) -> int | None:
        first, last = (np.searchsorted(self._hashes, own, side) for side in ("left", "right"))
        owners = np.concatenate([self._owners[a:b] for a, b in zip(first, last, strict=True)])
        held = np.bincount(owners, minlength=len(self.prompts))
        shares = held / np.maximum(self._sizes, 1)
        shares[(self._sizes < FEWEST) & ~self._is_all_of(held, len(own))] = 0.0
        best = int(shares.argmax())
        return best if shares[best] >= HELD else None

    def _is_all_of(self, held: Places, own: int) -> NDArray[np.bool_]:
        return np.asarray((held == self._sizes) & (held == own))
