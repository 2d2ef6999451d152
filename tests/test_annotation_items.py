"""Items to look at: the same content has the same key wherever it lies, and nothing in it tells who is who."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from cai.annotation.index import ItemIndex, open_items
from cai.annotation.items import ItemAnswer, ReviewItem, answer_item, item_from_dict, pair_item, ranking_item
from cai.annotation.kinds import ItemKind
from cai.annotation.sources.runs import items_of_row
from cai.core.errors import InputError
from cai.core.records import Prompt, Round, Row, Trace, Usage, Verdict
from cai.method.verdicts import CONTRADICTION
from cai.rundir.claim import claim
from cai.rundir.lines import LineFile, salt
from tests.annotating import make_pair, place_at
from tests.building import user
from tests.storage import PROVENANCE, abstention, fill, make_row, verdict

KINDS: tuple[ItemKind, ...] = ("pair", "gate", "ranking", "answer")
QUESTION = (user("Q?"),)


def row_of(*traces: Trace, verdicts: tuple[Verdict, ...] = ()) -> Row:
    return Row(Prompt("p", 0, QUESTION, ("tag",)), traces, verdicts, Usage(), PROVENANCE)


def trace(sample: int, response: str, *rounds: Round) -> Trace:
    final = next((turn.revision for turn in reversed(rounds) if turn.revision is not None), response)
    return Trace(sample, 0, response, rounds, final, truncated=False, model=f"m{sample}")


def read_items(path: Path, kinds: tuple[ItemKind, ...] = KINDS) -> list[ReviewItem]:
    with open_items(place_at(path), kinds) as index:
        found = [index.find(entry.key) for entry in index.entries()]
        assert [item and item.uncertainty for item in found] == [entry.uncertainty for entry in index.entries()]
        assert index.find("pair:0") is None
    return [item for item in found if item is not None]


def test_the_order_of_two_answers_does_not_change_the_item() -> None:
    a, b = ItemAnswer("Yes.", "chosen"), ItemAnswer("No.", "rejected")
    one = pair_item("p", QUESTION, (a, b), "x:1", probability=0.9)
    other = pair_item("p", QUESTION, (b, a), "x:1", probability=0.1)
    assert one.key == other.key
    assert one.answers == other.answers
    assert one.judge == pytest.approx(other.judge)
    assert one.judge == pytest.approx(0.9 if one.answers[0] is a else 0.1)
    assert one.uncertainty == pytest.approx(0.2)


def test_the_first_answer_of_an_item_is_as_often_the_one_as_the_other() -> None:
    first = [make_pair(number).answers[0].source for number in range(200)]
    assert 70 < first.count("response:0") < 130


def test_other_words_another_prompt_or_kind_make_another_key() -> None:
    a, b = ItemAnswer("Yes.", "chosen"), ItemAnswer("No.", "rejected")
    keys = {
        pair_item("p", QUESTION, (a, b), "x").key,
        pair_item("p", (user("Else?"),), (a, b), "x").key,
        pair_item("p", QUESTION, (a, ItemAnswer("Nope.", "rejected")), "x").key,
        ranking_item("p", QUESTION, (a, b), "x").key,
        answer_item("p", QUESTION, a, "x").key,
    }
    assert len(keys) == 5


def test_the_ranks_of_a_ranking_follow_its_answers() -> None:
    answers = [ItemAnswer(text, text) for text in ("best", "middle", "worst")]
    item = ranking_item("p", QUESTION, answers, "x", ranks=[1, 2, 3])
    assert {answer.text: rank for answer, rank in zip(item.answers, item.ranks, strict=True)} == {
        "best": 1,
        "middle": 2,
        "worst": 3,
    }


def test_a_row_gives_its_pairs_gates_ranking_and_answers() -> None:
    rounds = (Round("kind", 0.9, "c", "Gentle.", False, 0.8), Round("safe", None, None, None, False, 0.1))
    row = row_of(
        trace(0, "Rude.", *rounds),
        trace(1, "Plain."),
        verdicts=(verdict("response:0", "response:1", 0.2, 0.4), abstention("final:0", "response:0", CONTRADICTION)),
    )
    items = items_of_row(row, "run:p", KINDS)
    pairs = {frozenset(answer.text for answer in item.answers): item for item in items if item.kind == "pair"}
    judged = pairs[frozenset(("Rude.", "Plain."))]
    assert judged.judge == pytest.approx(0.3 if judged.answers[0].text == "Rude." else 0.7)
    assert pairs[frozenset(("Rude.", "Gentle."))].abstained == CONTRADICTION
    assert pairs[frozenset(("Rude.", "Gentle."))].uncertainty == 1.0
    gates = {item.principle: item for item in items if item.kind == "gate"}
    assert (gates["kind"].answers[0].text, gates["kind"].judge) == ("Rude.", 0.9)
    # Asked after the first round's revision, and not answered.
    assert (gates["safe"].answers[0].text, gates["safe"].judge) == ("Gentle.", None)
    assert gates["safe"].abstained is not None
    (ranking,) = [item for item in items if item.kind == "ranking"]
    assert {answer.text for answer in ranking.answers} == {"Rude.", "Gentle.", "Plain."}
    singles = [item for item in items if item.kind == "answer"]
    assert {item.answers[0].text: item.answers[0].model for item in singles} == {
        "Rude.": "m0",
        "Gentle.": "m0",
        "Plain.": "m1",
    }


def test_answers_that_say_the_same_or_nothing_are_no_items() -> None:
    row = row_of(trace(0, "Same."), trace(1, "Same."), trace(2, " "))
    assert [item.kind for item in items_of_row(row, "run:p", KINDS)] == ["answer"]


def test_items_of_a_run_are_found_by_key(tmp_path: Path) -> None:
    fill(tmp_path / "run", map(make_row, range(20)))
    found = read_items(tmp_path / "run")
    expected = [item for number in range(20) for item in items_of_row(make_row(number), "", KINDS)]
    assert [replace(item, place="") for item in found] == expected
    assert {item.place for item in found} == {f"{tmp_path / 'run'}:prompt-{number}" for number in range(20)}
    assert {item.kind for item in read_items(tmp_path / "run", ("pair",))} == {"pair"}


def test_an_exported_pair_has_the_key_of_the_run(tmp_path: Path) -> None:
    row = row_of(trace(0, "Rude."), trace(1, "Plain."), verdicts=(verdict("response:0", "response:1", 0.2, 0.4),))
    (pair,) = items_of_row(row, "", KINDS[:1])
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(orjson.dumps({"prompt": "Q?", "chosen": "Plain.", "rejected": "Rude.", "chosen_probability": 0.7}))
    (found,) = read_items(path, ("pair",))
    assert found.key == pair.key
    assert found.uncertainty == pytest.approx(0.6)


def test_ranked_answers_give_a_ranking_and_pairs(tmp_path: Path) -> None:
    path = tmp_path / "ranked.jsonl"
    answers = [{"text": text, "rank": rank} for text, rank in (("one", 1), ("two", 2), ("deux", 2))]
    path.write_bytes(orjson.dumps({"prompt": "Q?", "answers": answers}))
    found = read_items(path)
    assert sorted(item.kind for item in found) == ["pair", "pair", "pair", "ranking"]
    pairs = [item for item in found if item.kind == "pair"]
    better = {pair.answers[pair.judge < 0.5].text for pair in pairs if pair.judge is not None}
    assert better == {"one"}
    assert [pair.abstained for pair in pairs if pair.judge is None] == ["tie"]


def test_text_without_answers_is_nothing_to_review(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_bytes(b'{"text": "Once upon a time."}\n')
    with pytest.raises(InputError, match="nothing in it to review"):
        read_items(path)


def test_an_evaluation_gives_answers_gates_and_comparisons(tmp_path: Path) -> None:
    claim(tmp_path / "e", "evaluation").close()
    for label, text in (("new", "Yes."), ("old", "No.")):
        (tmp_path / "e" / "responses").mkdir(exist_ok=True)
        file = LineFile(tmp_path / "e" / "responses" / f"{label}.jsonl", salt(f"responses/{label}.jsonl"))
        gates = [{"principle_id": "kind", "probability": 0.25}]
        answer = {"id": "q", "messages": QUESTION, "tags": ["t"], "response": text, "gates": gates}
        file.append(orjson.dumps({"failure": {"id": "x"}}))
        file.append(orjson.dumps(answer))
        file.close()
    (tmp_path / "e" / "comparisons").mkdir()
    file = LineFile(tmp_path / "e" / "comparisons" / "new~old.jsonl", salt("comparisons/new~old.jsonl"))
    file.append(orjson.dumps({"id": "q", "probability": 0.8, "abstained": None}))
    file.close()
    found = read_items(tmp_path / "e")
    assert sorted(item.kind for item in found) == ["answer", "answer", "gate", "gate", "pair"]
    (pair,) = [item for item in found if item.kind == "pair"]
    assert pair.judge == pytest.approx(0.8 if pair.answers[0].source == "new" else 0.2)
    gate, _ = [item for item in found if item.kind == "gate"]
    assert (gate.principle, gate.uncertainty) == ("kind", 0.5)


def test_items_of_feedback_come_last_and_an_item_survives_json() -> None:
    item = make_pair(3, 0.75)
    assert item_from_dict(orjson.loads(orjson.dumps(item))) == item
    with ItemIndex([[make_pair(1)], [make_pair(1), make_pair(2)], [item]]) as index:
        assert [entry.key for entry in index.entries()] == [make_pair(n).key for n in (1, 2, 3)]
        assert index.find(item.key) == item
        assert (len(index), item.key in index) == (3, True)
