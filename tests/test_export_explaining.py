"""An export with few pairs or cut answers says why, and what would change it; one without has nothing to explain."""

from dataclasses import replace

import pytest

from cai.data.export import ExportSummary, SplitCounts
from cai.data.export.explaining import explain
from cai.data.export.summary import TextCounts

IDENTITY = {"samples": "2", "max-tokens": "160"}
SFT = SplitCounts(40, 2, {})


def summary(pairs: int, left_out: dict[str, int], abstentions: dict[str, int], verdicts: int = 72) -> ExportSummary:
    preference = SplitCounts(pairs, 0, left_out)
    return ExportSummary(24, SFT, preference, abstentions, {}, {}, 0, {}, {}, verdicts=verdicts)


def test_verdicts_that_abstained_are_told_by_reason_with_a_remedy() -> None:
    found = summary(0, {"abstained": 72}, {"low mass": 69, "orders contradict": 3})
    assert explain(found, IDENTITY) == (
        "0 pairs of 24 prompts: 72 of 72 verdicts abstained, 69 for low mass, 3 for orders contradict; "
        "another --judge answers with a letter, or --judge-reasoning leads this one to it",
    )


@pytest.mark.parametrize(
    ("left_out", "abstentions", "told"),
    [
        ({"abstained": 60}, {"orders contradict": 60}, "looks at the answers and not at their places"),
        ({"abstained": 60}, {"unreadable": 60}, "--judge-by logprobs"),
        ({"truncated": 60}, {}, "60 of 61 comparisons were left out as truncated; raise --max-tokens"),
        ({"identical": 60}, {"identical": 60}, "left out as identical; a higher --temperature"),
        ({"abstained": 60}, {"failed": 60}, "--retry-failed"),
    ],
)
def test_each_reason_has_its_own_remedy(left_out: dict[str, int], abstentions: dict[str, int], told: str) -> None:
    (sentence,) = explain(summary(1, left_out, abstentions), IDENTITY)
    assert sentence.startswith("1 pair of 24 prompts: ")
    assert told in sentence


def test_nothing_compared_is_no_fault_of_the_judge() -> None:
    assert explain(summary(0, {}, {}, verdicts=0), {**IDENTITY, "samples": "1"}) == (
        "0 pairs of 24 prompts: no two answers were compared; --samples 2 gives two to compare",
    )


def test_a_quarter_is_not_few_and_an_empty_run_has_nothing_to_explain() -> None:
    assert explain(summary(18, {"abstained": 54}, {"low mass": 54}), IDENTITY) == ()
    assert explain(summary(17, {"abstained": 55}, {"low mass": 55}), IDENTITY) != ()
    assert explain(replace(summary(0, {}, {}, verdicts=0), rows=0), IDENTITY) == ()


def test_cut_texts_are_told_by_kind_with_the_limit() -> None:
    texts = {"responses": TextCounts(48, 34), "revisions": TextCounts(50, 4)}
    found = replace(summary(30, {}, {}), texts=texts)
    assert explain(found, IDENTITY) == ("34 of 48 responses were cut at 160 tokens: raise --max-tokens",)
