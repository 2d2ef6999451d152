"""The over-optimisation benchmark's arithmetic: the best of n by brute force, noisy labels, and what is drawn."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import overoptimisation
from benchmarks.length_bias import favour_length
from benchmarks.overoptimisation import best_of, curves, distance, make_pairs, ways
from cai.train.rewards.ensemble import Scale


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=6, unique_by=lambda one: one[0]))
@settings(max_examples=30, deadline=None)
def test_the_best_of_n_is_the_mean_over_all_subsets(answers: list[tuple[int, bool]]) -> None:
    proxy, worth = (np.array(side, dtype=float) for side in zip(*answers, strict=True))
    for count in range(1, len(answers) + 1):
        subsets = itertools.combinations(answers, count)
        wanted = np.mean([max(subset)[1] for subset in subsets])
        assert best_of(proxy, worth, [count]) == pytest.approx([wanted])


def test_the_best_of_one_has_not_moved() -> None:
    assert distance(1) == 0
    assert distance(16) == pytest.approx(np.log(16) - 15 / 16)


def test_a_share_of_the_labels_is_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overoptimisation, "quality", lambda _prompt, text: (text == "good", 0, True))
    prompts = [f"prompt {number}" for number in range(400)]
    pairs = make_pairs(prompts, [["bad", "good"]] * 400, 0.25, 0)
    assert len(pairs) == 400
    assert 0.18 < sum(pair["chosen"] == "bad" for pair in pairs) / 400 < 0.32
    assert make_pairs(["a tie"], [["bad", "worse"]], 0.0, 0) == []


def test_labels_by_length_take_the_longer_answer() -> None:
    pairs = [{"prompt": "p", "chosen": "short", "rejected": "much longer"}, {"chosen": "long one", "rejected": "s"}]
    found = favour_length(pairs * 200, 0.5, 0)
    assert {pair["chosen"] for pair in found[1::2]} == {"long one"}
    assert 70 < sum(pair["chosen"] == "much longer" for pair in found[::2]) < 130
    assert favour_length(pairs, 0.0, 0) == pairs


def test_an_ensemble_is_not_taken_in_by_one_of_its_members() -> None:
    good = np.array([1.0, 1, 0, 0])
    right = np.array([2.0, 1, 0, -1])
    fooled = np.array([2.0, 1, 0, 90])
    scores = [np.array([fooled, right, right])]
    told = curves(scores, [good], [Scale(0, 1)] * 3, [1, 4])
    best = {(curve["way"], *curve["members"]): curve["good"][1] for curve in told}
    assert best["one model", 0] == best["mean", 0, 1, 2] == 0
    assert best["worst", 0, 1, 2] == best["mean less 1 deviation", 0, 1, 2] == 1
    result: dict[str, Any] = {"best_of_n": told, "grpo": []}
    assert overoptimisation.draw(result).startswith(b"\x89PNG")
    assert len(ways(3)) == 6
