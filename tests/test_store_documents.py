"""run.json and its relatives: whatever lies there, a document as it was written or one sentence."""

import os
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import DamageError, RunError
from cai.evaluate.directory import EvaluationDirectory
from cai.loop.stage_records import StageRecord, read_record, write_record
from cai.rundir import Run
from cai.rundir.claim import claim
from cai.rundir.documents import DocumentError, make_document, parse_document, read_bounded
from cai.rundir.manifest import parse_manifest
from cai.train.folder import TrainingFolder
from cai.train.folder import enter as enter_training
from tests.storage import fill, make_row

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("run") / "run"
    fill(directory, [make_row(0)])
    return (directory / "run.json").read_bytes()


@given(value=JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_in_the_place_of_any_entry_is_told_in_one_sentence(written: bytes, value: Any) -> None:
    document = orjson.loads(written)
    for name in document:
        try:
            parse_manifest(make_document({**document, name: value}), "run.json")
        except DamageError as error:
            told = str(error)
        else:
            continue
        assert "\n" not in told
        assert told.startswith("run.json ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"identity": None}, "has no object under 'identity'"),
        ({"identity": {"model": None}}, "has something other than texts under 'identity'"),
        ({"settings": []}, "has no object under 'settings'"),
        ({"status": "finished"}, "has none of running, interrupted, done, failed under 'status'"),
        ({"rows": -1}, "has no number of things under 'rows'"),
        ({"rows": 2**64 - 1}, "has no number of things under 'rows'"),
        ({"rows": 1.0}, "has no number of things under 'rows'"),
        ({"rows": True}, "has no number of things under 'rows'"),
        ({"started": "\x1b]52;c;YQ==\x07"}, "has no moment under 'started'"),
        ({"usage": {"requests": 1}}, "has no entry 'prompt_tokens'"),
        ({"writers": [1]}, "has something other than objects under 'writers'"),
        ({"mine": 1}, "has an entry 'mine' that this cai does not know"),
        ({"format": "2"}, "has no number of things under 'format'"),
        ({"format": 2}, "has format 2, this cai reads format 8"),
        ({"judge_check": {"judge": "it"}}, "has no check of a judge under 'judge_check'"),
    ],
)
def test_what_is_wrong_is_named(written: bytes, change: dict[str, Any], says: str) -> None:
    with pytest.raises(DamageError) as caught:
        parse_manifest(make_document({**orjson.loads(written), **change}), "run.json")
    assert says in str(caught.value)


def test_a_missing_entry_is_named(written: bytes) -> None:
    document = orjson.loads(written)
    for name in set(document) - {"crc32"}:
        with pytest.raises(DamageError, match=f"has no entry '{name}'"):
            parse_manifest(make_document({key: value for key, value in document.items() if key != name}), "x")


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 999, b"\xff\xfe{", b"[]", b"null", b'"x"', b"[" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500, b"{}"],
)
def test_garbage_is_told(data: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_document(data, 1)


def test_a_changed_byte_is_noticed_and_a_new_layout_is_not(written: bytes) -> None:
    document = parse_manifest(written, "run.json")
    assert parse_manifest(orjson.dumps(orjson.loads(written)), "run.json") == document
    draw = random.Random(1)
    for place in draw.sample(range(len(written)), 300):
        changed = written[:place] + bytes([written[place] ^ (1 << draw.randrange(8))]) + written[place + 1 :]
        try:
            found = parse_manifest(changed, "run.json")
        except DamageError:
            continue
        assert found == document, changed  # what changed was a space


def test_neither_a_long_file_nor_a_pipe_is_waited_for(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(10**8)  # a hole
    with pytest.raises(RunError, match=r"run\.json is longer than 64 MB"):
        Run.read(tmp_path)
    (tmp_path / "run.json").unlink()
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(RunError, match=r"run\.json cannot be read: it is a pipe or a device"):
        Run.read(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").mkdir()
    with pytest.raises(RunError, match=r"run\.json cannot be read: it is a directory"):
        Run.read(tmp_path)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 70_000)
    assert read_bounded(tmp_path / "x") == b"x" * 70_000


@pytest.mark.parametrize(
    ("change", "says"),
    [({"status": "almost"}, "has none of started, done"), ({"identity": ["x"]}, "has no object under 'identity'")],
)
def test_a_stage_s_record_is_told_alike(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with closing(claim(tmp_path, "loop")) as owned:
        write_record(owned, "sft", StageRecord("done", {"seed": "0"}))
        assert read_record(owned, "sft") == StageRecord("done", {"seed": "0"})
        path = tmp_path / "stages" / "sft.json"
        path.write_bytes(make_document({**orjson.loads(path.read_bytes()), **change}))
        with pytest.raises(RunError, match=says):
            read_record(owned, "sft")


def evaluation(path: Path) -> EvaluationDirectory:
    return EvaluationDirectory.open(path, {"judge": "scripted"}, {}, fresh=False)


def training(path: Path) -> TrainingFolder:
    return enter_training(path, {"model": "tiny"}, fresh=False)


@pytest.mark.parametrize("kind", ["evaluation", "training"])
def test_an_evaluation_s_and_a_training_s_document_are_told_alike(tmp_path: Path, kind: str) -> None:
    def again() -> None:
        if kind == "evaluation":
            evaluation(tmp_path).close()
        else:
            training(tmp_path).release()

    again()
    path = next(tmp_path.rglob("evaluation.json" if kind == "evaluation" else "identity.json"))
    again()
    data = path.read_bytes()
    identities = [make_document({**orjson.loads(data), "identity": value}) for value in (None, 1, [1], {"model": 1})]
    for other in (
        *identities,
        b"",
        b"\0" * 99,
        b"[]",
        b"[" * 99_999,
        data[:-9],
        data.replace(b"identity", b"Identity"),
    ):
        path.write_bytes(other)
        with pytest.raises(RunError) as caught:
            again()
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    path.write_bytes(data)
    again()
