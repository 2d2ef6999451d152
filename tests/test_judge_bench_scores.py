"""Judges that score each answer by itself: rubrics and gates in a bench, answers whose scores are known, ties."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import RequestError, UsageError
from cai.core.records import Message, Score, Usage
from cai.core.shares import Proportion
from cai.judge_bench import figure
from cai.judge_bench.items import LabelledItem
from cai.judge_bench.records import BenchEntry
from cai.judge_bench.scores import score_ties, spearman
from cai.models.scripted import ScriptedEngine
from cai.report.bench_facts import read_bench
from tests.building import make_engine
from tests.test_judge_bench import benched, judging, longer, pairs, planned, write

RUBRIC = [{"criterion": "has a number", "points": 3}, {"criterion": "is rude", "points": -2}]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "draw_reliability", lambda _: {})


def reading(meets: Callable[[str, str], float], name: str = "judge") -> ScriptedEngine:
    """Return a judge that says of an answer and a question how likely it is a yes."""

    def choose(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        answer, question = (["", *(message["content"] for message in messages)])[-2:]
        probability = meets(answer, question)
        return [0.9 * probability, 0.9 * (1 - probability)]

    engine = make_engine(lambda _: "", choose)
    engine.name = name
    return engine


def by_rubric(answer: str, question: str) -> float:
    return float("rude" in answer) if "rude" in question else float(any(map(str.isdigit, answer)))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_pairs_with_criteria_are_judged_by_the_rubric_s_score(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "chosen": "It is 12.", "rejected": "Much.", "rubric": RUBRIC},
        {"prompt": "b", "chosen": "Much.", "rejected": "rude 7", "rubrics": [RUBRIC[1]]},  # no points above zero
        {"prompt": "c", "chosen": "It is.", "rejected": "It is 9.", "rubric": json.dumps(RUBRIC)},
        {"prompt": "d", "chosen": "Yes.", "rejected": "No.", "rubric": RUBRIC},
        {"prompt": "e", "chosen": "Yes.", "rejected": "No.", "rubric": [{"criterion": "x"}]},
    ]
    data, out = write(tmp_path / "p.jsonl", rows), tmp_path / "out"
    bench = benched(data, out, {"j": reading(by_rubric)}, variant=("rubric",))
    assert bench.left_out == {"criterion 1 has no number under `points`, but None": 1}
    found = bench.of("j~rubric")
    assert (found.asked, found.answered, found.how) == (4, 3, "each answer by itself: rubric")
    assert found.accuracy == Proportion(1.5, 3), "one right, one wrong, one alike"
    assert found.cost.verdicts == 8
    assert found.mass == pytest.approx(0.9)
    assert (found.labelled.of, found.position.of, found.both_orders.of, found.labels) == (0, 0, 0, None)
    first = next(entry for entry in lines(out / "verdicts" / "j~rubric.jsonl") if entry["id"].endswith(":1"))
    assert [score["value"] for score in first["scores"]] == [1.0, 0.0]
    assert first["scores"][0]["findings"][0] == {"about": "has a number", "probability": 1.0, "mass": 0.9}
    assert list(read_bench(out).measures) == [found], "the rows say the same again"
    with pytest.raises(UsageError, match="needs criteria"):
        planned(write(tmp_path / "q.jsonl", pairs(2)), tmp_path / "x", {"j": reading(by_rubric)}, variant=("rubric",))


def test_gates_are_those_that_apply_or_the_label_s_own(tmp_path: Path) -> None:
    asked: list[str] = []

    def breaks(answer: str, question: str) -> float:
        asked.append(question)
        return 0.8 if answer.startswith("no") else 0.1

    rows = [*pairs(2), *pairs(1, principle="privacy")]
    bench = benched(write(tmp_path / "p.jsonl", rows), tmp_path / "out", {"j": reading(breaks)}, variant=("gates",))
    assert bench.of("j~gates").accuracy == Proportion(3, 3)
    whole = len(set(asked))
    assert whole > 5
    assert len(asked) == 2 * (2 * whole + 1), "both answers under all principles, and under the label's own alone"


def test_a_question_that_failed_is_counted_and_the_others_decide(tmp_path: Path) -> None:
    def meets(answer: str, question: str) -> float:
        if "rude" in question:
            raise RequestError("no", retryable=False)
        return by_rubric(answer, question)

    data = write(tmp_path / "p.jsonl", [row | {"rubric": RUBRIC, "chosen": "a 1", "rejected": "b"} for row in pairs(2)])
    bench = benched(data, tmp_path / "out", {"j": reading(meets)}, variant=("rubric", "plain"))
    assert [judge.label for judge in bench.judges] == ["j~rubric", "j"]
    assert bench.of("j~rubric").accuracy == Proportion(2, 2)
    entry = lines(tmp_path / "out" / "verdicts" / "j~rubric.jsonl")[0]
    assert {part["part"] for part in entry["failed"]} == {"score:answer:0:is rude", "score:answer:1:is rude"}


def test_single_answers_are_ranked_beside_their_known_scores(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": f"{n:02d}", "score": n // 2} for n in range(12)]
    data = write(tmp_path / "p.jsonl", rows)
    with pytest.raises(UsageError, match="single answers with scores, which are not compared: give --variant gates"):
        planned(data, tmp_path / "out", {"j": judging(longer)})
    judges = {
        "good": reading(lambda answer, _: 1 - int(answer) / 20, "good"),
        "other": reading(lambda answer, _: int(answer) / 20, "other"),
        "same": reading(lambda *_: 0.5, "same"),
    }
    bench = benched(data, tmp_path / "out", judges, variant=("gates",))
    good, other, same = (bench.of(f"{name}~gates") for name in judges)
    assert (good.answered, good.accuracy.of, good.cost.verdicts) == (12, 0, 12)
    assert good.correlation is not None
    assert other.correlation is not None
    assert good.correlation.value == -other.correlation.value == pytest.approx(math.sqrt(140 / 143))
    assert good.correlation.low < good.correlation.value <= good.correlation.high
    assert (good.correlation.answers, good.correlation.items) == (12, 12)
    assert same.correlation is None, "who scores all alike ranks nothing"
    page = (tmp_path / "out" / "README.md").read_text()
    assert "ranks as known scores do (Spearman)" in page
    assert (
        json.loads((tmp_path / "out" / "bench.json").read_text())["result"]["judges"][0]["correlation"]["items"] == 12
    )


def test_ranked_answers_with_scores_are_both(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{n}", "answers": [{"text": f"{n}{place}", "score": n + place} for place in (1, 3, 2)]}
        for n in range(5)
    ]
    judge = reading(lambda answer, _: 1 - int(answer[1]) / 10)
    found = benched(write(tmp_path / "p.jsonl", rows), tmp_path / "out", {"j": judge}, variant=("gates",)).of("j~gates")
    assert found.accuracy == Proportion(5, 5)
    assert found.correlation is not None
    assert found.correlation.answers == 15


def scored(
    name: str, right: Sequence[float], others: Sequence[float], **changes: Any
) -> tuple[LabelledItem, BenchEntry]:
    values = (*right, *others)
    answers = tuple(map(str, range(len(values))))
    item = LabelledItem(name, 0, (), answers, 1.0, len(right), models=(None,) * len(values), name=name, **changes)
    scores = tuple(Score(f"answer:{place}", "gates", "j", value) for place, value in enumerate(values))
    return item, BenchEntry(name, 0, (), Usage(), (), 0.0, 0.0, scores=scores)


def test_right_answers_that_tie_are_scored_as_rewardbench_2_does() -> None:
    entries = [
        scored("ref:1", [0.9], [0.5, 0.2]),  # gap 0.4
        scored("tied:1", [0.9, 0.8], [0.2]),  # spread 0.1, gap 0.6
        scored("ref:2", [0.6], [0.5]),  # gap 0.1
        scored("tied:2", [0.9, 0.6], [0.1]),  # spread 0.3, gap 0.5: wide, but not in both
        scored("ref:3", [0.1], [0.5]),  # wrong
        scored("tied:3", [0.9, 0.1], [0.3]),  # wrong
        scored("ref:4", [0.9], [0.5]),  # of a prompt that was never asked with several right answers
        scored("other", [0.9], [0.5]),
        scored("ref:9", [0.9], [0.5], subset="Math"),
    ]
    found = score_ties(entries)
    assert found is not None
    margins = [math.tanh(0.4 / 0.1 - 1), math.tanh(0.1 / 0.3 - 1), math.tanh(-0.4 / 0.8 - 1)]
    assert found.prompts == 3
    assert found.tied == Proportion(2, 3)
    assert found.ref == Proportion(3, 4)
    assert found.wider == Proportion(2, 3)
    assert found.wider_in_both == Proportion(1, 3)
    assert found.margin == pytest.approx(sum(margins) / 3)
    expected = 0.3 * 2 / 3 + 0.3 * 3 / 4 + 0.2 * 2 / 3 + 0.2 * 1 / 3 + 0.01 * sum(margins) / 3
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert score_ties(entries[:1]) is None


@settings(max_examples=20)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 5), min_size=1, max_size=8))
def test_the_ties_score_is_bounded_and_moves_with_no_scale(rows: list[tuple[int, ...]]) -> None:
    def entries(scale: float, shift: float) -> list[tuple[LabelledItem, BenchEntry]]:
        made = []
        for number, (a, b, c, d, e) in enumerate(rows):
            tied, others, ref, wrong = ([value * scale + shift for value in part] for part in ([a, b], [c], [d], [e]))
            made += [scored(f"tied:{number}", tied, others), scored(f"ref:{number}", ref, wrong)]
        return made

    found, other = score_ties(entries(1.0, 0.0)), score_ties(entries(4.0, 8.0))
    assert found is not None
    assert other is not None
    assert -0.01 <= found.value <= 1.01
    assert found.value == pytest.approx(other.value)


def test_the_ties_of_rewardbench_2_count_with_their_own_score(tmp_path: Path) -> None:
    rows: list[Mapping[str, Any]] = [
        {"id": "ref:1", "prompt": "a", "chosen": ["80"], "rejected": ["10", "20"], "num_correct": 1, "subset": "Ties"},
        {"id": "tied:1", "prompt": "b", "chosen": ["82", "80"], "rejected": ["10"], "num_correct": 2, "subset": "Ties"},
        {"id": "7", "prompt": "c", "chosen": ["1"], "rejected": ["2", "3", "4"], "num_correct": 1, "subset": "Math"},
    ]
    judge = reading(lambda answer, _: 1 - int(answer) / 100)
    bench = benched(
        write(tmp_path / "p.jsonl", list(map(dict, rows))), tmp_path / "out", {"j": judge}, variant=("gates",)
    )
    found = bench.of("j~gates")
    assert found.several_right is not None
    assert found.several_right.value == pytest.approx(1.01, abs=1e-3)
    assert found.mean_of_subsets == pytest.approx(found.several_right.value / 2)
    assert "several right answers, as RewardBench 2" in (tmp_path / "out" / "README.md").read_text()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_the_rank_correlation_is_pearson_s_of_the_ranks(values: list[tuple[int, int]]) -> None:
    both = np.array(values, dtype=float).T
    ranks = [[(row < one).sum() + ((row == one).sum() + 1) / 2 for one in row] for row in both]
    found = spearman(both)
    if 0.0 in both.std(axis=1):
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(np.array(ranks))[0, 1])
