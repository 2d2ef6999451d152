"""Every distinct prompt of a source comes to exactly one row or one failure, whatever its rows are called."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.identity import fingerprint
from cai.core.records import Failure, Prompt, Row
from cai.data import InputOptions, open_prompts
from cai.rundir import Run
from tests.storage import make_row, open_run

CONTENTS = ["p", "q", "r"]
IDS = [
    *(None, "", "x", 1, 1.0, "1"),
    *(f"a.jsonl:{line}" for line in (1, 2, 3)),
    *(f"broken row a.jsonl:{line}" for line in (1, 2)),
    *(fingerprint([{"role": "user", "content": content}]) for content in CONTENTS),
]
rows = st.builds(
    lambda content, name: {"prompt": content, "id": name},
    st.sampled_from([*CONTENTS, "", None, 5, "cut \ufffd"]),
    st.sampled_from(IDS),
)
lines = st.lists(st.one_of(rows.map(orjson.dumps), st.sampled_from([b"no row", b"[]"])), min_size=1, max_size=9)


def write(path: Path, data: list[bytes]) -> str:
    # The first line makes it JSONL, and its prompt is like no other.
    path.write_bytes(b"\n".join([*data, orjson.dumps({"prompt": "last"})]) + b"\n")
    return str(path)


def is_usable(line: bytes) -> bool:
    """Tell whether a line is a prompt by itself."""
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(row, dict) and row["prompt"] in CONTENTS and not str(row["id"]).startswith("broken row ")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=lines, shuffle=st.booleans())
@pytest.mark.slow
def test_nothing_is_lost_and_no_two_things_have_one_name(tmp_path: Path, data: list[bytes], shuffle: bool) -> None:
    opened = open_prompts(DataSource.parse(write(tmp_path / "a.jsonl", data)), InputOptions(shuffle=shuffle))
    items = list(opened)
    names = Counter(item.id for item in items)
    assert set(names.values()) == {1}
    assert len(items) + opened.duplicates == len(data) + 1
    prompts = [item for item in items if isinstance(item, Prompt)]
    failures = [item for item in items if isinstance(item, Failure)]
    assert len({item.messages[-1]["content"] for item in prompts}) == len(prompts)
    broken = sum(not is_usable(line) for line in data)
    taken = [item for item in failures if "duplicate id" in item.cause]
    assert len(failures) - len(taken) == broken
    # What is usable and no prompt of its own is a duplicate, or a failure that says whose id it has.
    assert len(prompts) + len(taken) + opened.duplicates == len(data) + 1 - broken


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=lines, stops=st.lists(st.integers(0, 10), max_size=2))
@pytest.mark.slow
def test_a_run_has_every_prompt_after_any_stops(tmp_path: Path, data: list[bytes], stops: list[int]) -> None:
    source = write(tmp_path / "a.jsonl", data)
    directory = Path(tempfile.mkdtemp(dir=tmp_path)) / "run"
    template = make_row(0)
    for stop in (*stops, 1000):
        run = open_run(directory)
        for item in list(open_prompts(DataSource.parse(source), InputOptions()))[:stop]:
            if isinstance(item, Failure):
                run.fail(item)
            elif not run.is_finished(item.id):
                run.commit(Row(item, template.traces, template.verdicts, template.usage, template.provenance))
        run.close("interrupted")
    items = list(open_prompts(DataSource.parse(source), InputOptions()))
    reader = Run.read(directory)
    made = {row.prompt.id: row.prompt.messages for row in reader.rows()}
    assert made == {item.id: item.messages for item in items if isinstance(item, Prompt)}
    assert {item.id for item in reader.failures()} == {item.id for item in items if isinstance(item, Failure)}


def test_two_files_whose_names_are_written_alike_are_refused(tmp_path: Path) -> None:
    for name in ("a\udcff.txt", "a\udcfe.txt"):
        (tmp_path / name).write_text("one\n")
    with pytest.raises(Exception, match=r"has two files whose names are written a\?\.txt; rename one"):
        open_prompts(DataSource.parse(str(tmp_path)), InputOptions())
