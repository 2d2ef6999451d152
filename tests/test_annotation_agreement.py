"""Agreement: coefficients beside the figures of the literature and of another program, and what is told of it."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.annotation.agreement import Agreement, measure_agreement
from cai.annotation.agreement.coefficients import (
    Numbers,
    coincidences,
    estimate,
    kappa,
    nominal_alpha,
    ordinal_alpha,
    percent,
    resampled,
)
from cai.annotation.agreement.leanings import read_groups
from cai.annotation.items import ItemAnswer, ReviewItem, pair_item, ranking_item
from cai.annotation.records import Annotation
from cai.annotation.store import StoredAnnotations
from cai.core.errors import InputError
from tests.annotating import make_gate, make_pair, say
from tests.building import user


def table(text: str, values: str) -> Numbers:
    """Return the coincidences of observers, one a line, who give each unit one of the values, or `.`."""
    units = zip(*(line.split() for line in text.strip().splitlines()), strict=True)
    order = values.split()
    return np.asarray(
        np.sum(
            [coincidences([order.index(value) for value in unit if value != "."], len(order)) for unit in units], axis=0
        )
    )


FOUR_OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def test_alpha_gives_the_figures_of_krippendorffs_own_examples() -> None:
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", sections A, B and C.
    binary = table("0 1 0 0 0 0 0 0 1 0\n1 1 1 0 0 1 0 0 0 0", "0 1")
    nominal = table("a a b b d c c c e d d a\nb a b b b c c c e d d d", "a b c d e")
    assert float(nominal_alpha(binary)) == pytest.approx(0.095, abs=0.0005)
    assert float(nominal_alpha(nominal)) == pytest.approx(0.692, abs=0.0005)
    several = table(FOUR_OBSERVERS, "1 2 3 4 5")
    assert float(nominal_alpha(several)) == pytest.approx(0.743, abs=0.0005)
    assert float(ordinal_alpha(several)) == pytest.approx(0.815, abs=0.0005)


def test_kappa_gives_the_figure_of_fleiss_levin_and_paik() -> None:
    # Statistical Methods for Rates and Proportions (3rd edition), table 18.1: 100 patients, two raters, 0.68.
    counts = np.array([[75.0, 1, 4], [5, 4, 1], [0, 0, 10]])
    assert float(percent(counts)) == pytest.approx(0.89)
    assert float(kappa(counts)) == pytest.approx(0.676, abs=0.0005)


@pytest.mark.parametrize(
    ("observers", "units", "values", "nominal", "ordinal"),
    [
        (2, 30, 3, 0.36363636363636365, 0.6702154546028938),
        (4, 50, 5, 0.3763058921855411, 0.43042981787664225),
        (6, 12, 2, 0.4619565217391304, 0.4619565217391305),
    ],
)
def test_alpha_gives_what_the_package_krippendorff_gives(
    observers: int, units: int, values: int, nominal: float, ordinal: float
) -> None:
    # Computed by krippendorff 0.9.0 (Castro) on the same votes.
    draw = random.Random(observers)
    sums = np.zeros((values, values))
    for _ in range(units):
        base = draw.randrange(values)
        votes = [base if draw.random() < 0.6 else draw.randrange(values) for _ in range(observers)]
        sums += coincidences([vote for vote in votes if draw.random() < 0.75], values)
    assert float(nominal_alpha(sums)) == pytest.approx(nominal, abs=1e-9)
    assert float(ordinal_alpha(sums)) == pytest.approx(ordinal, abs=1e-9)


VOTES = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=4), min_size=2, max_size=20)


@given(VOTES)
def test_coefficients_are_1_where_all_agree_and_never_more(units: list[list[int]]) -> None:
    sums = np.sum([coincidences(votes, 3) for votes in units], axis=0)
    for coefficient in (percent, kappa, nominal_alpha, ordinal_alpha):
        value = float(coefficient(sums))
        assert np.isnan(value) or value <= 1 + 1e-9
    if len({vote for votes in units for vote in votes}) > 1:
        agreeing = np.sum([coincidences([votes[0]] * 2, 3) for votes in [*units, [0], [1]]], axis=0)
        assert float(nominal_alpha(agreeing)) == pytest.approx(1.0)


@given(VOTES, st.permutations([0, 1, 2]))
def test_names_of_values_do_not_matter_to_nominal_alpha_nor_their_direction_to_ordinal_alpha(
    units: list[list[int]], renamed: Sequence[int]
) -> None:
    def sums(values: Sequence[int]) -> Numbers:
        return np.asarray(np.sum([coincidences([values[vote] for vote in votes], 3) for votes in units], axis=0))

    plain = sums([0, 1, 2])
    assert np.allclose(nominal_alpha(plain), nominal_alpha(sums(renamed)), equal_nan=True)
    assert np.allclose(ordinal_alpha(plain), ordinal_alpha(sums([2, 1, 0])), equal_nan=True)


def test_where_everybody_always_says_the_same_alpha_is_not_defined_and_the_share_has_an_interval() -> None:
    tables = np.stack([coincidences([0, 0], 2)] * 12)
    draws = resampled(tables, 0)
    assert estimate(nominal_alpha, tables, draws) == (None, None, None)
    share = estimate(percent, tables, draws)
    assert (share.value, share.high) == (1.0, 1.0)
    assert share.low is not None
    assert 0.7 < share.low < 0.8


def test_the_interval_of_alpha_covers_what_many_items_give() -> None:
    draw = np.random.default_rng(1)

    def tables(items: int) -> Numbers:
        base = draw.integers(0, 3, items)
        votes = [np.where(draw.random(items) < 0.7, base, draw.integers(0, 3, items)) for _ in range(2)]
        return np.stack([coincidences([int(a), int(b)], 3) for a, b in zip(*votes, strict=True)])

    truth = float(nominal_alpha(tables(20_000).sum(axis=0)))
    covered = 0
    for trial in range(60):
        sample = tables(80)
        found = estimate(nominal_alpha, sample, resampled(sample, trial))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered >= 52  # of 60 intervals of 95 %; fewer come once in 2,000 times


def stored(*said: Annotation) -> StoredAnnotations:
    return StoredAnnotations(said)


def agreement_on(
    said: Sequence[Annotation], *items: ReviewItem, groups: Mapping[str, Mapping[str, str]] | None = None
) -> Agreement:
    return measure_agreement(stored(*said), {item.key: item for item in items}.get, groups=groups)


def test_people_are_compared_with_each_other_and_with_the_judge() -> None:
    items = [make_pair(number, 0.9 if number % 2 else 0.1) for number in range(20)]
    judged = ["a" if item.judge is not None and item.judge > 0.5 else "b" for item in items]
    kim = [say(item, value, annotator="kim") for item, value in zip(items, judged, strict=True)]
    hesitant = ["cannot say"] * 10 + ["tie"] * 2 + judged[12:]
    lee = [say(item, value, annotator="lee") for item, value in zip(items, hesitant, strict=True)]
    found = agreement_on([*kim, *lee], *items)
    rows = {row.between: row for row in found.rows}
    assert list(rows) == ["people", "kim and lee", "people and judge", "kim and judge", "lee and judge"]
    assert rows["people"].items == 10
    assert rows["people"].percent.value == pytest.approx(0.8)
    # Of the ten that both saw, they are not of one mind on two, and there people decided nothing.
    assert (rows["people and judge"].items, rows["people and judge"].percent.value) == (18, 1.0)
    assert rows["kim and judge"].kappa is not None
    assert rows["kim and judge"].kappa.value == pytest.approx(1.0)
    assert found.open == {"comparison": tuple(items[n].key for n in (10, 11))}
    assert found.annotators == {"kim": 20, "lee": 20}


def test_an_adjudication_settles_a_disagreement_and_counts_in_nobodys_agreement() -> None:
    item = make_pair(0, 0.9)
    said = [
        say(item, "a"),
        say(item, "b", annotator="lee"),
        say(item, "b", annotator="park", settles=True, chosen_by="adjudication"),
    ]
    before, after = agreement_on(said[:2], item), agreement_on(said, item)
    assert before.open == {"comparison": (item.key,)}
    assert (after.open, after.settled) == ({}, 1)
    assert [row.between for row in before.rows] == ["people", "kim and lee", "kim and judge", "lee and judge"]
    rows = {row.between: row for row in after.rows}
    assert rows["people"].percent.value == 0.0
    assert rows["people and judge"].percent.value == (1.0 if item.judge is not None and item.judge < 0.5 else 0.0)


def test_each_principle_and_each_criterion_has_rows_of_its_own() -> None:
    gates = [make_gate(number, principle, 0.9) for number in range(3) for principle in ("kind", "safe")]
    said = [say(gate, "breaks" if gate.principle == "kind" else "keeps") for gate in gates]
    pair = make_pair(0)
    both = [
        say(pair, {"overall": "a", "criteria": {"kind": side}}, annotator=who)
        for who, side in (("kim", "a"), ("lee", "b"))
    ]
    found = agreement_on([*said, *both], *gates, pair)
    shares = {(row.kind, row.criterion, row.between): row.percent.value for row in found.rows}
    assert shares == {
        ("comparison", "overall", "people"): 1.0,
        ("comparison", "overall", "kim and lee"): 1.0,
        ("comparison", "kind", "people"): 0.0,
        ("comparison", "kind", "kim and lee"): 0.0,
        ("adherence", "kind", "people and judge"): 1.0,
        ("adherence", "safe", "people and judge"): 0.0,
    }


def test_a_ranking_is_its_pairs() -> None:
    item = ranking_item("p", (user("Q?"),), [ItemAnswer(text, text) for text in "abc"], "x", ranks=[1, 2, 3])
    found = agreement_on([say(item, item.ranks), say(item, [1, 1, 1], annotator="lee")], item)
    rows = {row.between: row for row in found.rows}
    assert rows["kim and judge"].percent.value == 1.0
    assert (rows["kim and lee"].items, rows["kim and lee"].percent.value) == (1, 0.0)


def test_leanings_to_place_length_and_model_are_told_of_each_and_of_groups() -> None:
    items = []
    for number in range(30):
        answers = ItemAnswer(f"Short {number}", "x", "m"), ItemAnswer(f"Much longer text {number}", "y", "n")
        items.append(pair_item(f"p{number}", (user(f"Q{number}?"),), answers, "x"))
    said = []
    for number, item in enumerate(items):
        longer = "a" if len(item.answers[0].text) > len(item.answers[1].text) else "b"
        order = [0, 1] if number % 2 else [1, 0]
        said.append(say(item, longer, annotator="kim", shown={"order": order}))
        said.append(say(item, "ab"[order[0]], annotator="lee", shown={"order": order}))
    found = agreement_on(said, *items, groups={"lee": {"role": "nurse"}})
    told = {(one.who, one.prefers): one for one in found.leanings}
    assert (told["kim", "the longer"].share.value, told["kim", "n's"].share.value) == (1.0, 1.0)
    assert told["kim", "m's"].share.value == 0.0
    assert told["kim", "the longer"].p < 1e-6
    assert told["lee", "what was shown first"].share.value == 1.0
    assert told["role=nurse", "what was shown first"].share.value == 1.0
    assert told["everybody", "the longer"].count == 60


def test_groups_come_from_a_table_of_annotators(tmp_path: Path) -> None:
    path = tmp_path / "annotators.csv"
    path.write_text("name,role,language\nkim,nurse,ko\nlee,doctor,\n")
    assert read_groups(path) == {"kim": {"role": "nurse", "language": "ko"}, "lee": {"role": "doctor"}}
    path.write_text("who,role\nkim,nurse\n")
    with pytest.raises(InputError, match="column `name`"):
        read_groups(path)


def test_what_is_told_has_counts_and_intervals_and_says_when_there_is_nothing() -> None:
    assert "nobody annotated anything yet" in agreement_on([]).as_text()
    alone = agreement_on([say(make_pair(0), "a")], make_pair(0))
    assert "no agreement to tell" in alone.as_text()
    items = [make_pair(number, 0.9) for number in range(5)]
    text = agreement_on([say(item, "a", annotator=who) for item in items for who in ("kim", "lee")], *items).as_text()
    assert "100% [57%, 100%]" in text
    gone = measure_agreement(stored(say(make_pair(0), "a")), lambda _: None)
    assert any("not there any more" in line for line in gone.sentences())
    assert gone.as_json()["annotators"] == {"kim": 1}
