"""Feedback of users on a deployed model: into the same place, once, with what cannot be read told."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

import cai
from cai.annotation.agreement import measure_agreement
from cai.annotation.feedback import ImportedFeedback, import_feedback
from cai.annotation.labels import labels_for_export, read_labels
from cai.annotation.reading import what_counts
from cai.annotation.store import AnnotationStore
from cai.cli.main import main
from cai.core.errors import InputError
from cai.data.export import ExportOptions, export_run
from cai.data.quality import load_quality
from tests.annotating import place_at
from tests.building import user
from tests.storage import fill, make_row

ROW = make_row(0)
TIME = "2026-11-01T10:00:00Z"
ASKED = ROW.prompt.messages[0]["content"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    fill(tmp_path / "run", [ROW])
    return tmp_path / "run"


def imported(run: Path, *rows: dict[str, Any], name: str = "feedback.jsonl") -> ImportedFeedback:
    path = run.parent / name
    path.write_bytes(b"".join(orjson.dumps({"time": TIME, **row}) + b"\n" for row in rows))
    return import_feedback(path, place_at(run))


def test_thumbs_ratings_comparisons_and_words_come_in_with_model_and_time(run: Path) -> None:
    found = imported(
        run,
        {"prompt": "Hello?", "response": "Hi.", "thumb": "up", "model": "live-2", "user": "u1"},
        {"prompt": "Hello?", "response": "Hi.", "rating": 4, "comment": "Kind.", "user": "u2"},
        {
            "prompt": "Hello?",
            "response_a": "Hi.",
            "response_b": "What?",
            "preferred": "a",
            "model_a": "m",
            "model_b": "n",
        },
    )
    assert (found.rows, found.before, found.in_run, found.left_out) == (3, 0, 0, {})
    assert found.added == {"thumb": 1, "rating": 1, "comment": 1, "comparison": 1}
    labels = read_labels(place_at(run))
    asked = (user("Hello?"),)
    assert (labels.thumb(asked, "Hi."), labels.rating(asked, "Hi.")) == (True, 4.0)
    pair = labels.pair(asked, "Hi.", "What?")
    assert pair is not None
    assert pair.probability == 1.0
    assert labels.pair(asked, "What?", "Hi.") is not None
    stored = AnnotationStore(place_at(run)).read()
    thumb = next(line for line in stored.lines if line.kind == "thumb")
    assert (thumb.annotator, thumb.model, thumb.chosen_by) == ("u1", "live-2", "feedback")
    assert thumb.when.isoformat() == "2026-11-01T10:00:00+00:00"
    assert {(answer.text, answer.model) for item in stored.items for answer in item.answers} >= {("What?", "n")}
    assert len(list((run / "annotations").iterdir())) == 2  # all users together, and what they spoke of


def test_a_file_that_is_imported_again_adds_what_is_new(run: Path) -> None:
    rows = [{"prompt": "Hello?", "response": "Hi.", "thumb": "up"}] * 3
    assert imported(run, *rows).added == {"thumb": 3}
    again = imported(run, *rows, {"prompt": "Hello?", "response": "Hi.", "thumb": "down"})
    assert (again.added, again.before) == ({"thumb": 1}, 3)
    # Four users, whose names nobody knows: none replaces another.
    assert len(what_counts(AnnotationStore(place_at(run)).read()).counting) == 4


def test_feedback_on_the_runs_own_answers_is_the_runs(run: Path) -> None:
    own = {"prompt": ASKED, "response": ROW.traces[0].response, "thumb": "down"}
    other = {"prompt": ASKED, "response": "Something else.", "thumb": "up"}
    found = imported(run, own, other)
    assert (found.added, found.in_run) == ({"thumb": 2}, 1)
    (item,) = AnnotationStore(place_at(run)).read().items
    # The run's own prompt keeps its id, so what is held out stays so.
    assert (item.prompt_id, item.answers[0].text) == (ROW.prompt.id, "Something else.")


def test_an_own_answer_beside_another_is_exported_once(run: Path) -> None:
    own = ROW.traces[0].final
    imported(
        run,
        {"prompt": ASKED, "response": own, "thumb": "up", "rating": 5},
        {"prompt": ASKED, "response": "Something else.", "thumb": "up", "rating": 2},
        {"prompt": ASKED, "response_a": own, "response_b": "Something else.", "preferred": "a"},
    )
    people = labels_for_export(run, "human")
    export_run(run, ExportOptions(test_share=0.0, labels="human", people=people, quality=load_quality("none")))
    for name in ("sft", "labelled", "scored"):
        rows = pq.read_table(run / name / "train.parquet").to_pylist()
        assert sorted(one["completion"][0]["content"] for one in rows) == sorted([own, "Something else."]), name
    (pair,) = pq.read_table(run / "preference" / "train.parquet").to_pylist()
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (own, "Something else.")


def test_what_cannot_be_read_is_left_out_and_told_with_its_place(run: Path) -> None:
    good = {"prompt": "Hello?", "response": "Hi."}
    found = imported(
        run,
        {**good, "thumb": "sideways"},
        {**good, "rating": 9},
        {"prompt": "Hello?", "thumb": "up"},
        {**good, "thumb": "up", "time": "yesterday"},
        {**good, "thumb": "up", "time": "2026-11-01T10:00:00"},
        good,
        {**good, "thumb": "up", "id": "1"},
        {**good, "thumb": "down", "id": "1"},
    )
    assert found.added == {"thumb": 1}
    assert sum(found.left_out.values()) == 7
    assert found.examples[0].startswith("feedback.jsonl:1: has the label 'sideways'")
    assert any("its id names another row" in reason for reason in found.left_out)
    assert any("neither thumb, rating" in reason for reason in found.left_out)


def test_a_table_without_what_feedback_needs_is_refused(run: Path) -> None:
    path = run.parent / "table.jsonl"
    path.write_bytes(b'{"prompt": "Hello?", "response": "Hi."}\n')
    with pytest.raises(InputError, match="feedback needs time and one of thumb"):
        import_feedback(path, place_at(run))


def test_users_are_no_annotators(run: Path) -> None:
    imported(run, {"prompt": "Hello?", "response": "Hi.", "thumb": "up", "user": "u1"})
    stored = AnnotationStore(place_at(run)).read()
    assert what_counts(stored).annotators == ()
    told = measure_agreement(stored, {item.key: item for item in stored.items}.get)
    assert told.annotators == {}
    assert "feedback of users, which is in no agreement: 1" in told.as_text()


def test_the_command_and_the_function_do_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.parent / "feedback.csv"
    path.write_text(f"prompt,response,thumb,time\nHello?,Hi.,up,{TIME}\nHello?,,down,{TIME}\n")
    with pytest.raises(SystemExit) as ended:
        main(["feedback", "import", str(path), "--run", str(run)])
    assert not ended.value.code
    told = capsys.readouterr()
    assert "2 rows: thumb 1; 0 on the run's own answers" in told.out
    assert "feedback.csv:3: there is no response" in told.err
    again = cai.open_run(run).import_feedback(path)
    assert (again.added, again.before) == ({}, 1)
