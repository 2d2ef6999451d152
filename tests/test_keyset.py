import tracemalloc
from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cai.core.keyset import KeySet

# A small range beside the full one, so that repeated keys are common.
KEYS = st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1), st.sampled_from([0, 2**63, 2**64 - 1]))


@given(st.lists(KEYS, max_size=200), st.integers(1, 9))
def test_add_says_what_a_plain_set_would(keys: list[int], recent_limit: int) -> None:
    model: set[int] = set()
    tested = KeySet(recent_limit=recent_limit)
    for key in keys:
        assert (key in tested) == (key in model)
        assert tested.add(key) == (key not in model)
        model.add(key)
        assert len(tested) == len(model)
    assert all(key in tested for key in model)


@given(st.lists(st.tuples(st.sampled_from(["add", "update"]), st.lists(KEYS, max_size=30)), max_size=12))
def test_updates_and_adds_mix(steps: list[tuple[str, list[int]]]) -> None:
    model: set[int] = set()
    tested = KeySet(recent_limit=7)
    for how, keys in steps:
        if how == "add":
            for key in keys:
                tested.add(key)
        else:
            tested.update(array("Q", keys))
        model.update(keys)
        assert len(tested) == len(model)
    assert all(key in tested for key in model)
    assert not any(key in tested for key in range(41) if key not in model)


def test_an_array_that_was_given_is_left_as_it_was() -> None:
    keys = array("Q", [3, 1, 2, 1])
    tested = KeySet()
    tested.update(keys)
    assert keys.tolist() == [3, 1, 2, 1]
    assert len(tested) == 3


def test_a_million_keys_take_eight_bytes_each() -> None:
    keys = array("Q", np.random.default_rng(1).integers(0, 2**64, 1_000_000, dtype=np.uint64).tobytes())
    tracemalloc.start()
    try:
        tested = KeySet()
        for start in range(0, len(keys), 50_000):
            tested.update(keys[start : start + 50_000])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(tested) == len(set(keys.tolist()))
    assert held < 9 * len(keys)
    assert keys[0] in tested
    assert not tested.add(keys[-1])
