"""A run against a server whose model thinks gives the datasets of one whose does not, to the byte."""

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cai
from tests.test_engines_dialects import DIALECTS
from tests.thinking_servers import THOUGHT, Model, serving

ONLY_THINKS = {
    "can only think, by tags": Model("tags", obeys="nothing"),
    "can only think, by channels": Model("harmony", obeys="nothing", continues="any"),
}
DATASETS = ("sft", "preference")


def run(model: Model, out: Path, **options: Any) -> cai.Run:
    with serving([model]) as (url,):
        return cai.generate(
            constitution="medical", model=f"openai:any@{url}", limit=4, out=str(out), progress=False, **options
        )


@cache
def plain(directory: Path) -> tuple[dict[str, bytes], list[Any]]:
    made = run(Model(), directory / "plain")
    return datasets(directory / "plain"), [row.verdicts for row in made]


def datasets(out: Path) -> dict[str, bytes]:
    return {name: (out / name / "train.parquet").read_bytes() for name in DATASETS}


def texts(out: Path) -> pa.Table:
    return pq.read_table(out / "preference" / "train.parquet").select(["prompt", "chosen", "rejected"])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("name", [*DIALECTS, *ONLY_THINKS])
@pytest.mark.slow
def test_datasets_are_the_same_to_the_byte(name: str, directory: Path) -> None:
    model = (DIALECTS | ONLY_THINKS)[name]
    made = run(model, directory / name)
    expected, verdicts = plain(directory)
    assert pq.read_table(directory / "plain" / "sft" / "train.parquet").num_rows > 0
    assert pq.read_table(directory / "plain" / "preference" / "train.parquet").num_rows > 0
    for row in made:
        for trace in row.traces:
            assert trace.reasoning == (None if model.says == "plain" else THOUGHT)
    found = datasets(directory / name)
    assert found["sft"] == expected["sft"]
    if name in ONLY_THINKS:  # labels behind a thought are clamped, so that they are other numbers
        assert texts(directory / name).equals(texts(directory / "plain"))
    else:
        assert [row.verdicts for row in made] == verdicts
        assert found == expected
