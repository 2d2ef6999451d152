"""`cai report NEW --beside OLD`: what changed, paired differences, which prompts flipped; each with its rows."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import cai as package
from cai.cli.report import report as report_command
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.evaluate import chart
from cai.models.base import Request
from cai.report.catalogue import read_texts
from cai.report.document import Paragraph, ReportDocument, ShownRow, Table
from cai.report.drawn_rows import MASKED
from cai.report.plan import plan_report
from cai.report.run import make_report, rows_of
from cai.report.settings import ReportSettings
from tests.test_evaluate_job import Models, good, run, settings

TEXTS = read_texts("en")


def sometimes(numbers: set[int]) -> object:
    """Return a model that answers badly, or declines, to the questions of these numbers."""

    def answer(request: Request) -> str:
        number = int(re.findall(r"\d+", request.messages[-1]["content"])[0])
        return "This is bad." if number in numbers else "I cannot help with that." if number == 11 else "A fine answer."

    return answer


@pytest.fixture
def evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return an evaluation of a model before and after: 1, 2, 3 were broken, 3 and 4 are; 11 refuses both times."""
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})
    models = Models(monkeypatch, judge=good, old=sometimes({1, 2, 3}), new=sometimes({3, 4}))  # type: ignore[arg-type]
    assert models.answers
    run(settings(tmp_path, "model=old", judge="judge", out=tmp_path / "before"))
    run(settings(tmp_path, "model=new", judge="judge", out=tmp_path / "after", seed=1))
    return tmp_path / "before", tmp_path / "after"


def table(report: ReportDocument, caption: str) -> Table:
    return next(
        block
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Table) and block.caption == caption
    )


def test_what_changed_is_told_and_every_flip_leads_to_its_prompts(evaluations: tuple[Path, Path]) -> None:
    before, after = evaluations
    plan = plan_report(ReportSettings(after, beside=before))
    report = make_report(plan)
    settings_told = table(report, TEXTS["beside.settings"])
    assert {row[0].text: (row[1].text, row[2].text) for row in settings_told.rows} == {
        "seed": ("0", "1"),
        "model model": ("scripted old", "scripted new"),
    }
    flips = table(report, TEXTS["beside.flips"].format(label="model"))
    counts = {row[0].text: [cell.text for cell in row[1:]] for row in flips.rows}
    assert counts["breaks any principle"] == ["1", "2", "12", "1"]
    assert counts["refuses"] == ["0", "0", "12", "1"]
    assert set(counts) >= {"breaks privacy", "breaks kind-tone"}
    assert rows_of(plan, "model: breaks any principle: newly") == ["q4"]
    assert sorted(rows_of(plan, "model: breaks any principle: no longer")) == ["q1", "q2"]
    anchors = {one.anchor: one for one in report.rows}
    newly = next(row[1] for row in flips.rows if row[0].text == "breaks any principle")
    assert newly.rows is not None
    assert anchors[newly.rows].ids == ["q4"]
    measures = table(report, TEXTS["beside.table"].format(label="model"))
    found = next(row for row in measures.rows if row[0].text == "breaks any principle")
    assert [cell.text for cell in found[1:4]] == ["25.0 %", "16.7 %", "-8.3 %"]
    assert found[1].rows is not None
    assert sorted(anchors[found[1].rows].ids) == ["q1", "q2", "q3"]
    shown = [block for block in report.sections[0].blocks if isinstance(block, ShownRow)]
    assert [one.title for one in shown] == ["q4"]
    assert [turn.text for turn in shown[0].turns][-2:] == ["A fine answer.", "This is bad."]
    warnings = [one for one in report.sections[0].blocks if isinstance(one, Paragraph) and one.kind == "warning"]
    assert warnings == [], "judge and constitution are the same"
    assert "newly 1, no longer 2, of 12 shared prompts" in report.told[2]


def test_what_is_personal_in_answers_that_are_shown_is_masked_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})

    def personal(request: Request) -> str:
        first = re.findall(r"\d+", request.messages[-1]["content"])[0] == "1"
        return "This is bad: write to kim.lee@posteo.net." if first else "A fine answer."

    models = Models(monkeypatch, judge=good, old=lambda _: "A fine answer.", new=personal)
    assert models.answers
    for name, model in (("before", "old"), ("after", "new")):
        run(settings(tmp_path, f"model={model}", judge="judge", out=tmp_path / name))
    plan = plan_report(ReportSettings(tmp_path / "after", beside=tmp_path / "before"))
    report = make_report(plan)
    shown = [block for block in report.sections[0].blocks if isinstance(block, ShownRow)]
    assert shown
    assert not any("kim.lee@posteo.net" in turn.text for one in shown for turn in one.turns)
    assert sorted(one.title for one in shown) == sorted(rows_of(plan, MASKED))


def test_an_evaluation_beside_itself_differs_in_nothing(evaluations: tuple[Path, Path]) -> None:
    report = make_report(plan_report(ReportSettings(evaluations[0], beside=evaluations[0])))
    assert report.told[0] == TEXTS["beside.same-settings"]
    flips = table(report, TEXTS["beside.flips"].format(label="model"))
    assert {cell.text for row in flips.rows for cell in row[1:3]} == {"0"}


def test_prompts_that_only_one_has_and_models_alone_are_left_out_and_told(
    tmp_path: Path, evaluations: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join([lines[0].replace("Question 0", "Question 77"), *lines[1:6]]))
    wanted = replace(settings(tmp_path, "model=old", "new", judge="judge"), out=tmp_path / "third")
    run(replace(wanted, prompts=(DataSource.parse(str(other)),)))
    report = make_report(plan_report(ReportSettings(tmp_path / "third", beside=evaluations[0])))
    notes = [one.text for one in report.sections[0].blocks if isinstance(one, Paragraph) and one.kind == "note"]
    assert notes == ["5 prompts are shared; under 1 ids the words are others, and these are left out. "
                     "Nothing is compared with these models: new."]  # fmt: skip


def test_the_command_says_it_in_lines_and_takes_evaluations_only(
    evaluations: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = map(str, evaluations)
    report_command.main([after, "--beside", before, "--language", "ko"], standalone_mode=False)
    told = capsys.readouterr().out
    assert "새로 1개" in told
    assert "report.html" in told
    found = package.report(after, beside=before)
    assert found.comparison[0] == "other than before: seed, model model"
    with pytest.raises(UsageError, match="--beside compares an evaluation"):
        plan_report(ReportSettings(evaluations[0], beside=evaluations[0].parent))
