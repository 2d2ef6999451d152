"""The prefix cache: keys and values of what was prefilled and decoded before, for prompts that begin alike.

Tokens are cut into blocks of 16, as vLLM's automatic prefix caching does; a block is known by its tokens and the block
before it, so prompts that begin alike share blocks, and the same tokens elsewhere are other blocks. Blocks lie in
pools, one for each layer's keys and one for its values, shaped (blocks, heads, 16, head size), which are allocated
whole when the first block comes. When they are full, the least recently used blocks are evicted, the last of a chain
before the first.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 16
"""Tokens in a block: on the average half of one is computed again for each request."""

Key = tuple[int, tuple[int, ...]]
"""The name of the block before, 0 for none, and the tokens of this one."""


class _Block(NamedTuple):
    """`name` is never given twice, so that blocks behind one that was evicted are never found again."""

    name: int
    slot: int


class PrefixCache:
    """At most `tokens` tokens; 0 keeps nothing."""

    def __init__(self, tokens: int) -> None:
        self._capacity = tokens // BLOCK
        self._blocks: OrderedDict[Key, _Block] = OrderedDict()
        self._names = itertools.count(1)
        self.pools: list[Tensor] = []

    def lookup(self, tokens: Sequence[int]) -> tuple[list[int], Key | None]:
        """Return the slots of the longest known beginning of `tokens`, and the first whole block that is not known.

        The latter is None when all whole blocks are known or nothing can be kept. What was found is evicted last.
        """
        chain, missing = self._walk(tokens)
        self._touch(chain)
        return [self._blocks[key].slot for key in chain], missing if self._capacity else None

    def load(self, slots: Sequence[int], buffers: Iterable[Tensor], row: int, column: int) -> None:
        """Copy the blocks in `slots` into `row` of each buffer, from `column` on."""
        places = self._places(slots)
        for pool, buffer in zip(self.pools, buffers, strict=True):
            blocks = _as_blocks(buffer, row, column, len(slots))
            blocks[:] = pool.index_select(0, places)

    def store(self, tokens: Sequence[int], buffers: Sequence[Tensor], row: int, column: int) -> None:
        """Copy the whole blocks of `tokens` that are not known yet from `row` of the buffers; they begin at `column`.

        When memory runs out here, what is kept is no longer sound: `shrink` has to follow.
        """
        chain, _ = self._walk(tokens)
        known = len(chain)
        self._touch(chain)
        name = self._blocks[chain[-1]].name if chain else 0
        slots: list[int] = []
        for number in range(known, min(len(tokens) // BLOCK, self._capacity)):
            block = _Block(next(self._names), self._free_slot())
            key = (name, tuple(tokens[number * BLOCK : (number + 1) * BLOCK]))
            self._blocks[key] = block
            chain.append(key)
            slots.append(block.slot)
            name = block.name
        if not slots:
            return
        self._touch(chain)
        if not self.pools:
            self.pools = [
                buffer.new_empty((self._capacity, buffer.shape[1], BLOCK, buffer.shape[3])) for buffer in buffers
            ]
        places = self._places(slots)
        for pool, buffer in zip(self.pools, buffers, strict=True):
            pool.index_copy_(0, places, _as_blocks(buffer, row, column + known * BLOCK, len(slots)))

    def shrink(self) -> bool:
        """Forget everything and give the memory back, for half as much from now on; return whether there was any."""
        if not self._blocks:
            return False
        self._capacity //= 2
        self._blocks.clear()
        self.pools = []
        return True

    def _walk(self, tokens: Sequence[int]) -> tuple[list[Key], Key | None]:
        """Return the keys of the known blocks that `tokens` begin with, and of the first one that is not known."""
        chain: list[Key] = []
        name = 0
        for end in range(BLOCK, len(tokens) + 1, BLOCK):
            key = (name, tuple(tokens[end - BLOCK : end]))
            block = self._blocks.get(key)
            if block is None:
                return chain, key
            chain.append(key)
            name = block.name
        return chain, None

    def _touch(self, chain: Sequence[Key]) -> None:
        """Make these the last to be evicted, the first of the chain the very last."""
        for key in reversed(chain):
            self._blocks.move_to_end(key)

    def _places(self, slots: Sequence[int]) -> Tensor:
        """Return the slots on the pools' device, without waiting for it: only from pinned memory CUDA copies so."""
        device = self.pools[0].device
        return torch.tensor(slots, pin_memory=device.type == "cuda").to(device, non_blocking=True)

    def _free_slot(self) -> int:
        if len(self._blocks) < self._capacity:
            return len(self._blocks)
        return self._blocks.popitem(last=False)[1].slot


def _as_blocks(buffer: Tensor, row: int, column: int, count: int) -> Tensor:
    """Return `count` blocks of a row from `column` on as a view, shaped (blocks, heads, 16, head size)."""
    piece = buffer[row, :, column : column + count * BLOCK]
    return piece.view(buffer.shape[1], count, BLOCK, buffer.shape[3]).transpose(0, 1)
