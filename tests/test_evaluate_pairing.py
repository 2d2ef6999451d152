"""Which pairs are judged: balanced, connected, near n log n; and ratings from them beside those from the full table."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from cai.core.errors import UsageError
from cai.core.records import Usage
from cai.evaluate import chart
from cai.evaluate.pairing import pairs_of, pairs_to_judge
from cai.evaluate.pairs import PairDecisions, rate
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.records import Decision
from cai.evaluate.statistics import elo
from tests.building import make_prompt
from tests.test_evaluate_job import Models, bad, good, run, settings

LABELS = st.integers(1, 24).map(lambda count: [f"m{number}" for number in range(count)])


@examples(max_examples=40, deadline=None)
@given(LABELS, st.integers(0, 9))
def test_every_prompt_connects_all_models_with_at_most_n_log_n_comparisons(labels: list[str], seed: int) -> None:
    prompts = [make_prompt(ordinal=number) for number in range(3)]
    chosen = pairs_to_judge("budget", labels, None, prompts, seed)
    assert chosen == pairs_to_judge("budget", labels, None, prompts, seed)
    for prompt in prompts:
        own = [pair for pair, asked in chosen.items() if prompt in asked]
        assert len(own) <= len(labels) * math.log2(len(labels))
        degrees = {label: sum(label in pair for pair in own) for label in labels}
        assert len(set(degrees.values())) == 1, "every model as often as every other"
        reached = {labels[0]}
        for _ in labels:
            reached |= {label for pair in own if reached & set(pair) for label in pair}
        assert reached == set(labels)
    if len(labels) < 6:
        assert {pair: len(asked) for pair, asked in chosen.items()} == dict.fromkeys(pairs_of(labels), 3)


def test_over_many_prompts_every_pair_comes_up_alike() -> None:
    labels = [f"m{number}" for number in range(12)]
    prompts = [make_prompt(ordinal=number) for number in range(400)]
    counts = [len(asked) for asked in pairs_to_judge("budget", labels, None, prompts, 0).values()]
    assert len(counts) == 66
    expected = 400 * 36 / 66
    assert max(abs(count - expected) for count in counts) < 5 * math.sqrt(expected)


def test_ratings_within_the_budget_are_those_of_the_full_table_with_intervals_that_cover() -> None:
    labels = [f"m{number}" for number in range(16)]
    prompts = [make_prompt(ordinal=number) for number in range(60)]
    generator = np.random.default_rng(5)
    truth = generator.normal(0, 0.7, len(labels))
    said = {
        pair: generator.random(len(prompts))
        < 1 / (1 + np.exp(truth[labels.index(pair[1])] - truth[labels.index(pair[0])]))
        for pair in combinations(labels, 2)
    }
    found = {}
    for choice in ("all", "budget"):
        chosen = pairs_to_judge(choice, labels, None, prompts, 0)
        decided = [
            PairDecisions(a, b, {one.id: _won(one.id, bool(said[b, a][one.ordinal])) for one in asked}, {})
            for (a, b), asked in chosen.items()
        ]
        found[choice] = rate(prompts, labels, decided, seed=1)
        assert sum(len(pair.decisions) for pair in decided) == (60 * 120 if choice == "all" else 60 * 56)
    values = {choice: np.array([one.value for one in ratings]) for choice, ratings in found.items()}
    assert stats.spearmanr(values["all"], values["budget"]).statistic > 0.93
    true = elo(truth[None])[0]
    covered = sum((one.low or 0) <= value <= (one.high or 0) for one, value in zip(found["budget"], true, strict=True))
    assert covered >= 13


def _won(prompt_id: str, earlier: bool) -> Decision:
    return Decision(prompt_id, 0, 0.1 if earlier else 0.9, None, (), Usage(), ())


def test_a_budget_can_be_made_the_full_table_and_asks_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})  # the pictures take longest
    names = ["judge", "one", "two", "three", "four", "five", "six", "seven"]
    models = Models(monkeypatch, **{name: bad if name == "two" else good for name in names})
    wanted = settings(tmp_path, *names[1:], judge="judge", pairs="budget", limit=4)
    within = run(wanted)
    lines = sum(len(path.read_bytes().splitlines()) for path in (tmp_path / "out" / "comparisons").glob("*.jsonl"))
    assert lines == 4 * 14, "of 21 pairs on each of four prompts"
    assert min(within.ratings, key=lambda one: one.value).name == "two"
    asked = dict(models.asked)
    whole = run(settings(tmp_path, *names[1:], judge="judge", limit=4))
    assert len(whole.pairs) == 21
    assert models.asked == asked
    assert min(whole.ratings, key=lambda one: one.value).name == "two"
    beside = run(settings(tmp_path, *names[2:], baseline="one", judge="judge", pairs="baseline", limit=4, fresh=True))
    assert [pair.b for pair in beside.pairs] == ["one"] * 6


def test_pairs_with_a_baseline_need_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--pairs baseline needs --baseline"):
        plan_evaluate(settings(tmp_path, "one", "two", pairs="baseline"))
