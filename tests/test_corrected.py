"""A judge's share corrected by people's labels: the formula, its interval, its coverage, and where it is refused."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.corrected import Cases, cases_of, confusion, read_answers, simulate
from cai.annotation.index import open_items
from cai.annotation.kinds import ItemKind
from cai.annotation.records import ChosenBy
from cai.annotation.store import AnnotationStore
from cai.core.corrected import FEWEST_OF_EACH, NEAR_CHANCE, TOO_FEW, Confusion, correct_share
from cai.core.records import Message
from cai.evaluate import chart
from cai.evaluate.results import Evaluation
from cai.models.base import Request
from tests.annotating import place_at, say
from tests.test_evaluate_job import Models, bad, good, run, settings

COUNTS = st.integers(FEWEST_OF_EACH, 200)
CONFUSIONS = st.builds(Confusion, COUNTS, COUNTS, COUNTS, COUNTS)


def test_the_share_is_that_of_rogan_and_gladen() -> None:
    # p 0.30, q1 0.90, q0 0.80: (0.30 + 0.80 - 1) / (0.80 + 0.90 - 1) = 0.1 / 0.7.
    found = correct_share(300, 1000, Confusion(hits=90, misses=10, rejections=160, false_alarms=40))
    assert found.value == pytest.approx(1 / 7)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 1 / 7 < found.high
    assert (found.sensitivity, found.specificity, found.labels) == (0.9, 0.8, 300)
    assert found.told == f"14% [{found.low:.0%}, {found.high:.0%}] by 300 labels"


@given(CONFUSIONS, st.integers(0, 500), st.integers(1, 500))
def test_the_share_of_the_others_is_the_rest(sample: Confusion, yes: int, more: int) -> None:
    count = yes + more
    found = correct_share(yes, count, sample)
    turned = Confusion(sample.rejections, sample.false_alarms, sample.hits, sample.misses)
    other = correct_share(count - yes, count, turned)
    assert found.refused == other.refused
    for own, rest in ((found.value, other.value), (found.low, other.high), (found.high, other.low)):
        assert own == rest is None or own == pytest.approx(1.0 - (rest or 0.0))
    assert found.turned().value == pytest.approx(other.value)


@given(CONFUSIONS, st.integers(0, 500), st.integers(1, 500))
def test_what_is_told_is_a_share_inside_its_interval(sample: Confusion, yes: int, more: int) -> None:
    found = correct_share(yes, yes + more, sample)
    if found.value is None or found.low is None or found.high is None:
        assert found.refused == NEAR_CHANCE
        assert found.told.startswith("not validated (the judge is near chance")
    else:
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_judge_that_never_errs_is_believed_and_one_near_chance_is_not() -> None:
    assert correct_share(30, 200, Confusion(hits=500, rejections=500)).value == pytest.approx(0.15)
    chance = correct_share(30, 200, Confusion(hits=55, misses=45, rejections=50, false_alarms=50))
    assert (chance.value, chance.refused) == (None, NEAR_CHANCE)
    # A judge that says the opposite of the truth is no better.
    assert correct_share(30, 200, Confusion(misses=50, false_alarms=50)).refused == NEAR_CHANCE


def test_few_labels_of_a_sort_correct_nothing() -> None:
    few = correct_share(30, 200, Confusion(hits=FEWEST_OF_EACH - 1, rejections=300))
    assert (few.value, few.refused, few.told) == (None, TOO_FEW, "not validated (too few labels: 304)")
    assert correct_share(0, 0, Confusion(50, 5, 50, 5)).refused == TOO_FEW
    assert correct_share(30, 200, Confusion()).told == "not validated"


def test_what_chance_puts_outside_is_taken_back_and_said() -> None:
    # Fewer are said to be so than the judge says of none at all.
    found = correct_share(10, 1000, Confusion(hits=45, misses=5, rejections=160, false_alarms=40))
    assert (found.value, found.low, found.clamped) == (0.0, 0.0, True)


EMBEDDED = Confusion(hits=382, misses=0, rejections=4380, false_alarms=38)
"""All gates of the embedded judge beside the oracle (`cai evaluate tiny --constitution medical --prompts tiny`)."""


def world(sample: Confusion) -> Cases:
    """Return cases that are as a judge's on a world."""
    counts = (sample.hits, sample.misses, sample.rejections, sample.false_alarms)
    pairs = ((True, True), (False, True), (False, False), (True, False))
    return np.repeat(np.array(pairs), counts, axis=0)


