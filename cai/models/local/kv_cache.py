"""The key-value cache of a batch whose rows come and go while it runs.

It has one buffer a layer for keys and one for values, shaped (rows, heads, columns, head size). All rows end at the
same column, the write position, and each begins at its own: rows are padded on the left by columns that the attention
mask hides. A decoding step writes one column for all rows in place. A new row is prefilled in place below the others,
so that it ends at the write position, and its first columns may be filled beforehand from the prefix cache. A row that
is done gives its place to the last one. Nothing else is copied, except when the write position reaches the end of the
buffers and the window of live columns moves back to their beginning.

`DynamicCache` would copy the whole cache for every token and could not take a row in. Sliding-window layers keep all
their columns here; the model's own mask hides those out of the window.
"""

import math
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_SLACK = 256  # columns: the buffer moves at most once in so many steps
_STRIDE = 128  # columns: rows a little longer than all before them find room


class _Place(NamedTuple):
    """Where a forward pass writes, and the window of columns that its rows see."""

    rows: slice
    written: slice
    window: slice


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values; the cache says where to write. The first states that come make the buffers."""

    is_sliding = False

    def __init__(self, cache: "KVCache") -> None:
        super().__init__()
        # Were it held, the two would hold each other, and the buffers of a cache that was dropped would stay in memory
        # until Python looks for such circles, long after others need the room.
        self.cache: KVCache = weakref.proxy(cache)
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make buffers for such states, of zeros: a hidden column still meets its weight of 0, and 0 · NaN is NaN."""
        self.keys, self.values = (
            _zeros(states, (self.cache.rows, states.shape[1], self.cache.columns, states.shape[3]))
            for states in (key_states, value_states)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the columns of this pass; return the window up to and with them."""
        if self.keys is None:
            self.lazy_initialization(key_states, value_states)
        rows, written, window = self.cache.place
        self.keys[rows, :, written] = key_states
        self.values[rows, :, written] = value_states
        return self.keys[rows, :, window], self.values[rows, :, window]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the columns that attention will see, and their offset."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the columns of the window before those that are written."""
        _, written, window = self.cache.place
        columns: int = written.start - window.start
        return columns

    def get_max_length(self) -> int:
        """Return -1: there is no maximum."""
        return -1


class KVCache:
    """The cache of the rows 0 … `len(starts)` - 1; row r lives in the columns `starts[r]` … `position` - 1.

    `position` is the write position. Without `slack` the buffers are as large as the first prefill needs: for one pass.
    """

    def __init__(self, *, slack: bool = True) -> None:
        self.starts: list[int] = []
        self.start = 0
        self.position = 0
        self.rows = 0
        self.columns = 0
        self.place = _Place(slice(0), slice(0), slice(0))
        self._slack = slack
        self._layers: list[_Layer] = []
        self._first: Tensor | None = None  # `starts` on the device

    def reserve(self, count: int, longest: int) -> None:
        """Make room for `count` more rows of up to `longest` columns before the write position.

        When memory runs out here, the cache is broken: the layers no longer agree on the write position.
        """
        rows = len(self.starts) + count
        if rows > self.rows or self.position < longest or self.position >= self.columns:
            self._move(rows, max(longest, self.position - self.start))

    def allocate(self, states: Sequence[Tensor]) -> None:
        """Make the buffers, where there are none yet, for states as these: each layer's keys and then its values."""
        if not self._layers:
            for keys, values in zip(states[::2], states[1::2], strict=True):
                self._layers.append(_Layer(self))
                self._layers[-1].lazy_initialization(keys, values)

    def prefill_inputs(self, tokens: Sequence[Sequence[int]], width: int, device: torch.device) -> dict[str, Any]:
        """Return what the model needs to prefill the last `width` tokens of rows below the present ones.

        There must be room for them (`reserve`); the columns of their earlier tokens must have been filled. Shorter rows
        are padded on the left. Until `admit` the rows do not count.
        """
        longest = max(map(len, tokens))
        window = slice(self.position - longest, self.position)
        rows = slice(len(self.starts), len(self.starts) + len(tokens))
        self.place = _Place(rows, slice(self.position - width, self.position), window)
        ids = [[0] * (width - len(row)) + list(row[-width:]) for row in tokens]
        padding = torch.tensor([[longest - len(row)] for row in tokens], device=device)
        columns = torch.arange(longest, device=device)[None, :]
        return {
            "input_ids": torch.tensor(ids, device=device),
            "past_key_values": self._cache(),
            "attention_mask": columns >= padding,
            "position_ids": (columns[:, longest - width :] - padding).clamp(min=0),
        }

    def admit(self, lengths: Sequence[int]) -> None:
        """Let the rows that were prefilled last count from now on; `lengths` are their tokens."""
        self.starts += [self.position - length for length in lengths]
        self._changed()

    def remove(self, row: int) -> None:
        """Forget `row`; the last row takes its place."""
        last = len(self.starts) - 1
        if row != last:
            place = slice(self.starts[last], self.position)
            for buffer in self.buffers():
                buffer[row, :, place] = buffer[last, :, place]
            self.starts[row] = self.starts[last]
        self.starts.pop()
        self._changed()

    def decode_inputs(self) -> dict[str, Any]:
        """Return what the model needs beside the tokens to add one column: cache, mask and positions."""
        if self.position == self.columns:
            self._move(len(self.starts), self.position - self.start)
        if self._first is None:
            self._first = torch.tensor(self.starts, device=self._layers[0].keys.device)
        self.place = _Place(
            slice(len(self.starts)), slice(self.position, self.position + 1), slice(self.start, self.position + 1)
        )
        columns = torch.arange(self.start, self.position + 1, device=self._first.device)
        return {
            "past_key_values": self._cache(),
            "attention_mask": columns[None, :] >= self._first[:, None],
            "position_ids": (self.position - self._first)[:, None],
        }

    def advance(self) -> None:
        """Keep the column that the model has just written."""
        self.position += 1

    def buffers(self) -> Iterator[Tensor]:
        """Yield each layer's keys and then its values; nothing before the first pass."""
        for layer in self._layers:
            yield layer.keys
            yield layer.values

    def _cache(self) -> Cache:
        """Return the layers as the model wants them; those that there are not yet are added as they are met."""
        cache = Cache(layer_class_to_replicate=partial(_Layer, self))
        cache.layers = self._layers
        return cache

    def _changed(self) -> None:
        self.start = min(self.starts, default=self.position)
        self._first = None

    def _move(self, rows: int, position: int) -> None:
        """Place the window so that it ends at `position` or soon after, with room for `rows` rows and slack behind.

        A buffer that is too small is replaced by one of the size that is needed now, be it smaller the other way.
        """
        position = _round_up(position, _STRIDE) if self._slack else position
        source, target = slice(self.start, self.position), slice(position - (self.position - self.start), position)
        grows = rows > self.rows or position + _SLACK > self.columns
        if grows:
            self.rows, self.columns = (_height(rows), _width(position)) if self._slack else (rows, position)
        for layer in self._layers:
            layer.keys = self._moved(layer.keys, source, target, grows=grows)
            layer.values = self._moved(layer.values, source, target, grows=grows)
        shift = position - self.position
        self.position = position
        self.starts = [start + shift for start in self.starts]
        self._changed()

    def _moved(self, buffer: Tensor, source: slice, target: slice, *, grows: bool) -> Tensor:
        count = len(self.starts)
        if not grows:
            buffer[:count, :, target] = buffer[:count, :, source].clone()
            return buffer
        replacement = _zeros(buffer, (self.rows, buffer.shape[1], self.columns, buffer.shape[3]))
        replacement[:count, :, target] = buffer[:count, :, source]
        return replacement


def footprint(rows: int, columns: int) -> int:
    """Return the tokens, rows times columns, that are allocated at most for `rows` rows of `columns` tokens each."""
    return _height(rows) * _width(columns)


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return zeros of the type and on the device of `like`.

    On a CPU numpy asks the system for them, which takes time and memory only for what is touched: often the smaller
    part, and the time to write all of it was a fifth of what short answers take in a small model.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    memory = np.zeros(math.prod(shape) * like.element_size(), np.uint8)
    return torch.from_numpy(memory).view(like.dtype).view(shape)


def _height(rows: int) -> int:
    """Round up to a multiple of 8, of 16 above 64, of 32 above 128 and so on: rows come one by one, buffers do not."""
    step = 1 << max(3, (rows - 1).bit_length() - 3)
    return _round_up(rows, step)


def _width(columns: int) -> int:
    width = _round_up(columns, _STRIDE)
    return width + max(_SLACK, width // 4)


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
