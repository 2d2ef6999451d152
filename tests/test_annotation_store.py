"""What people said is kept: whole, once, by many processes at once, through kills; and what is damaged is told."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from cai.annotation.places import find_place
from cai.annotation.reading import what_counts
from cai.annotation.records import Annotation, parse_annotation
from cai.annotation.store import SALT, AnnotationStore
from cai.core.addresses import DataSource
from cai.core.errors import InputError, RunError, UsageError
from cai.rundir.claim import claim
from cai.rundir.lines import make_line
from tests.annotating import make_gate, make_pair, place_at, say

PAIR = make_pair()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"prompt": "Q", "chosen": "A", "rejected": "B"}\n')
    return path


@pytest.fixture
def store(data: Path) -> AnnotationStore:
    return AnnotationStore(place_at(data))


def test_an_annotation_comes_back_as_it_was_said(store: AnnotationStore) -> None:
    said = say(
        PAIR,
        {"overall": "a", "criteria": {"kind": "tie"}},
        reason="It answers.",
        confidence=4,
        flags=["unsafe"],
        shown={"order": [1, 0], "hidden": ["judge", "model"]},
        seconds=3.5,
        when="2026-11-26T17:00:00+09:00",
    )
    assert store.append(said, PAIR)
    assert store.read().lines == (said,)
    assert said.when.isoformat() == "2026-11-26T08:00:00+00:00"
    assert store.place.folder.name == "pairs.jsonl.annotations"


def test_sent_twice_is_there_once_and_an_id_says_one_thing(store: AnnotationStore, data: Path) -> None:
    said = say(PAIR, "a")
    assert store.append(said, PAIR)
    assert not store.append(said, PAIR)
    assert not AnnotationStore(place_at(data)).append(said, PAIR)
    with pytest.raises(UsageError, match="another annotation with the id"):
        store.append(say(PAIR, "b"), PAIR)
    assert store.read().lines == (said,)


def test_annotators_have_files_of_their_own_however_alike_their_names_are(store: AnnotationStore) -> None:
    names = ("Kim", "kim", "김영희", "김철수", "a/b", "a b")
    for name in names:
        store.append(say(PAIR, "a", annotator=name, id=f"id-{names.index(name):08}"), PAIR)
    assert {line.annotator for line in store.read().lines} == set(names)
    assert len(list(store.place.folder.iterdir())) == len(names)


def test_one_name_has_one_spelling(store: AnnotationStore) -> None:
    decomposed, composed = "Jose\u0301", "Jos\u00e9"
    assert say(PAIR, "a", annotator=decomposed).annotator == composed
    assert say(PAIR, "a", annotator=f" {composed} ").annotator == composed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "short"}, "id: String should match pattern"),
        ({"annotator": " "}, "annotator: "),
        ({"annotator": "a\u200bb"}, "characters that nobody sees"),
        ({"confidence": 6}, "confidence: "),
        ({"kind": "taste"}, "there is no kind 'taste'"),
        ({"answer": None}, "neither an answer nor"),
        ({"answer": {"overall": "A"}}, "overall: "),
        ({"answer": {"overall": "a", "why": "x"}}, "why: "),
        ({"when": "2026-11-26T08:00:00"}, "when: "),
        ({"flags": ["rude"]}, "flags.0: "),
        ({"seconds": -1}, "seconds: "),
        ({"format": 2}, "format: "),
    ],
)
def test_what_is_no_annotation_is_refused_in_one_sentence(changes: dict[str, object], told: str) -> None:
    values = say(PAIR, "a").model_dump(mode="json") | changes
    with pytest.raises(InputError, match="page:1 is no annotation: ") as caught:
        parse_annotation(values, "page:1")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_annotation_must_fit_its_item(store: AnnotationStore) -> None:
    with pytest.raises(UsageError, match="it is about"):
        store.append(say(make_pair(1), "a"), PAIR)
    with pytest.raises(UsageError, match="a comparison is about a pair"):
        store.append(say(make_gate().key, {"overall": "a"}, kind="comparison"), make_gate())
    with pytest.raises(UsageError, match="the order shown"):
        store.append(say(PAIR, "a", shown={"order": [0, 2]}), PAIR)
    assert not store.place.folder.exists()


def test_a_torn_line_is_set_aside_and_counted_and_nothing_follows_it_in_its_line(store: AnnotationStore) -> None:
    first, second = say(PAIR, "a"), say(make_pair(1), "b")
    store.append(first, PAIR)
    path = store.place.file_of("kim")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    assert (store.read().lines, store.read().torn) == ((first,), 1)
    AnnotationStore(store.place).append(second, make_pair(1))
    found = store.read()
    assert (found.lines, found.torn, found.set_aside) == ((first, second), 0, 1)
    assert "set aside earlier" in found.remarks[0]
    assert path.with_name(f"{path.name}.damaged").read_bytes() == whole[: len(whole) // 2] + b"\n"


def test_a_damaged_line_is_told_with_file_and_number_and_says_nothing(store: AnnotationStore) -> None:
    for number in range(3):
        store.append(say(make_pair(number), "a"), make_pair(number))
    path = store.place.file_of("kim")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"overall":"a"', b'"overall":"b"')
    path.write_bytes(b"".join(lines))
    found = store.read()
    assert [line.item for line in found.lines] == [make_pair(0).key, make_pair(2).key]
    assert found.damaged == (f"{path}:2 is damaged: its checksum does not fit, so it says nothing",)
    # Saying it again is possible, and adds a line instead of changing one.
    assert AnnotationStore(store.place).append(say(make_pair(1), "a"), make_pair(1))
    assert path.read_bytes().startswith(b"".join(lines))


def test_the_last_line_counts_and_what_is_taken_back_does_not(store: AnnotationStore) -> None:
    lines = [
        say(PAIR, "a", id="first-line"),
        say(PAIR, "b", id="second-line", replaces="first-line"),
        say(make_pair(1), "a", id="third-line"),
        say(make_pair(1), None, id="fourth-line", replaces="third-line"),
        say(PAIR, "tie", id="other-line", annotator="lee"),
    ]
    for line in lines:
        store.append(line, PAIR if line.item == PAIR.key else make_pair(1))
    said = what_counts(store.read())
    assert {line.id for line in said.counting} == {"second-line", "other-line"}
    assert (said.changed, said.taken_back, said.annotators) == (1, 1, ("kim", "lee"))
    assert len(store.read().lines) == len(lines)


def test_a_clock_that_goes_back_does_not_change_which_line_is_last(store: AnnotationStore) -> None:
    store.append(say(PAIR, "a", id="first-line", when="2026-11-26T09:00:00Z"), PAIR)
    store.append(say(PAIR, "b", id="second-line", when="2026-11-26T08:00:00Z"), PAIR)
    assert [line.id for line in what_counts(store.read()).counting] == ["second-line"]


def _append_many(path: Path, name: str, count: int) -> None:
    store = AnnotationStore(place_at(path))
    for number in range(count):
        store.append(say(PAIR, "a", id=f"{name}-{number:08}"), PAIR)
        store.append(say(PAIR, "a", id=f"shared-{number:08}"), PAIR)


def test_many_processes_append_to_one_file_and_each_line_is_there_once(store: AnnotationStore, data: Path) -> None:
    workers = [multiprocessing.Process(target=_append_many, args=(data, f"worker{n}", 15)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    found = store.read()
    assert len(found.lines) == 4 * 15 + 15
    assert (found.damaged, found.torn, found.set_aside, found.repeated) == ((), 0, 0, 0)


_WRITER = """
import sys
from pathlib import Path
from tests.test_annotation_store import PAIR, say, place_at, AnnotationStore
store = AnnotationStore(place_at(Path(sys.argv[1])))
for number in range(100_000):
    store.append(say(PAIR, "a", id=f"line-{number:08}"), PAIR)
    print(number, flush=True)
