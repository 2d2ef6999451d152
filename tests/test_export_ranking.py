"""What a run's rows rank: the dataset of rankings, the pairs made of them, what is left out, and the cycles."""

from collections import Counter
from itertools import combinations
from math import exp
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.records import Row, Trace, Verdict
from cai.data.examples.opening import open_examples
from cai.data.export import ExportOptions, export_run
from cai.data.export.preference import Pairs, preference_pairs
from cai.data.export.ranking import ranked_answers
from cai.data.quality import count_left_out
from cai.data.rows import BrokenRow
from cai.method.verdicts import CONTRADICTION, TIE
from tests.storage import abstention, fill, make_row, verdict
from tests.test_export import row_of, trace


def named(sample: int, text: str, *revisions: str | None, model: str = "m", truncated: bool = False) -> Trace:
    made = trace(sample, text, *revisions, truncated=truncated)
    return Trace(made.sample, 0, made.response, made.rounds, made.final, made.truncated, model=model)


def ranked(row: Row) -> tuple[dict[str, Any] | None, Counter[str]]:
    left_out: Counter[str] = Counter()
    return next(ranked_answers(row, count_left_out(left_out)), None), left_out


def pairs_of(row: Row, pairs: Pairs) -> tuple[list[dict[str, Any]], Counter[str]]:
    left_out: Counter[str] = Counter()
    return list(preference_pairs(row, count_left_out(left_out), pairs=pairs)), left_out


def over(a: int, b: int, probability: float = 0.8) -> Verdict:
    return verdict(f"response:{a}", f"response:{b}", probability, probability)


THREE = tuple(named(sample, f"text {sample}") for sample in range(3))


def test_a_ranking_has_every_answer_with_its_score_and_who_wrote_it() -> None:
    traces = (named(0, "worse", "best", model="one"), named(1, "middle", model="two"))
    verdicts = (verdict("final:0", "response:0", 0.95, 0.85), over(0, 1, 0.2))
    found, left_out = ranked(row_of(traces, verdicts))
    assert found is not None
    assert not left_out
    assert [(item["rank"], item["text"], item["source"], item["model"]) for item in found["answers"]] == [
        (1, "best", "final:0", "one"),
        (2, "middle", "response:1", "two"),
        (3, "worse", "response:0", "one"),
    ]
    best, middle, worse = (item["score"] for item in found["answers"])
    assert 1 / (1 + exp(worse - best)) == pytest.approx(0.9, abs=0.02)
    assert best + middle + worse == pytest.approx(0, abs=1e-5)
    assert (found["comparisons"], found["triples"], found["cycles"]) == (2, 0, 0)


def test_what_cannot_be_ranked_is_counted_by_reason() -> None:
    traces = (*THREE, named(3, "text 0 "), named(4, " "), named(5, "cut", truncated=True), named(6, "alone"))
    verdicts = (over(0, 1), over(1, 2), over(3, 2), abstention("response:0", "response:6", CONTRADICTION))
    found, left_out = ranked(row_of(traces, verdicts))
    assert found is not None
    assert [item["source"] for item in found["answers"]] == ["response:0", "response:1", "response:2"]
    assert left_out == {"duplicate": 1, "empty": 1, "truncated": 1, "compared with no other": 1}
    assert found["comparisons"] == 3, "what a duplicate won, its first has won"


def test_without_comparisons_nothing_is_ranked_and_a_tie_is_one() -> None:
    found, left_out = ranked(row_of(THREE, ()))
    assert found is None
    assert left_out == {"compared with no other": 3}
    tied, _ = ranked(row_of(THREE[:2], (abstention("response:0", "response:1", TIE),)))
    assert tied is not None
    assert [item["rank"] for item in tied["answers"]] == [1, 1]


def test_of_groups_that_nothing_connects_the_largest_is_ranked() -> None:
    traces = tuple(named(sample, f"text {sample}") for sample in range(5))
    found, left_out = ranked(row_of(traces, (over(0, 1), over(2, 3), over(3, 4))))
    assert found is not None
    assert [item["source"] for item in found["answers"]] == ["response:2", "response:3", "response:4"]
    assert left_out == {"compared with no other": 2}


