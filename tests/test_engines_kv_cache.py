"""The KV cache holds what rows wrote, whatever comes and goes, and never more than it says."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.models.local.kv_cache import KVCache, footprint
from cai.models.local.memory import memory_error

_HEADS, _SIZE = 2, 1


def _states(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """Return keys (rows, heads, columns, size) that say the same number to each head, padded on the left."""
    width = max(len(row) for row in rows)
    padded = torch.tensor([[-1.0] * (width - len(row)) + list(row) for row in rows])
    return padded[:, None, :, None].expand(len(rows), _HEADS, width, _SIZE)


class _Written:
    """A cache beside plain lists of what was written to it."""

    def __init__(self) -> None:
        self.cache = KVCache()
        self.rows: list[list[float]] = []
        self.number = 0.0
        self.allocated = 0

    def _next(self, count: int) -> list[float]:
        self.number += count
        return [self.number - count + i for i in range(count)]

    def append(self, lengths: Sequence[int], known: int) -> None:
        """Read rows, of which all but `known` tokens of the longest are filled in beforehand."""
        fresh = [self._next(length) for length in lengths]
        longest = max(lengths)
        width = max(1, longest - known)
        self.cache.reserve(len(lengths), longest)
        self.cache.allocate([torch.zeros(1, _HEADS, 1, _SIZE)] * 4)
        for layer, buffer in enumerate(self.cache.buffers()):
            for index, row in enumerate(fresh):
                first = self.cache.position - len(row)
                filled = torch.tensor(row[: max(0, len(row) - width)]) + 0.5 * (layer % 2)
                buffer[len(self.rows) + index, :, first : first + len(filled)] = filled[None, :, None]
        inputs = self.cache.prefill_inputs(
            [[int(number) for number in row] for row in fresh], width, torch.device("cpu")
        )
        states = _states([row[-width:] for row in fresh])
        passed = inputs["past_key_values"]
        for layer in range(2):
            keys, values = passed.update(states, states + 0.5, layer)
            for index, row in enumerate(fresh):
                assert keys[index, 1, -len(row) :, 0].tolist() == row
                assert (values[index, 0, -len(row) :, 0] - 0.5).tolist() == row
                assert inputs["attention_mask"][index].nonzero()[:, 0].tolist() == list(
                    range(longest - len(row), longest)
                )
                shown = min(width, len(row))
                assert inputs["input_ids"][index, -shown:].tolist() == row[-shown:]
                assert inputs["position_ids"][index, -shown:].tolist() == list(range(len(row) - shown, len(row)))
        self.cache.admit(lengths)
        self.rows += fresh

    def step(self) -> None:
        column = self._next(len(self.rows))
        layers = self.cache.decode_inputs()["past_key_values"].layers
        self.allocated = layers[0].keys.shape[0] * layers[0].keys.shape[2]
        for row, number in zip(self.rows, column, strict=True):
            row.append(number)
        states = _states([[number] for number in column])
        for layer in layers:
            keys, values = layer.update(states, states + 0.5)
            for index, row in enumerate(self.rows):
                assert keys[index, 1, -len(row) :, 0].tolist() == row
                assert (values[index, 0, -len(row) :, 0] - 0.5).tolist() == row
        self.cache.advance()

    def remove(self, index: int) -> None:
        self.cache.remove(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()


@given(
    rounds=st.lists(
        st.tuples(
            st.lists(st.integers(1, 1500) | st.integers(1, 20), max_size=30),  # prompts that join
            st.integers(0, 1500),  # tokens of the longest that are known
            st.integers(1, 12) | st.just(300),  # steps
            st.integers(0, 40),  # rows that leave
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=15, deadline=None)
@pytest.mark.slow
def test_rows_keep_what_they_wrote_and_the_buffer_stays_within_the_footprint(
    rounds: list[tuple[list[int], int, int, int]],
) -> None:
    written = _Written()
    allowed = 0
    for joining, known, steps, leaving in rounds:
        if joining:
            written.append(joining, known)
        if not written.rows:
            continue
        # An admission allows what the rows present may reach; the buffer of an earlier one may still be there.
        reach = max(map(len, written.rows)) + 300
        allowed = max(allowed, footprint(len(written.rows), reach))
        for _ in range(steps):
            written.step()
            assert written.allocated <= allowed
        for _ in range(min(leaving, len(written.rows))):
            written.remove(leaving % len(written.rows))


def test_rows_a_little_longer_than_all_before_find_room_where_the_buffers_are() -> None:
    cache = KVCache()
    cache.reserve(8, 97)
    cache.allocate([torch.zeros((1, 2, 1, 3))] * 4)
    before = [buffer.data_ptr() for buffer in cache.buffers()]
    for longest in range(98, 129):
        cache.reserve(8, longest)
    assert [buffer.data_ptr() for buffer in cache.buffers()] == before
    assert all(buffer.shape[0] * buffer.shape[2] <= footprint(8, 97) for buffer in cache.buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_buffers_are_of_the_states_type_and_hold_zeros(dtype: torch.dtype) -> None:
    cache = KVCache()
    cache.reserve(8, 97)
    cache.allocate([torch.ones((1, 2, 1, 3), dtype=dtype)] * 4)
    for buffer in cache.buffers():
        assert (buffer.dtype, buffer.device.type) == (dtype, "cpu")
        assert buffer.shape[1::2] == (2, 3)
        assert not buffer.any()


def test_buffers_that_the_memory_cannot_hold_are_memory_that_ran_out() -> None:
    cache = KVCache(slack=False)
    cache.reserve(1 << 20, 1 << 20)
    assert memory_error(lambda: cache.allocate([torch.zeros((1, 64, 1, 64))] * 2)) is not None
