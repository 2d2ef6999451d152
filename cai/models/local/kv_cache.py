"""The key-value cache of a batch whose rows come and go while it runs.

A tape is one buffer a layer, shaped (rows, heads, columns, head size). Every row ends at the same column, the head, and
began at its own: rows are padded on the left by columns that the attention mask hides. One decoding step writes one
column for all rows in place; a new row is read in place below the others, so that it ends at the head, and its first
columns may be filled beforehand with what is known of it; a row that leaves gives its place to the last one. Nothing
else is copied, except when the head reaches the end of the buffer and the window of live columns moves back to its
beginning.

`DynamicCache` would copy the whole cache for every token and could not take a row in. Sliding-window layers keep all
their columns here; the model's own mask hides those out of the window.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

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
    """One layer's keys and values; the tape says where to write. The first states that come make the buffers."""

    is_sliding = False

    def __init__(self, tape: "KVCache") -> None:
        super().__init__()
        self.tape = tape
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make buffers for such states, of zeros: a hidden column still meets its weight of 0, and 0 · NaN is NaN."""
        self.keys, self.values = (
            states.new_zeros((self.tape.rows, states.shape[1], self.tape.columns, states.shape[3]))
            for states in (key_states, value_states)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the columns of this pass; return the window up to and with them."""
        if self.keys is None:
            self.lazy_initialization(key_states, value_states)
        rows, written, window = self.tape.place
        self.keys[rows, :, written] = key_states
        self.values[rows, :, written] = value_states
        return self.keys[rows, :, window], self.values[rows, :, window]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the columns that attention will see, and their offset."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the columns of the window before those that are written."""
        _, written, window = self.tape.place
        columns: int = written.start - window.start
        return columns

    def get_max_length(self) -> int:
        """Return -1: there is no maximum."""
        return -1


class KVCache:
    """The cache of the rows 0 … `len(starts)` - 1; row r lives in the columns `starts[r]` … `head` - 1.

    Without `slack` its buffers are as large as the first reading needs: a tape to read once and to forget.
    """

    def __init__(self, *, slack: bool = True) -> None:
        self.starts: list[int] = []
        self.start = 0
        self.head = 0
        self.rows = 0
        self.columns = 0
        self.place = _Place(slice(0), slice(0), slice(0))
        self._slack = slack
        self._layers: list[_Layer] = []
        self._first: Tensor | None = None  # `starts` on the device

    def reserve(self, count: int, longest: int) -> None:
        """Make room for `count` more rows of up to `longest` columns before the head.

        When memory runs out here, the tape is broken: the layers no longer agree on where the head is.
        """
        rows = len(self.starts) + count
        if rows > self.rows or self.head < longest or self.head >= self.columns:
            self._move(rows, max(longest, self.head - self.start))

    def fit(self, states: Sequence[Tensor]) -> None:
        """Make the buffers, where there are none yet, for states as these: each layer's keys and then its values."""
        if not self._layers:
            for keys, values in zip(states[::2], states[1::2], strict=True):
                self._layers.append(_Layer(self))
                self._layers[-1].lazy_initialization(keys, values)

    def read_inputs(self, tokens: Sequence[Sequence[int]], width: int, device: torch.device) -> dict[str, Any]:
        """Return what the model needs to read the last `width` tokens of rows below the present ones.

        There must be room for them (`reserve`); the columns of their earlier tokens must have been filled. Shorter rows
        are padded on the left. Until `admit` the rows do not count.
        """
        longest = max(map(len, tokens))
        window = slice(self.head - longest, self.head)
        rows = slice(len(self.starts), len(self.starts) + len(tokens))
        self.place = _Place(rows, slice(self.head - width, self.head), window)
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
        """Take in the rows that were read last; `lengths` counts each row's tokens."""
        self.starts += [self.head - length for length in lengths]
        self._changed()

    def remove(self, row: int) -> None:
        """Forget `row`; the last row takes its place."""
        last = len(self.starts) - 1
        if row != last:
            place = slice(self.starts[last], self.head)
            for buffer in self.buffers():
                buffer[row, :, place] = buffer[last, :, place]
            self.starts[row] = self.starts[last]
        self.starts.pop()
        self._changed()

    def step_inputs(self) -> dict[str, Any]:
        """Return what the model needs beside the tokens to add one column: cache, mask and positions."""
        if self.head == self.columns:
            self._move(len(self.starts), self.head - self.start)
        if self._first is None:
            self._first = torch.tensor(self.starts, device=self._layers[0].keys.device)
        self.place = _Place(slice(len(self.starts)), slice(self.head, self.head + 1), slice(self.start, self.head + 1))
        columns = torch.arange(self.start, self.head + 1, device=self._first.device)
        return {
            "past_key_values": self._cache(),
            "attention_mask": columns[None, :] >= self._first[:, None],
            "position_ids": (self.head - self._first)[:, None],
        }

    def advance(self) -> None:
        """Keep the column that the model has just written."""
        self.head += 1

    def buffers(self) -> Iterator[Tensor]:
        """Yield each layer's keys and then its values; nothing before the first reading."""
        for layer in self._layers:
            yield layer.keys
            yield layer.values

    def _cache(self) -> Cache:
        """Return the tape as the model wants it; layers that it has not had yet join as they are met."""
        cache = Cache(layer_class_to_replicate=partial(_Layer, self))
        cache.layers = self._layers
        return cache

    def _changed(self) -> None:
        self.start = min(self.starts, default=self.head)
        self._first = None

    def _move(self, rows: int, head: int) -> None:
        """Place the window so that it ends at column `head` or soon after, with room for `rows` rows and slack behind.

        A buffer that is too small is replaced by one of the size that is needed now, be it smaller the other way.
        """
        head = _round_up(head, _STRIDE) if self._slack else head
        source, target = slice(self.start, self.head), slice(head - (self.head - self.start), head)
        grows = rows > self.rows or head + _SLACK > self.columns
        if grows:
            self.rows, self.columns = (_height(rows), _width(head)) if self._slack else (rows, head)
        for layer in self._layers:
            layer.keys = self._moved(layer.keys, source, target, grows=grows)
            layer.values = self._moved(layer.values, source, target, grows=grows)
        shift = head - self.head
        self.head = head
        self.starts = [start + shift for start in self.starts]
        self._changed()

    def _moved(self, buffer: Tensor, source: slice, target: slice, *, grows: bool) -> Tensor:
        count = len(self.starts)
        if not grows:
            buffer[:count, :, target] = buffer[:count, :, source].clone()
            return buffer
        replacement = buffer.new_zeros((self.rows, buffer.shape[1], self.columns, buffer.shape[3]))
        replacement[:count, :, target] = buffer[:count, :, source]
        return replacement


def footprint(rows: int, columns: int) -> int:
    """Return the tokens, rows times columns, that a tape allocates at most for `rows` rows of `columns` tokens each."""
    return _height(rows) * _width(columns)


def _height(rows: int) -> int:
    """Round up to a multiple of 8, of 16 above 64, of 32 above 128 and so on: rows come one by one, buffers do not."""
    step = 1 << max(3, (rows - 1).bit_length() - 3)
    return _round_up(rows, step)


def _width(columns: int) -> int:
    head = _round_up(columns, _STRIDE)
    return head + max(_SLACK, head // 4)


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
