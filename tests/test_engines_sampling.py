"""Laws of drawing tokens and of weighing spellings."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import RequestError
from cai.models.base import Sampling
from cai.models.local.sampling import Draws, draw_tokens, penalize, stream
from cai.models.scoring import exclusive, paths, weigh

_LOGITS = [2.0, 0.5, -1.0, 1.0, float("-inf")]


def _draws(samplings: Sequence[Sampling]) -> Draws:
    return Draws.of(samplings, torch.device("cpu"))


def _draw_many(temperature: float, top_p: float, count: int = 4001, **more: Any) -> np.ndarray:
    uniforms = (torch.arange(count) + 0.5) / count  # every part of [0, 1) evenly: frequencies are exact to 1 / count
    rows = torch.tensor([_LOGITS]).repeat(count, 1)
    tokens = draw_tokens(rows, _draws([Sampling(temperature, top_p, **more)] * count), uniforms)
    return np.bincount(tokens.numpy(), minlength=5) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_the_softmax_says(temperature: float) -> None:
    expected = torch.softmax(torch.tensor(_LOGITS) / temperature, -1).numpy()
    assert _draw_many(temperature, 1.0) == pytest.approx(expected, abs=1e-3)


def test_top_p_keeps_the_likeliest_that_reach_it() -> None:
    p = torch.softmax(torch.tensor(_LOGITS), -1).numpy()  # in order of size: tokens 0, 3, 1, 2
    two = np.array([p[0], 0, 0, p[3], 0]) / (p[0] + p[3])
    assert p[0] < 0.75 < p[0] + p[3]
    assert _draw_many(1.0, 0.75) == pytest.approx(two, abs=1e-3)
    assert _draw_many(1.0, float(p[0]) - 0.01).tolist() == [1, 0, 0, 0, 0]
    assert _draw_many(1.0, 0.0).tolist() == [1, 0, 0, 0, 0]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert _draw_many(0.0, 1.0).tolist() == [1, 0, 0, 0, 0]


def test_the_ends_of_the_unit_interval_draw_possible_tokens() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.3, float("-inf")]] * 2)
    uniforms = torch.tensor([0.0, 1.0 - 2**-24])
    assert draw_tokens(logits, _draws([Sampling()] * 2), uniforms).tolist() == [1, 2]


_WAYS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    top_p=st.sampled_from([0.5, 1.0]),
    top_k=st.sampled_from([None, 1, 5, 80]),
    min_p=st.sampled_from([0.0, 0.2, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_WAYS, min_size=2, max_size=6))
def test_a_row_does_not_depend_on_its_neighbours(rows: list[Sampling]) -> None:
    logits = torch.tensor(np.random.default_rng(len(rows)).normal(size=(len(rows), 50)), dtype=torch.float32)
    uniforms = torch.tensor([stream(i).random(dtype=np.float32) for i in range(len(rows))])
    together = draw_tokens(logits, _draws(rows), uniforms).tolist()
    alone = [draw_tokens(logits[i : i + 1], _draws([row]), uniforms[i : i + 1]).item() for i, row in enumerate(rows)]
    assert together == alone


def test_top_k_and_min_p_keep_the_likeliest() -> None:
    p = torch.softmax(torch.tensor(_LOGITS), -1).numpy()
    two = np.array([p[0], 0, 0, p[3], 0]) / (p[0] + p[3])
    assert _draw_many(1.0, 1.0, top_k=2) == pytest.approx(two, abs=1e-3)
    assert _draw_many(1.0, 1.0, top_k=1).tolist() == [1, 0, 0, 0, 0]
    assert _draw_many(1.0, 1.0, top_k=99) == pytest.approx(p, abs=1e-3)
    assert _draw_many(1.0, 1.0, min_p=float(p[3] / p[0]) - 1e-3) == pytest.approx(two, abs=1e-3)
    assert _draw_many(1.0, 1.0, min_p=1.0).tolist() == [1, 0, 0, 0, 0]
    # Top-p takes its share of what top-k left: of 0.73 and 0.27 the first reaches 0.7.
    assert _draw_many(1.0, 0.7, top_k=2).tolist() == [1, 0, 0, 0, 0]


def test_a_repetition_penalty_makes_what_was_there_less_likely() -> None:
    logits = torch.tensor([2.0, -1.0, 3.0, -2.0])
    penalize(logits, {0, 1}, 2.0)
    assert logits.tolist() == [1.0, -2.0, 3.0, -2.0]


def test_paths_are_the_fewest_that_show_every_token() -> None:
    assert paths([(1,), (2,), (3,)]) == [()]
    assert paths([(1, 2, 3), (1, 2), (4,)]) == [(1, 2)]
    assert sorted(paths([(1, 2, 3), (1, 5, 6)])) == [(1, 2), (1, 5)]


_SPELLINGS = st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)


@given(st.lists(_SPELLINGS, min_size=1, max_size=8, unique=True))
def test_exclusive_probabilities_never_sum_beyond_one(spellings: list[tuple[int, ...]]) -> None:
    thirds = {spelling: 3.0 ** -len(spelling) for spelling in spellings}  # three tokens, always equally likely
    alone = exclusive(thirds)
    assert sum(alone.values()) <= 1 + 1e-9
    shortest = [s for s in spellings if not any(o != s and s[: len(o)] == o for o in spellings)]
    assert sum(alone.values()) == pytest.approx(sum(thirds[s] for s in shortest))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_probabilities_that_are_no_numbers_make_no_choice(value: float) -> None:
    with pytest.raises(RequestError, match="not numbers"):
        weigh([[(1,)], [(2,)]], {(1,): 0.5, (2,): value}, 3)