def test_pairs_of_a_ranking_are_best_and_worst_or_neighbours() -> None:
    row = row_of(THREE, (over(1, 0), over(0, 2), over(2, 1, 0.1)))
    (pair,), _ = pairs_of(row, "best-worst")
    assert (pair["chosen_source"], pair["rejected_source"]) == ("response:1", "response:2")
    assert (pair["first"], pair["second"]) == ([pytest.approx(0.9)], [pytest.approx(0.9)]), "in the chosen one's frame"
    neighbours, _ = pairs_of(row, "adjacent")
    assert [(one["chosen_source"], one["rejected_source"]) for one in neighbours] == [
        ("response:1", "response:0"),
        ("response:0", "response:2"),
    ]
    everything, _ = pairs_of(row, "all")
    assert len(everything) == 3
    assert pair["chosen_probability"] > max(one["chosen_probability"] for one in neighbours)


def test_a_pair_that_was_never_judged_itself_rests_on_the_ranking() -> None:
    row = row_of(THREE, (over(0, 1), over(1, 2)))
    (pair,), _ = pairs_of(row, "best-worst")
    assert (pair["chosen_source"], pair["rejected_source"]) == ("response:0", "response:2")
    assert (pair["principles"], pair["first"], pair["second"]) == ([], [], [])
    assert pair["chosen_probability"] == pytest.approx(16 / 17, abs=0.01), "odds of four, twice"
    equal, left_out = pairs_of(row_of(THREE[:2], (over(0, 1, 0.5),)), "best-worst")
    assert not equal
    assert left_out == {"tie": 1}


def test_a_cycle_is_three_equal_answers_and_counted(tmp_path: Path) -> None:
    row = row_of(THREE, (over(0, 1), over(1, 2), over(2, 0)))
    found, _ = ranked(row)
    assert found is not None
    assert [item["rank"] for item in found["answers"]] == [1, 1, 1]
    assert (found["triples"], found["cycles"]) == (1, 1)
    fill(tmp_path, [row])
    summary = export_run(tmp_path, ExportOptions(test_share=0.0))
    assert (summary.triples.complete, summary.triples.cyclic) == (1, 1)
    assert "cycles: 1 of 1 triples of answers are a > b > c > a".capitalize() in (tmp_path / "README.md").read_text()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.4, 0.5, 0.7, 0.9]), min_size=6, max_size=6))
def test_pairs_never_contradict_the_ranking(probabilities: list[float]) -> None:
    traces = tuple(named(sample, f"text {sample}") for sample in range(4))
    given = zip(combinations(range(4), 2), probabilities, strict=True)
    row = row_of(traces, tuple(over(a, b, probability) for (a, b), probability in given))
    found, _ = ranked(row)
    assert found is not None
    score = {item["source"]: item["score"] for item in found["answers"]}
    for pairs in ("best-worst", "adjacent"):
        for pair in pairs_of(row, pairs)[0]:
            lead = score[pair["chosen_source"]] - score[pair["rejected_source"]]
            assert pair["chosen_probability"] == pytest.approx(1 / (1 + exp(-lead)), abs=1e-4)
            assert lead > 0


def test_an_export_writes_the_pairs_that_it_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, [make_row(number) for number in range(20)])
    counts = {}
    for pairs in ("all", "adjacent", "best-worst"):
        summary = export_run(tmp_path, ExportOptions(pairs=pairs, test_share=0.0))
        assert summary.ranking.train == 20
        counts[pairs] = pq.read_table(tmp_path / "preference" / "train.parquet").num_rows
        told = "of each prompt's ranking" in (tmp_path / "README.md").read_text()
        assert told == (pairs != "all")
    assert counts["all"] > counts["best-worst"] > 0
    assert counts["adjacent"] > counts["best-worst"]


def test_the_ranking_is_read_again_as_pairs_and_lists_with_ties_are_counted(tmp_path: Path) -> None:
    tied = (abstention("response:0", "response:1", TIE), over(1, 2), over(0, 2))
    fill(tmp_path, [row_of(THREE, tied)])
    export_run(tmp_path, ExportOptions(test_share=0.0))
    source = DataSource.parse(str(tmp_path / "ranking" / "train.parquet"))
    found = list(open_examples(source, "pairs").examples())
    pairs = [example.values for example in found if not isinstance(example, BrokenRow)]
    (ties,) = [example for example in found if isinstance(example, BrokenRow)]
    texts = [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs]
    assert texts == [("text 0", "text 2"), ("text 1", "text 2")]
    assert ties.cause == "answers of one rank make no pair (1 beside 2 that do)"
