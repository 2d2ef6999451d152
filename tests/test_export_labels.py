"""People's labels become data: soft labels, edits, thumbs and scores; and what they did not say is not theirs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cai.annotation.items import ItemAnswer, ReviewItem, answer_item, gate_item, pair_item
from cai.annotation.labels import labels_for_export
from cai.annotation.sources.runs import items_of_row
from cai.annotation.store import AnnotationStore
from cai.core.errors import UsageError
from cai.core.records import Prompt, Round, Row, Trace, Usage
from cai.data.export import ExportOptions, ExportSummary, export_run
from cai.data.export.people import NOT_LABELLED, Labels
from cai.data.quality import load_quality
from tests.annotating import place_at, say
from tests.building import user
from tests.storage import PROVENANCE, fill, verdict

ROWS = 12


def trace(number: int, sample: int) -> Trace:
    rounds = (Round("kind", 0.9 if sample else 0.1, None, None, truncated=False, gate_mass=0.9),)
    text = f"Answer {sample} to question {number} of the day."
    return Trace(sample, 0, text, rounds, text, truncated=False, model=f"m{sample}")


def row(number: int) -> Row:
    prompt = Prompt(f"p{number}", number, (user(f"Question {number}?"),))
    verdicts = (verdict("response:0", "response:1", 0.9, 0.7),)
    return Row(prompt, (trace(number, 0), trace(number, 1)), verdicts, Usage(), PROVENANCE)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    fill(tmp_path / "run", map(row, range(ROWS)))
    return tmp_path / "run"


def pair(number: int) -> ReviewItem:
    answers = tuple(ItemAnswer(trace(number, sample).response, f"response:{sample}") for sample in range(2))
    return pair_item(f"p{number}", (user(f"Question {number}?"),), (answers[0], answers[1]), "x")


def answer(number: int, sample: int) -> ReviewItem:
    one = ItemAnswer(trace(number, sample).response, f"response:{sample}")
    return answer_item(f"p{number}", (user(f"Question {number}?"),), one, "x")


def choice(item: ReviewItem, source: str) -> str:
    """Return the letter of the answer of a source."""
    return "ab"[[one.source for one in item.answers].index(source)]


def keep(run: Path, item: ReviewItem, value: Any, who: str = "kim", kind: str | None = None, **changes: Any) -> None:
    if kind is not None:
        changes["kind"] = kind
    AnnotationStore(place_at(run)).append(say(item, value, annotator=who, **changes), item)


def export(run: Path, labels: Labels) -> tuple[ExportSummary, Mapping[str, list[dict[str, Any]]]]:
    options = ExportOptions(
        test_share=0.0, labels=labels, people=labels_for_export(run, labels), quality=load_quality("none")
    )
    summary = export_run(run, options)
    files = {name: run / name / "train.parquet" for name in ("sft", "preference", "ranking", "labelled", "scored")}
    return summary, {name: pq.read_table(path).to_pylist() for name, path in files.items() if path.exists()}


def test_without_people_nothing_is_theirs_and_their_labels_cannot_be_asked_for(run: Path) -> None:
    summary, data = export(run, "judge")
    assert set(data) == {"sft", "preference", "ranking"}
    assert "label_by" not in data["preference"][0]
    assert summary.adherence["kind"].corrected is None
    assert "not validated" in (run / "README.md").read_text()
    with pytest.raises(UsageError, match="nobody annotated"):
        export(run, "human")


def test_pairs_have_soft_labels_from_several_people(run: Path) -> None:
    first, second, third = pair(0), pair(1), pair(2)
    for who, source in (("kim", "response:1"), ("lee", "response:1"), ("park", "response:0"), ("choi", "response:1")):
        keep(run, first, choice(first, source), who)
    keep(run, second, "tie")
    for who, source in (("kim", "response:0"), ("lee", "response:1")):
        keep(run, third, choice(third, source), who)
    keep(run, third, choice(third, "response:1"), "park", settles=True, chosen_by="adjudication")
    summary, data = export(run, "human")
    told = {one["id"]: one for one in data["preference"]}
    # The judge had it the other way round.
    assert (told["p0"]["chosen_source"], told["p0"]["chosen_probability"]) == ("response:1", 0.75)
    assert (told["p0"]["label_by"], told["p0"]["votes"]) == ("people", 4)
    # One third of it was settled by somebody.
    assert (told["p2"]["chosen_source"], told["p2"]["chosen_probability"]) == ("response:1", 1.0)
    assert summary.preference.left_out == {NOT_LABELLED: ROWS - 3, "people prefer neither answer": 1}
    both = {one["id"]: one for one in export(run, "both")[1]["preference"]}
    assert len(both) == ROWS - 1
    assert both["p0"] == told["p0"]
    assert (both["p5"]["label_by"], both["p5"]["chosen_source"], both["p5"]["votes"]) == ("judge", "response:0", None)


def test_edits_are_sft_answers_and_what_people_found_bad_is_none(run: Path) -> None:
    keep(run, answer(0, 1), {"text": "A better answer."}, kind="edit")
    keep(run, answer(1, 0), {"up": False}, kind="thumb")
    keep(run, answer(2, 0), {"up": True}, kind="thumb")
    summary, data = export(run, "both")
    by_prompt: dict[str, set[tuple[str, str | None]]] = {}
    for one in data["sft"]:
        by_prompt.setdefault(one["id"], set()).add((one["completion"][0]["content"], one["label_by"]))
    assert by_prompt["p0"] == {("A better answer.", "people"), (trace(0, 0).response, None)}
    assert by_prompt["p1"] == {(trace(1, 1).response, None)}
    assert by_prompt["p2"] == {(trace(2, 0).response, "people"), (trace(2, 1).response, None)}
    assert summary.sft.left_out == {"people found it bad": 1}
    alone = export(run, "human")[1]["sft"]
    assert {one["completion"][0]["content"] for one in alone} == {"A better answer.", trace(2, 0).response}


def test_thumbs_and_ratings_are_data_of_their_own_and_go_when_they_are_not_asked_for(run: Path) -> None:
    for who, up in (("kim", True), ("lee", True), ("park", False)):
        keep(run, answer(0, 0), {"up": up}, who, kind="thumb")
    for who, up in (("kim", True), ("lee", False)):
        keep(run, answer(1, 0), {"up": up}, who, kind="thumb")
    for who, rating in (("kim", 5), ("lee", 2)):
        keep(run, answer(2, 1), {"rating": rating}, who, kind="rating", id=f"rating-{who}-2")
    summary, data = export(run, "both")
    assert [(one["id"], one["source"], one["label"]) for one in data["labelled"]] == [("p0", "response:0", True)]
    assert [(one["id"], one["model"], one["score"]) for one in data["scored"]] == [("p2", "m1", 3.5)]
    assert (summary.labelled.train, summary.scored.train) == (1, 1)
    assert "labelled" in (run / "README.md").read_text()
    assert set(export(run, "judge")[1]) == {"sft", "preference", "ranking"}


def test_feedback_on_answers_of_no_row_is_exported_with_people_alone(run: Path) -> None:
    store = AnnotationStore(place_at(run))
    asked = (user("Something else?"),)
    good, bad = ItemAnswer("Good.", "feedback", "live"), ItemAnswer("Bad.", "feedback", "live")
    for item, value, kind in (
        (answer_item("f0", asked, good, "f:1"), {"up": True}, "thumb"),
        (answer_item("f0", asked, bad, "f:2"), {"up": False}, "thumb"),
    ):
        store.add_items([item])
        keep(run, item, value, kind=kind, chosen_by="feedback")
    item = pair_item("f0", asked, (good, bad), "f:3")
    store.add_items([item])
    keep(run, item, "ab"[item.answers.index(good)], chosen_by="feedback")
    _, data = export(run, "both")
    labelled = {one["completion"][0]["content"]: one["label"] for one in data["labelled"]}
    assert labelled == {"Good.": True, "Bad.": False}
    (told,) = [one for one in data["preference"] if one["id"] == "f0"]
    assert (told["chosen"][0]["content"], told["label_by"]) == ("Good.", "people")
    assert [one["completion"][0]["content"] for one in data["sft"] if one["id"] == "f0"] == ["Good."]
    assert all(one["id"] != "f0" for one in export(run, "judge")[1]["preference"])


def test_adherence_is_corrected_by_labels_of_gates(run: Path) -> None:
    for number in range(ROWS):
        for sample in range(2):
            one = ItemAnswer(trace(number, sample).response, "x")
            item = gate_item(f"p{number}", (user(f"Question {number}?"),), one, "kind", "x")
            truly = "breaks" if sample and number % 3 else "keeps"
            keep(run, item, truly, id=f"gate-{number}-{sample}-x")
    summary, _ = export(run, "judge")
    found = summary.adherence["kind"]
    assert found.corrected is not None
    # The gate finds every second answer bad; a third of these are not.
    assert found.mean == pytest.approx(0.5)
    assert found.corrected.value == pytest.approx(2 / 3)
    assert found.corrected.labels == 2 * ROWS
    assert found.corrected.sensitivity == pytest.approx(0.75)
    assert "67% " in (run / "README.md").read_text()


def test_labels_of_people_do_not_go_with_the_judges_ranking(run: Path) -> None:
    keep(run, pair(0), "a")
    people = labels_for_export(run, "human")
    for wrong in ({"pairs": "adjacent"}, {"select": "judge"}):
        with pytest.raises(UsageError, match="leave it out"):
            ExportOptions(labels="human", people=people, **wrong)  # type: ignore[arg-type]


def several(number: int) -> Row:
    made = row(number)
    return replace(made, traces=tuple(trace(number, sample) for sample in range(4)))


def ranking_of(number: int) -> ReviewItem:
    (item,) = items_of_row(several(number), "x", ["ranking"])
    return item


def ranks(item: ReviewItem, *best_first: str) -> dict[str, Any]:
    """Return a ranking as the page sends it; sources with a bar between them share a rank."""
    places = {source: place for place, group in enumerate(best_first, start=1) for source in group.split("|")}
    return {"ranks": [places[answer.source] for answer in item.answers]}


def test_what_people_ranked_is_a_ranking_and_all_its_pairs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fill(run, map(several, range(3)))
    first, second = ranking_of(0), ranking_of(1)
    keep(run, first, ranks(first, "response:3", "response:0", "response:1|response:2"), "kim")
    keep(run, first, ranks(first, "response:3", "response:1", "response:0", "response:2"), "lee")
    keep(run, second, ranks(second, "response:0|response:1", "response:2", "response:3"), "kim")
    keep(run, second, ranks(second, "response:2", "response:3", "response:0", "response:1"), "lee", settles=True)
    summary, data = export(run, "human")
    told = {one["id"]: one for one in data["ranking"]}
    assert set(told) == {"p0", "p1"}
    assert [(one["source"], one["rank"]) for one in told["p1"]["answers"]] == [
        ("response:2", 1), ("response:3", 2), ("response:0", 3), ("response:1", 4)
    ], "settled by one"  # fmt: skip
    assert (told["p1"]["label_by"], told["p1"]["votes"], told["p1"]["comparisons"]) == ("people", 1, 6)
    assert [(one["source"], one["rank"]) for one in told["p0"]["answers"]] == [
        ("response:3", 1), ("response:0", 2), ("response:1", 3), ("response:2", 4)
    ]  # fmt: skip
    assert (told["p0"]["votes"], told["p0"]["comparisons"], told["p0"]["cycles"]) == (2, 12, 0)
    pairs = {(one["id"], one["chosen_source"], one["rejected_source"]): one for one in data["preference"]}
    assert len([name for name in pairs if name[0] == "p0"]) == 5, "on one pair of six they disagree"
    half = pairs["p0", "response:1", "response:2"]
    assert (half["chosen_probability"], half["votes"], half["label_by"]) == (0.75, 2, "people")
    assert not [name for name in pairs if name[0] == "p2"]
    assert summary.ranking.train == 2
    both = {one["id"]: one for one in export(run, "both")[1]["ranking"]}
    assert both["p0"] == told["p0"]
    assert (both["p2"]["label_by"], both["p2"]["votes"], both["p2"]["comparisons"]) == ("judge", None, 1)


def test_a_ranking_says_something_of_a_pair_beside_who_compared_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fill(run, map(several, range(1)))
    item = ranking_of(0)
    keep(run, item, ranks(item, "response:0", "response:1", "response:2", "response:3"), "kim")
    keep(run, pair(0), choice(pair(0), "response:1"), "lee")
    keep(run, pair(0), choice(pair(0), "response:1"), "park")
    told = {(one["chosen_source"], one["rejected_source"]): one for one in export(run, "human")[1]["preference"]}
    assert told["response:1", "response:0"]["chosen_probability"] == pytest.approx(2 / 3)
    assert told["response:1", "response:0"]["votes"] == 3
    assert told["response:0", "response:3"]["chosen_probability"] == 1.0