@pytest.mark.parametrize(
    ("cases", "evaluated", "labelled"),
    [
        (EMBEDDED, 400, 200),
        (EMBEDDED, 2000, 300),
        (Confusion(180, 20, 760, 40), 200, 60),  # q1 0.9, q0 0.95
        (Confusion(350, 150, 400, 100), 300, 100),  # q1 0.7, q0 0.8
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(cases: Confusion, evaluated: int, labelled: int) -> None:
    found = simulate(world(cases), evaluated, labelled, trials=200, seed=1)
    assert found.told > 100
    assert found.share >= 0.93


def test_the_judges_own_interval_does_not_cover_where_it_errs() -> None:
    found = simulate(world(Confusion(350, 150, 400, 100)), 1000, 200, trials=100, seed=1)
    assert found.raw_covered / found.trials < 0.5
    assert found.share >= 0.93


# In an evaluation

GATES: tuple[ItemKind, ...] = ("gate",)


def wrong_judge(messages: tuple[Message, ...]) -> Sequence[float]:
    """Find every bad answer bad, and every fourth good one."""
    text = messages[-2]["content"]
    number = re.search(r"Question (\d+),", text)
    is_wrong = number is not None and int(number[1]) % 4 == 0
    return (0.9, 0.05) if "bad" in text or is_wrong else (0.1, 0.8)


def sometimes_bad(request: Request) -> str:
    return (bad if "1" in request.messages[-1]["content"] else good)(request)


def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    models = Models(monkeypatch, judge=good, new=good, old=sometimes_bad)
    models.gate = wrong_judge
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})  # pictures take seconds, and are not looked at here
    return run(settings(tmp_path, "new", "old", judge="judge"))


def label(directory: Path, chosen_by: ChosenBy, principles: Sequence[str] = ()) -> int:
    """Say of every gate what is true; return of how many."""
    place = place_at(directory)
    store = AnnotationStore(place)
    count = 0
    with open_items(place, GATES) as index:
        for entry in index.entries():
            item = index.find(entry.key)
            assert item is not None
            if not principles or item.principle in principles:
                truly = "breaks" if "bad" in item.answers[0].text else "keeps"
                store.append(say(item, truly, chosen_by=chosen_by), item)
                count += 1
    return count


def test_an_evaluation_is_corrected_when_the_same_command_finds_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(
        b"".join(orjson.dumps({"id": f"q{n}", "prompt": f"Question {n}, please?"}) + b"\n" for n in range(60))
    )
    before = evaluated(tmp_path, monkeypatch)
    assert all(not model.corrected for model in before.models)
    principle = next(measure.principle for measure in before.measures if measure.principle)
    label(before.out, "random", [str(principle)])
    after = evaluated(tmp_path, monkeypatch)
    name = f"breaks {principle}"
    old, new = (after.model(one).corrected for one in ("old", "new"))
    # What is true of the old one; the judge finds more.
    raw = after.measurement(name, "old")
    truth = sum("1" in str(n) for n in range(60)) / 60
    assert raw.value > truth
    assert old[name].value == pytest.approx(truth)
    assert (old[name].labels, old[name].sensitivity) == (60, 1.0)
    # The new one breaks nothing, so its own labels cannot tell how many the judge would catch: all models' do.
    # A text of both models that was labelled once is one label.
    texts = {(answer.id, answer.response) for answer in read_answers(after.out)}
    assert (new[name].labels, new[name].low) == (len(texts), 0.0)
    assert len(texts) < 120
    # Whether anything is broken is not known where one principle is labelled.
    assert set(old) == {name}
    assert after.picked == 0
    recorded = orjson.loads((after.out / "evaluation.json").read_bytes())["result"]["models"]
    assert {model["label"]: list(model["corrected"]) for model in recorded} == {"new": [name], "old": [name]}


def test_labels_of_what_somebody_picked_correct_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluated(tmp_path, monkeypatch)
    count = label(found.out, "uncertainty")
    after = evaluated(tmp_path, monkeypatch)
    assert all(not model.corrected for model in after.models)
    assert after.picked == count


def test_all_labels_together_say_whether_anything_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluated(tmp_path, monkeypatch)
    label(found.out, "overlap")
    after = evaluated(tmp_path, monkeypatch)
    assert "breaks any principle" in after.model("old").corrected


def test_the_benchmark_reads_an_evaluation_of_the_embedded_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluated(tmp_path, monkeypatch)
    assert len(read_answers(found.out)) == 24
    assert cases_of(read_answers(found.out)) == {}  # the oracle understands none of these prompts
    assert confusion(world(EMBEDDED)) == EMBEDDED
