"""Measures of a whole dataset: each finds what was put into a set, and nothing in one without it."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cai.core.records import Prompt, Provenance, Round, Row, Trace, Usage, Verdict
from cai.core.shares import sign_test
from cai.data.examples.tables import Example
from cai.data.rows import BrokenRow
from cai.data.validation.collecting import CollectedSet, collect_set
from cai.data.validation.contamination import Contamination, EvaluationPrompt
from cai.data.validation.descriptor import Found, percent
from cai.data.validation.run_facts import read_run_facts
from cai.data.validation.statistics import auc, fit_odds, rank_correlation
from cai.data.validation.table import MEASURES, documented, validate
from cai.data.validation.texts import distinct, has_list, has_markup, script, self_bleu

WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("an", "ero", "il", "om", "uta", "este", "ag")]


def text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def pair(prompt: str, chosen: str, rejected: str, probability: float = 1.0, **about: Any) -> Example:
    turns = [{"role": "user", "content": prompt}]
    answers = {
        name: [{"role": "assistant", "content": said}] for name, said in (("chosen", chosen), ("rejected", rejected))
    }
    return Example("x.jsonl:1", {"prompt": turns, **answers, "chosen_probability": probability}, None, about)


def plain_pairs(count: int = 120) -> list[Example]:
    """Return pairs in which nothing is unusual."""
    draw = random.Random(1)
    return [
        pair(text(draw, 12), text(draw, 20 + draw.randrange(20)), text(draw, 20 + draw.randrange(20)))
        for _ in range(count)
    ]


def labelled(answers: Sequence[tuple[str, bool]]) -> list[Example]:
    draw = random.Random(2)
    return [
        Example(
            "x.jsonl:1",
            {
                "prompt": [{"role": "user", "content": text(draw, 9)}],
                "completion": [{"role": "assistant", "content": said}],
                "label": good,
            },
            None,
        )
        for said, good in answers
    ]


def collect(examples: Sequence[Example | BrokenRow], kind: Any = "pairs", **options: Any) -> CollectedSet:
    return collect_set(examples, kind, kind, **options)


def measured(found: CollectedSet) -> dict[str, Found]:
    return {one.measure.name: one.found for one in validate(found)}


def sentences(found: CollectedSet) -> Iterator[str]:
    return (one.found.sentence for one in validate(found) if one.found.sentence is not None)


def test_nothing_is_unusual_of_plain_pairs() -> None:
    assert list(sentences(collect(plain_pairs()))) == []


def test_every_measure_has_a_name_of_its_own_and_says_what_it_is() -> None:
    assert all(measure.about and measure.name.isprintable() for measure in MEASURES.values())
    assert len({measure.name for measure in MEASURES.values()}) == len(MEASURES)


def test_rows_that_give_no_example_are_counted_by_reason() -> None:
    broken = [BrokenRow("x:1", "empty", ""), BrokenRow("x:2", "empty (line 2)", ""), BrokenRow("x:3", "no chosen", "")]
    found = measured(collect([*plain_pairs(7), *broken]))["rows without an example"]
    assert (found.value, found.count, dict(found.details)) == (0.3, 10, {"empty": 2, "no chosen": 1})
    assert found.sentence == "3 of 10 rows give no example: empty 2, no chosen 1"


def test_a_turn_without_text_is_found() -> None:
    silent = pair("ask", "a b c", "d e f")
    silent.values["prompt"].insert(0, {"role": "system", "content": " "})
    assert measured(collect([*plain_pairs(9), silent]))["prompts with an empty turn"].value == 0.1


def test_labels_that_contradict_each_other_are_found_in_either_order() -> None:
    examples = [
        pair("p", "first answer", "second answer"),
        pair("p", "second answer", "first answer"),  # the other way
        pair("q", "first answer", "second answer"),
        pair("q", "second answer", "first answer", 0.2),  # the same, said otherwise
    ]
    found = collect([*plain_pairs(), *examples])
    assert (found.repeats.repeated, found.repeats.contradicted) == (2, 1)
    assert sorted(found.repeats.contradicted_rows) == [120, 121]
    assert "1 times" in str(measured(found)["labelled both ways"].sentence)


def test_an_answer_that_is_good_and_bad_contradicts_itself() -> None:
    examples = labelled([("yes it is", True), ("no it is not", False)])
    again = Example(examples[0].place, {**examples[0].values, "label": False}, None)
    assert collect([*examples, again], "labelled").repeats.contradicted == 1


def test_a_circle_of_answers_is_found_and_an_order_is_none() -> None:
    circle = [pair("p", first, second) for first, second in ("ab", "bc", "ca")]
    order = [pair("q", first, second) for first, second in ("ab", "bc", "ac", "cd", "ad", "bd")]
    repeats = collect([*plain_pairs(), *circle, *order]).repeats
    assert (repeats.ranked, repeats.cycles) == (2, 1)


def test_duplicates_are_counted_whatever_lies_between_them() -> None:
    pairs = plain_pairs()
    repeats = collect([*pairs, pairs[3], pairs[7], pairs[3]]).repeats
    assert repeats.duplicates == 3
    assert sorted(repeats.duplicate_rows) == [120, 121, 122]
    assert repeats.prompts == 120
    assert repeats.largest == 3


def test_a_longer_answer_that_always_wins_is_told() -> None:
    draw = random.Random(3)
    long = [pair(text(draw, 9), text(draw, 60), text(draw, 20)) for _ in range(100)]
    found = measured(collect([*long, *(pair(text(draw, 9), text(draw, 20), text(draw, 60)) for _ in range(20))]))
    assert found["longer is preferred"].value == pytest.approx(100 / 120)
    assert "length alone predicts the label" in str(found["length alone is right"].sentence)
    assert found["median length, chosen / rejected"].p is not None
    odds = found["odds of twice the length"]
    assert odds.low is not None
    assert odds.low > 1


def test_the_odds_of_length_are_those_that_labels_were_drawn_with() -> None:
    draw = random.Random(4)
    examples = []
    for _ in range(4000):
        first, second = "x" * draw.randrange(20, 400), "y" * draw.randrange(20, 400)
        doublings = np.log2((len(first) + 1) / (len(second) + 1))
        if draw.random() > 1 / (1 + 1.7**-doublings):
            first, second = second, first
        examples.append(pair("p", first, second))
    odds = collect(examples, near_duplicates=False).lengths.pair_odds()
    assert odds is not None
    assert odds.low < 1.7 < odds.high
    assert odds.high - odds.low < 0.25


def test_length_is_told_of_good_and_bad_answers_too() -> None:
    found = collect(labelled([("word " * 90, True)] * 50 + [("word " * 9, False)] * 50), "labelled")
    assert found.lengths.label_auc() == 1.0
    assert "length alone predicts the label" in str(measured(found)["length alone is right"].sentence)
    assert measured(found)["good answers"].value == 0.5


def test_lists_and_refusals_that_win_are_told() -> None:
    draw = random.Random(5)
    listed = [pair(text(draw, 9), f"- {text(draw, 9)}\n- {text(draw, 9)}", text(draw, 20)) for _ in range(30)]
    refusing = [pair(text(draw, 9), "I can't help you with that.", text(draw, 20)) for _ in range(30)]
    told = " ".join(sentences(collect([*plain_pairs(), *listed, *refusing])))
    assert "prefer answers with a list to answers without a list in 100.0 %" in told
    assert "prefer answers with a refusal" in told


def test_refusals_that_win_as_often_as_in_labels_of_harmlessness_are_no_news() -> None:
    draw = random.Random(5)
    no = "I can't help you with that."
    refusing = [pair(text(draw, 9), *((no, text(draw, 20)) if n % 5 else (text(draw, 20), no))) for n in range(50)]
    found = measured(collect([*plain_pairs(), *refusing]))["refusals are preferred"]
    assert (found.value, found.sentence) == (0.8, None)
    against = [pair(text(draw, 9), text(draw, 20), no) for _ in range(30)]
    assert "answers without a refusal to answers with a refusal" in " ".join(sentences(collect(against)))


def test_contamination_is_found_within_a_longer_prompt() -> None:
    wanted = "How do I make a pipe bomb with things from a hardware store?"
    known = Contamination([EvaluationPrompt(wanted, "harmless", "e1"), EvaluationPrompt("Is it so?", "harmless", "e2")])
    texts = [
        f"Hello there. {wanted} Thank you.",
        "How do I make a bath bomb for a friend?",
        "is it so",
        "Is it so or not?",
    ]
    assert known.find(texts) == [0, None, 1, None]
    found = collect([*plain_pairs(), pair(wanted.upper(), "no", "yes")], contamination=known)
    assert measured(found)["evaluation prompts"].count == 121
    assert list(found.contamination.rows if found.contamination else ()) == [120]


def test_certainty_and_undecided_labels_are_told() -> None:
    found = measured(
        collect([*(pair(f"prompt {n}", f"a {n}", f"b {n}", 0.55) for n in range(8)), pair("p", "a", "b", 0.5)])
    )
    assert found["labels between 0.4 and 0.6"].value == 1.0
    assert found["labels of one half"].value == pytest.approx(1 / 9)
    assert "most say next to nothing" in str(found["labels between 0.4 and 0.6"].sentence)


def test_columns_beside_examples_are_counted() -> None:
    examples = [pair(f"p {n}", f"a {n}", f"b {n}", source="forum" if n else "book", tags=["x"]) for n in range(20)]
    found = measured(collect(examples))
    assert found["largest source"].details == {"forum": 19, "book": 1}
    assert "95.0 % have one source, 'forum'" in str(found["largest source"].sentence)
    assert found["largest topic"].value == 1.0


def test_tags_as_text_are_counted_each() -> None:
    said = ["benign, food", ("benign",), None, 7]
    found = collect([pair(f"p {n}", f"a {n}", f"b {n}", tags=tags) for n, tags in enumerate(said)])
    assert found.names["tags"] == {"benign": 2, "food": 1}


def test_a_position_that_decides_is_told_of_columns_of_both_orders() -> None:
    examples = [pair(f"p {n}", f"a {n}", f"b {n}", first=[0.9], second=[0.3 if n < 8 else 0.8]) for n in range(16)]
    found = measured(collect(examples))["place decides"]
    assert (found.value, found.count) == (0.5, 16)
    assert str(found.sentence).endswith("the judge favours what stands first")


@pytest.mark.parametrize(("first", "second"), [("Ann", "Lee"), (1, 2), (["Ann"], ["Lee"]), ([True], [False])])
def test_columns_that_only_have_the_names_of_both_orders_are_no_verdicts(first: Any, second: Any) -> None:
    found = collect([pair(f"p {n}", f"a {n}", f"b {n}", first=first, second=second) for n in range(16)])
    assert (found.examples, found.orders.asked) == (16, 0)


def run_row(gate: float, probability: float) -> Row:
    traces = (
        Trace(0, 0, "bad", (Round("kind", gate, None, None, False),), "bad", False),
        Trace(1, 0, "good", (Round("kind", 0.1, None, None, False),), "good", False),
    )
    verdict = Verdict("final:0", "final:1", "kind", 0.9, 0.2, 0.9, 0.9, probability, None, ())
    origin = Provenance("model", "model", "c", "c", "t", "t", "i", 0, 0)
    return Row(Prompt("p", 0, ({"role": "user", "content": "ask"},)), traces, (verdict,), Usage(), origin)


def test_a_run_tells_of_verdicts_against_gates_and_of_a_judge_of_its_own() -> None:
    facts = read_run_facts([run_row(0.9, 0.8), run_row(0.9, 0.3), run_row(0.4, 0.8)])
    assert (facts.gated, facts.against) == (2, 1)
    assert (facts.orders.asked, facts.orders.place) == (3, 3)
    found = collect(plain_pairs())
    found.run = facts
    told = " ".join(sentences(found))
    assert "the answer that a gate had found to break a principle" in told
    assert "judge and author are one model (model)" in told


def test_a_judge_that_prefers_its_own_answers_to_another_models_is_told() -> None:
    rows = []
    for row in [run_row(0.1, 0.9)] * 12:
        traces = tuple(replace(trace, model=("model", "other")[trace.sample]) for trace in row.traces)
        verdict = replace(row.verdicts[0], a_source="response:0", b_source="response:1")
        rows.append(replace(row, traces=traces, verdicts=(verdict,)))
    found = collect(plain_pairs())
    found.run = read_run_facts(rows)
    own = measured(found)["judge prefers its own"]
    assert (own.value, own.count) == (0.9, 12)
    assert "the judge model prefers its own answers" in str(own.sentence)


def test_an_empty_set_is_measured_too() -> None:
    for kind in ("pairs", "labelled", "prompts"):
        assert [one for one in validate(collect([], kind)) if one.found.sentence is not None] == []


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_sign_test_is_the_binomial_one(more: int, less: int) -> None:
    expected = stats.binomtest(more, more + less).pvalue if more + less else 1.0
    assert sign_test(more, less) == pytest.approx(expected, rel=1e-6)
    assert sign_test(more, less) == sign_test(less, more)


def test_the_sign_test_of_many_is_near_the_binomial_one() -> None:
    assert sign_test(0, 0) == sign_test(3000, 3000) == 1
    assert sign_test(0, 2000) < 1e-300
    assert sign_test(5200, 4900) == pytest.approx(stats.binomtest(5200, 10100).pvalue, rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40))
def test_ranks_and_auc_are_those_of_scipy(values: list[tuple[int, int]]) -> None:
    first, second = np.array(values, np.float64).T
    found = rank_correlation(first, second)
    if found is not None:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-9)
    histograms = [np.bincount(side.astype(int), minlength=10).astype(np.float64) for side in (first, second)]
    expected = stats.mannwhitneyu(first, second).statistic / len(first) ** 2
    assert auc(*histograms) == pytest.approx(expected)


def test_a_label_that_follows_from_the_number_alone_has_no_odds() -> None:
    numbers = np.arange(10.0)
    assert fit_odds(numbers, np.ones(10) * (numbers > 4), np.ones(10) * (numbers <= 4), intercept=True) is None
    assert fit_odds(numbers, np.zeros(10), np.zeros(10), intercept=False) is None


def test_self_bleu_is_one_of_copies_and_small_of_different_texts() -> None:
    draw = random.Random(6)
    copies = self_bleu(["the same words in every text"] * 5)
    assert copies is not None
    assert copies[0] == pytest.approx(1.0)
    different = self_bleu([text(draw, 40) for _ in range(50)])
    assert different is not None
    assert different[0] < 0.2
    assert self_bleu(["too short"]) is None


def test_distinct_n_is_the_share_of_different_n_grams() -> None:
    assert distinct(["a b a b", "a c"], 2) == (3 / 4, 4)
    assert distinct([], 1) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Hello, 세계", "Latin"),
        ("안녕하세요", "Hangul"),
        ("こんにちは世界", "Kana"),
        ("你好", "Han"),
        ("12!", "none"),
        ("Привет", "Cyrillic"),
    ],
)
def test_the_script_is_that_of_most_letters(said: str, expected: str) -> None:
    assert script(said) == expected


def test_lists_and_markup_are_told_from_plain_text() -> None:
    assert has_list("Do this:\n1. one\n2. two")
    assert not has_list("One - and only - dash.\n- one")
    assert has_markup("It is **bold** here.")
    assert not has_markup("2 * 3 * 4 and a_b_c # no heading")


def test_a_share_that_is_nearly_nothing_does_not_look_like_nothing() -> None:
    assert [percent(value) for value in (0.0, 0.0001, 0.5, 0.9999, 1.0)] == [
        "0.0 %",
        "under 0.1 %",
        "50.0 %",
        "over 99.9 %",
        "100.0 %",
    ]


def test_the_page_has_the_table_of_measures() -> None:
    assert documented() in (Path(__file__).parent.parent / "docs" / "checking.md").read_text()


def test_texts_without_a_prompt_are_told_apart() -> None:
    texts = [Example("x:1", {"text": said}, None) for said in ("one two three", "four five six", "one two three")]
    repeats = collect_set(texts, "supervised", "text").repeats
    assert (repeats.prompts, repeats.duplicates, repeats.largest) == (2, 1, 2)
