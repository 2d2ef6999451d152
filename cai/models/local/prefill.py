"""Prefill prompts: which are read together, and the forward pass that reads them behind what is known of each.

Of a row whose beginning is in the store only the rest is read. Rows that begin alike with something that is not known
yet wait for the first of them, and find it known then. The others are read in groups: all rows of a group read as many
of their last tokens as the row with the longest rest, so a group ends where that would cost more than another pass.
It knows token ids and the tape; it knows nothing of queues or of what is done with the logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from cai.models.local.jobs import Job, Limits
from cai.models.local.kv_cache import KVCache
from cai.models.local.memory import refusal, release
from cai.models.local.prefix_cache import BLOCK, Key, PrefixCache

AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True, slots=True, eq=False)
class Prefill(Generic[AnyJob]):
    """What is read for a job: `tokens`, the logits of whose last `kept` places are wanted."""

    job: AnyJob
    tokens: list[int]
    kept: int = 1


class Prefiller:
    """A model, the store of what was read before, and the limits of a pass."""

    def __init__(self, model: Any, device: torch.device, limits: Limits) -> None:
        self._model = model
        self._device = device
        self._limits = limits
        self.prefixes = PrefixCache(limits.prefix_tokens)

    def waves(self, rows: Sequence[Prefill[AnyJob]]) -> Iterator[list[list[Prefill[AnyJob]]]]:
        """Yield the groups to read now, and then those of the rows that begin like one of the former."""
        first: list[Prefill[AnyJob]] = []
        later: list[Prefill[AnyJob]] = []
        coming: set[Key] = set()
        for row in rows:
            _, missing = self.prefixes.look(_reusable(row))
            (later if missing in coming else first).append(row)
            if missing is not None:
                coming.add(missing)
        yield list(self._groups(first))
        if later:
            yield list(self._groups(later))

    def read(self, rows: Sequence[Prefill[Any]], tape: KVCache) -> Tensor:
        """Read rows below those of the tape, which has room for them; return logits, (rows, most kept, vocabulary).

        Each job is told how many of its prompt's tokens were read; what was read is in the store from now on.
        """
        known = [self.prefixes.look(_reusable(row))[0] for row in rows]
        width = max(len(row.tokens) - len(slots) * BLOCK for row, slots in zip(rows, known, strict=True))
        for number, (row, slots) in enumerate(zip(rows, known, strict=True)):
            needed = -(-max(0, len(row.tokens) - width) // BLOCK)
            if needed:
                tape.fit(self.prefixes.pools)
                place = len(tape.starts) + number, tape.head - len(row.tokens)
                self.prefixes.load(slots[:needed], tape.buffers(), *place)
        inputs = tape.read_inputs([row.tokens for row in rows], width, self._device)
        kept = max(row.kept for row in rows)
        logits: Tensor = self._model(**inputs, use_cache=True, logits_to_keep=kept).logits[:, -kept:]
        for number, row in enumerate(rows):
            row.job.note_read(len(row.tokens) - width)
            self.keep(row.tokens, tape, len(tape.starts) + number)
        return logits

    def keep(self, tokens: Sequence[int], tape: KVCache, row: int) -> None:
        """Remember the row of the tape that holds `tokens` and ends at the head, unless memory is short."""
        buffers = list(tape.buffers())
        if refusal(lambda: self.prefixes.keep(tokens, buffers, row, tape.head - len(tokens))) is not None:
            self.give_up()

    def give_up(self) -> bool:
        """Give the store's memory back; return whether there was any."""
        held = self.prefixes.give_up()
        release(self._device)
        return held

    def _groups(self, rows: Sequence[Prefill[AnyJob]]) -> Iterator[list[Prefill[AnyJob]]]:
        """Yield `rows` in groups that are read together, those with the shortest rest first."""
        rests = {row: len(row.tokens) - len(self.prefixes.look(_reusable(row))[0]) * BLOCK for row in rows}
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
    """Return the tokens that need not be read again if they are known: all before those whose logits are wanted."""
    return row.tokens[: len(row.tokens) - row.kept]
