"""Exports read again are what they were: prompts, answers and labels, wherever a format has a place for them.

A format that has no place for soft labels has certain ones; what it cannot hold at all was left out when it was
written, so that what comes back is a part of what the run has, and no more.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cai.core.addresses import DataSource
from cai.data.examples.opening import open_examples
from cai.data.examples.shaping import ExampleKind
from cai.data.examples.tables import Example
from cai.data.export import ExportOptions, export_run
from cai.data.export.layouts import LAYOUTS
from cai.data.shapes import SHAPES
from tests.layouts import make_run

KINDS: dict[str, ExampleKind] = {
    "sft": "supervised",
    "preference": "pairs",
    "ranking": "ranked",
    "kto": "labelled",
    "rl": "prompts",
}
HOLDING_ALL = ("jsonl", "argilla", "axolotl", "openrlhf", "nemo-rl")
"""Formats that have a place for every prompt."""


def said(turns: Iterable[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((turn["role"], turn["content"]) for turn in turns)


def meant(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what an example says, whichever of the two layouts of an answer it has; a pair's label is the last."""
    if "messages" in values:
        return (said(values["messages"]),)
    if "answers" in values:
        ranks = tuple((said(answer["completion"]), answer["rank"]) for answer in values["answers"])
        return (said(values["prompt"]), ranks)
    if "chosen" in values:
        pair = (said(values[name]) for name in ("prompt", "chosen", "rejected"))
        return (*pair, values["chosen_probability"])
    return (
        said(values["prompt"]) + said(values.get("completion", ())),
        *([values["label"]] if "label" in values else []),
    )


def read(place: Path, kind: ExampleKind) -> Counter[tuple[Any, ...]]:
    opened = open_examples(DataSource.parse(str(place)), kind)
    items = list(opened.examples())
    return Counter(meant(item.values) for item in items if isinstance(item, Example))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_run(tmp_path_factory.mktemp("round") / "run")
    for name in LAYOUTS:
        export_run(directory, ExportOptions(test_share=0.0), name)
    return directory


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.slow
def test_what_is_read_again_is_what_was_exported(name: str, run: Path) -> None:
    files = [path for path in (run / name).glob("*/*") if path.parent.name in KINDS and path.is_file()]
    assert files
    for path in files:
        kind = KINDS[path.parent.name]
        wanted, found = read(run, kind), read(path, kind)
        assert found, path
        if kind == "pairs" and name not in ("jsonl", "csv", "argilla"):
            wanted = Counter((*pair[:-1], 1.0) for pair in wanted.elements())
        assert not found - wanted, path
        if name in HOLDING_ALL and kind != "labelled":
            assert found == wanted, path


def test_a_layout_that_is_written_and_read_has_one_name() -> None:
    assert {shape.name for shape in SHAPES} >= {*LAYOUTS} - {"jsonl", "csv"}
