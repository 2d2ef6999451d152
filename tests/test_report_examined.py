"""What was examined beside an evaluation's prompts is in its report, with the file that each number comes from."""

from pathlib import Path

import orjson
import pytest

from cai.evaluate import chart
from cai.report.document import Listing, Table
from cai.report.evaluation_facts import read_attack, read_section
from cai.report.plan import plan_report
from cai.report.run import make_report
from cai.report.settings import ReportSettings
from tests.test_evaluate_job import bad, good
from tests.test_evaluate_jurors import Juries, judged_by


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})  # the pictures take longest


def test_sections_attacks_and_judges_that_are_not_apart_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Juries(monkeypatch, fine=good, poor=bad, strict=good)
    judge = "transformers:fine,transformers:strict"
    found = judged_by(tmp_path, judge, "fine", baseline="poor", attack=("base64",))
    document = orjson.loads((tmp_path / "out" / "evaluation.json").read_bytes())["result"]
    again = [read_section(one) for one in document["sections"]]
    assert [one.models for one in again] == [one.models for one in found.sections]
    assert [one.tables for one in again] == [one.tables for one in found.sections]
    assert [read_attack(one).models for one in document["attacks"]] == [one.models for one in found.attacks]

    report = make_report(plan_report(ReportSettings(tmp_path / "out")))
    judges, attacks = (
        next(section for section in report.sections if section.title == title)
        for title in ("several judges", "Under attack")
    )
    measured = next(block for block in judges.blocks if isinstance(block, Table))
    row = next(cells for cells in measured.rows if cells[0].text == "breaks any principle")
    assert [cell.text for cell in row[1:]] == ["100.0 % [73.5, 100.0] (12)", "50.0 % [0.0, 100.0] (12)"]
    places = {one.anchor: one.name for one in report.rows}
    assert places[str(row[2].rows)] == "responses/fine.jsonl"
    shown = [block for block in attacks.blocks if isinstance(block, Table)]
    assert any(cells[0].text == "refuses, benign" for cells in shown[0].rows)
    limits = next(section for section in report.sections if section.anchor == "limits")
    said = [cell.text for block in limits.blocks if isinstance(block, Listing) for cell in block.items]
    assert not any("judge is the model" in one for one in said), "strict is apart from it"


def test_a_rate_of_few_comparisons_is_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Juries(monkeypatch, fine=good, poor=bad)
    judged_by(tmp_path, "transformers:fine", "fine", baseline="poor", limit=3)
    report = make_report(plan_report(ReportSettings(tmp_path / "out")))
    tables = [block for section in report.sections for block in section.blocks if isinstance(block, Table)]
    (pairs,) = (table for table in tables if table.rows[0][0].text == "fine over poor")
    assert [cell.text for cell in pairs.rows[0]][1:5] == ["too few answers", "", "too few answers", ""]
    assert pairs.rows[0][-4].text == "3"


def test_a_model_that_judges_itself_is_told_as_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Juries(monkeypatch, fine=good)
    judged_by(tmp_path, "transformers:fine", "fine")
    report = make_report(plan_report(ReportSettings(tmp_path / "out")))
    limits = next(section for section in report.sections if section.anchor == "limits")
    said = [cell.text for block in limits.blocks if isinstance(block, Listing) for cell in block.items]
    assert "The judge is the model fine itself." in said
