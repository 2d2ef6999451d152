"""An evaluation for a paper, and as logs of inspect_ai; that their reader opens them is in `test_export_tools.py`."""

import re
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from cai.core.corrected import CorrectedShare
from cai.evaluate import chart
from cai.evaluate.measures import Measure
from cai.evaluate.paper import axes_of, paper_tables
from cai.evaluate.paper_figure import draw_paper_figure
from cai.evaluate.results import Evaluation, EvaluationSection, Measurement, ModelResult
from tests.test_evaluate_job import Models, bad, good, run, settings


def measure(name: str, principle: str | None = None) -> Measure:
    return Measure(name, lambda _: [], "about it", better="low", principle=principle, drawn=True)


def result(label: str, value: float, **more: object) -> ModelResult:
    found = tuple(
        Measurement(name, value, value - 0.1, value + 0.1, 40) for name in ("breaks 50 % & more", "breaks kind_tone")
    )
    return ModelResult(label, label, found, (), None, {}, {}, **more)  # type: ignore[arg-type]


def evaluation(*models: ModelResult) -> Evaluation:
    measures = (measure("breaks 50 % & more"), measure("breaks kind_tone", "kind_tone"))
    section = EvaluationSection("turns", "over turns", "about", 9, (measure("breaks kind_tone"),), models)
    return Evaluation(
        Path("e"), "harmless 1.0.0 abc", "the judge", "base", 40, 0, {}, 0, 0, "2026-11-26T10:00:00+00:00", measures,
        models, (), (Measurement("base", 1000.0, 990.0, 1010.0, 40, "number"),) * len(models), (), (),
        sections=(section,),
    )  # fmt: skip


def test_the_table_has_every_axis_and_says_what_differs_and_what_people_corrected() -> None:
    lower = Measurement("breaks kind_tone", -0.3, -0.4, -0.2, 40)
    corrected = {"breaks kind_tone": CorrectedShare(0.25, 0.1, 0.4, 30)}
    sft = replace(result("sft", 0.2), differences=(lower,), corrected=corrected)
    found = evaluation(result("base", 0.5), sft)
    assert [axis.title for axis in axes_of(found)] == ["Prompts", "Principles", "Over turns"]
    files = paper_tables(found)
    lines = files["table.md"].decode().splitlines()
    assert "| breaks kind_tone ↓ | 40 | 50.0 [40.0, 60.0] | **20.0** [10.0, 30.0] |" in lines
    assert any("corrected by labels" in line and "25.0 [10.0, 40.0]" in line for line in lines)
    widths = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert widths == {5}
    tex = files["table.tex"].decode()
    assert r"breaks 50 \% \& more $\downarrow$ & 40 & 50.0 {\scriptsize [40.0, 60.0]}" in tex
    assert r"\textbf{20.0}" in tex
    assert not re.search(r"(?<!\\)[%_#]", tex.split("\n", 1)[1])
    rows = [line for line in tex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {3}


def test_of_small_numbers_that_are_no_shares_three_digits_are_written() -> None:
    told = (
        Measurement("KL", 0.01234, 0.00101, 0.0202, 40, "number"),
        Measurement("words", 41.92, 35.6, 47.2, 40, "number"),
    )
    model = ModelResult("base", "base", told, (), None, {}, {})
    section = EvaluationSection("far", "far", "about", 9, (measure("KL"), measure("words")), (model,))
    lines = paper_tables(replace(evaluation(model), sections=(section,)))["table.md"].decode().splitlines()
    assert "| KL ↓ | 40 | 0.0123 [0.00101, 0.0202] |" in lines
    assert "| words ↓ | 40 | 41.9 [35.6, 47.2] |" in lines


def test_the_figure_is_the_same_again_and_there_is_none_of_nothing() -> None:
    found = evaluation(result("base", 0.5), result("sft", 0.2))
    files = draw_paper_figure(found)
    assert files["figure.pdf"].startswith(b"%PDF")
    assert files == draw_paper_figure(found)
    assert draw_paper_figure(replace(found, measures=(), sections=())) == {}


def test_formats_are_written_when_they_are_asked_for_and_nobody_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})
    models = Models(monkeypatch, judge=good, fine=good, poor=bad)
    wanted = settings(tmp_path, "fine", "poor", judge="judge")
    run(wanted)
    assert not (tmp_path / "out" / "inspect").exists()
    asked = dict(models.asked)
    found = run(replace(wanted, format=("inspect", "inspect")))
    assert models.asked == asked
    logs = {path.stem.rpartition("_")[2]: path for path in (tmp_path / "out" / "inspect").iterdir()}
    assert set(logs) == {"fine", "poor"}
    log = orjson.loads(logs["poor"].read_bytes())
    assert (log["version"], log["status"], log["eval"]["model"]) == (2, "success", "scripted poor")
    sample = next(one for one in log["samples"] if one["id"] == "q3")
    assert sample["output"]["choices"][0]["message"]["content"] == "bad answer to Question 3, please?"
    assert sample["scores"]["breaks privacy"]["value"] is True
    assert sample["scores"]["gate privacy"]["value"] == pytest.approx(0.947)
    scores = {one["name"]: one["metrics"]["mean"]["value"] for one in log["results"]["scores"]}
    assert scores["breaks any principle"] == found.measurement("breaks any principle", "poor").value == 1
    before = {path.name: path.read_bytes() for path in logs.values()}
    run(replace(wanted, format=("inspect",)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "inspect").iterdir()} == before
    fewer = run(replace(wanted, limit=5, format=("inspect",)))
    (log,) = [orjson.loads(one.read_bytes()) for one in (fewer.out / "inspect").iterdir() if one.stem.endswith("poor")]
    assert log["eval"]["dataset"]["samples"] == len(log["samples"]) == log["results"]["total_samples"] == 5
    assert fewer.measurement("answered", "poor").count == 5