"""


def test_a_kill_loses_nothing_that_was_confirmed(data: Path, store: AnnotationStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(data)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    ) as writer:
        assert writer.stdout is not None
        confirmed = [writer.stdout.readline() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        confirmed += writer.stdout.readlines()
    last = int(confirmed[-1])
    AnnotationStore(store.place).append(say(PAIR, "b", id="after-the-kill"), PAIR)
    found = store.read()
    ids = [line.id for line in found.lines]
    assert [f"line-{number:08}" for number in range(last + 1)] == ids[: last + 1]
    assert ids[-1] == "after-the-kill"
    assert len(ids) <= last + 3


def test_a_run_that_people_judged_is_not_started_over(tmp_path: Path) -> None:
    claim(tmp_path / "run", "run").close()
    place = place_at(tmp_path / "run")
    AnnotationStore(place).append(say(PAIR, "a"), PAIR)
    assert place.folder == tmp_path / "run" / "annotations"
    claim(tmp_path / "run", "run").close()
    with pytest.raises(RunError, match="what people said of it"):
        claim(tmp_path / "run", "run", fresh=True)
    assert AnnotationStore(place).read().lines


def test_an_item_that_is_in_no_row_is_kept_beside_the_annotations(store: AnnotationStore) -> None:
    store.add_items([PAIR])
    AnnotationStore(store.place).add_items([PAIR])
    assert store.read().items == (PAIR,)


@pytest.mark.parametrize(
    ("source", "told"),
    [("https://example.com/pairs.jsonl", "web address"), ("nowhere/pairs.jsonl", "There is no run")],
)
def test_where_nothing_can_be_written_nothing_is_annotated(source: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        find_place(DataSource.parse(source))


def test_reading_is_quick(store: AnnotationStore) -> None:
    # A loaded machine takes longer than ours, so this only tells a square law from a straight line.
    store.append(say(PAIR, "a"), PAIR)
    path = store.place.file_of("kim")
    values = [say(PAIR, "a", id=f"line-{number:08}") for number in range(5000)]
    path.write_bytes(b"".join(make_line(value.as_json(), SALT) for value in values))
    began = time.perf_counter()
    assert len(store.read().lines) == 5000
    assert time.perf_counter() - began < 5.0


def test_json_of_a_line_is_what_a_page_may_send_again() -> None:
    said = say(PAIR, "a", confidence=2)
    assert parse_annotation(said.as_json(), "page") == said
    assert isinstance(said, Annotation)
    assert orjson.loads(said.as_json())["answer"] == {"overall": "a", "criteria": {}}
