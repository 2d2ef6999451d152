"""Prefill: which prompts go through the model together, and the forward pass, behind what the prefix cache has of each.

Of a row whose beginning is in the prefix cache only the rest is computed. Rows that begin alike with something that is
not there yet wait for the first of them, and find it there then. The others are prefilled in groups: all rows of a
group compute as many of their last tokens as the row with the longest rest, so a group ends where that would cost more
than another pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from cai.models.local.jobs import Job, Limits
from cai.models.local.kv_cache import KVCache
from cai.models.local.memory import memory_error, release
from cai.models.local.prefix_cache import BLOCK, Key, PrefixCache

AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True, slots=True, eq=False)
class Prefill(Generic[AnyJob]):
    """What is computed for a job: `tokens`, of which the logits of the last `kept` places are wanted."""

    job: AnyJob
    tokens: list[int]
    kept: int = 1


class Prefiller:
    """A model, its prefix cache, and the limits of a pass."""

    def __init__(self, model: Any, device: torch.device, limits: Limits) -> None:
        self._model = model
        self._device = device
        self._limits = limits
        self.prefix_cache = PrefixCache(limits.prefix_tokens)

    def waves(self, rows: Sequence[Prefill[AnyJob]]) -> Iterator[list[list[Prefill[AnyJob]]]]:
        """Yield the groups to prefill now, and then those of the rows that begin like one of the former."""
        first: list[Prefill[AnyJob]] = []
        later: list[Prefill[AnyJob]] = []
        coming: set[Key] = set()
        for row in rows:
            _, missing = self.prefix_cache.lookup(_reusable(row))
            (later if missing in coming else first).append(row)
            if missing is not None:
                coming.add(missing)
        yield list(self._groups(first))
        if later:
            yield list(self._groups(later))

    def run(self, rows: Sequence[Prefill[Any]], cache: KVCache) -> Tensor:
        """Prefill rows below those of the cache, which has room for them; return logits, (rows, most kept, vocabulary).

        Each job is told how many of its prompt's tokens were computed; they are in the prefix cache from now on.
        """
        known = [self.prefix_cache.lookup(_reusable(row))[0] for row in rows]
        width = max(len(row.tokens) - len(slots) * BLOCK for row, slots in zip(rows, known, strict=True))
        for number, (row, slots) in enumerate(zip(rows, known, strict=True)):
            needed = -(-max(0, len(row.tokens) - width) // BLOCK)
            if needed:
                cache.allocate(self.prefix_cache.pools)
                place = len(cache.starts) + number, cache.position - len(row.tokens)
                self.prefix_cache.load(slots[:needed], cache.buffers(), *place)
        inputs = cache.prefill_inputs([row.tokens for row in rows], width, self._device)
        kept = max(row.kept for row in rows)
        logits: Tensor = self._model(**inputs, use_cache=True, logits_to_keep=kept).logits[:, -kept:]
        for number, row in enumerate(rows):
            row.job.note_prefill(len(row.tokens) - width)
            self.store(row.tokens, cache, len(cache.starts) + number)
        return logits

    def store(self, tokens: Sequence[int], cache: KVCache, row: int) -> None:
        """Put the row of the cache that holds `tokens` into the prefix cache, unless memory is short."""
        buffers, first = list(cache.buffers()), cache.position - len(tokens)
        if memory_error(lambda: self.prefix_cache.store(tokens, buffers, row, first)) is not None:
            self.shrink()

    def shrink(self) -> bool:
        """Give the prefix cache's memory back; return whether there was any."""
        held = self.prefix_cache.shrink()
        release(self._device)
        return held

    def _groups(self, rows: Sequence[Prefill[AnyJob]]) -> Iterator[list[Prefill[AnyJob]]]:
        """Yield `rows` in groups that are prefilled together, those with the shortest rest first."""
        rests = {row: len(row.tokens) - len(self.prefix_cache.lookup(_reusable(row))[0]) * BLOCK for row in rows}
        group: list[Prefill[AnyJob]] = []
        longest = idle = 0
        for row in sorted(rows, key=rests.__getitem__):
            longest = max(longest, len(row.tokens))
            idle += len(group) * (rests[row] - rests[group[-1]]) if group else 0
            if idle > self._limits.pass_tokens or longest * (len(group) + 1) > self._limits.prefill_tokens:
                if group:
                    yield group
                group, longest, idle = [], len(row.tokens), 0
            group.append(row)
        if group:
            yield group


def _reusable(row: Prefill[Any]) -> list[int]:
    """Return the tokens that need not be computed if they are known: all before those whose logits are wanted."""
    return row.tokens[: len(row.tokens) - row.kept]
