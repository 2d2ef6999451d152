"""What commands print of results: only what is true of them, lined up in 80 columns, and JSON of an interrupt too."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from cai.cli.constitution import constitution
from cai.cli.evaluation_tables import print_evaluation
from cai.cli.main import main
from cai.cli.screen import Screen, options_table
from cai.cli.tables import exit_code, print_export, print_hints, print_summary
from cai.data.export import ExportSummary, SplitCounts
from cai.data.export.summary import Adherence
from cai.evaluate.measures import measures_of
from cai.evaluate.paper import paper_tables
from cai.evaluate.results import Calibration, Evaluation, Measurement, ModelResult, PairResult
from cai.loop.run import LoopOutcome
from cai.pipeline.filling import Summary
from cai.train.methods import METHODS
from tests.test_cli_show import cells

EMPTY = SplitCounts(0, 0, {})
EXPORT = ExportSummary(12, SplitCounts(10, 2, {}), SplitCounts(5, 0, {}), {}, {}, {}, 0, {}, {})
SUMMARY = Summary(Path("r"), "done", 12, 0, 0, 0, 12, {}, 0, 0, 99, 1_000, 0, 100, 2.0)


def printed(capsys: pytest.CaptureFixture[str], *calls: Any) -> str:
    console = Screen()
    for call, *rest in calls:
        call(console, *rest)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("sft", "preference", "load"),
    [
        (EXPORT.sft, EXPORT.preference, 'load: datasets.load_dataset("r", "sft") and "preference"; '),
        (EXPORT.sft, EMPTY, 'load: datasets.load_dataset("r", "sft"); '),
        (EMPTY, EXPORT.preference, 'load: datasets.load_dataset("r", "preference"); '),
        (EMPTY, EMPTY, ""),
    ],
)
def test_only_what_was_exported_is_there_to_load(
    sft: SplitCounts, preference: SplitCounts, load: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, (print_export, Path("r"), replace(EXPORT, sft=sft, preference=preference)))
    assert out.splitlines()[-1] == f"{load}read: cai show r{'; train: cai advise r' if load else ''}"


def test_how_a_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, (print_summary, SUMMARY), (print_hints, SUMMARY, EXPORT))
    assert out == "done: 12 rows in r (12 now in 2.0 s, 99 requests, 550 tokens/s)\n"
    assert "done: 1 row in r (" in printed(capsys, (print_summary, replace(SUMMARY, rows=1)))
    stopped = replace(SUMMARY, status="interrupted", for_good=1)
    assert printed(capsys, (print_hints, stopped, replace(EXPORT, lacking=2))).splitlines() == [
        "1 prompt failed for good and 2 rows lack a sample or verdict; mend the cause, then the same command with "
        "--retry-failed asks again",
        "The same command goes on from here.",
    ]
    assert [exit_code(one) for one in (SUMMARY, stopped, replace(SUMMARY, rows=0))] == [0, 130, 1]


def test_tables_line_up_in_any_script(tmp_path: Path) -> None:
    text = "응답은 확실하지 않은 것을 확실하다고 말하지 않으며, 모르는 것은 모른다고 말합니다. " * 3
    path = tmp_path / "하우스.yaml"
    path.write_text(
        f"name: house\nversion: '1'\nlanguage: ko\nsummary: {text}\nprinciples:\n"
        f"  - id: honest\n    text: {text}\n    critique: {text}\n    revision: {text}\n",
        encoding="utf-8",
    )
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(constitution, ["show", str(path)])
    listed = CliRunner(env={"COLUMNS": "80"}).invoke(constitution, ["list"])
    for result in (shown, listed):
        assert result.exit_code == 0, result.output
        assert max(map(cells, result.output.splitlines())) <= 80
    lines = shown.output.splitlines()
    below = lines[next(number for number, line in enumerate(lines) if line.startswith("  ")) :]
    assert len(below) > 9
    assert all(line.startswith("  ") for line in below), "a principle's texts keep their margin on every line"


def test_an_interrupted_evaluation_is_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.import_module("cai.cli.running"), "run_watched", lambda job, *, quiet: "interrupted")
    words = ["evaluate", "scripted", "--constitution", "medical", "--out", str(tmp_path / "e")]
    with pytest.raises(SystemExit) as left:
        main([*words, "--json"])
    assert left.value.code == 130
    assert orjson.loads(capsys.readouterr().out) == {"status": "interrupted", "out": str(tmp_path / "e")}
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 130
    assert capsys.readouterr().out == "Interrupted; the same command goes on from here.\n"


def test_an_interrupted_loop_is_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module("cai.loop.run")
    monkeypatch.setattr(module, "run_loop", lambda plan, reporter: LoopOutcome(plan.out, None, ("generate",)))
    words = ["loop", "--constitution", "medical", "--limit", "2", "--out", str(tmp_path / "l")]
    with pytest.raises(SystemExit) as left:
        main([*words, "--json"])
    assert left.value.code == 130
    told = orjson.loads(capsys.readouterr().out)
    assert told == {"status": "interrupted", "out": str(tmp_path / "l"), "ran": ["generate"]}
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 130
    assert capsys.readouterr().out == "Interrupted; the same command goes on from here.\n"


@pytest.mark.parametrize("models", [1, 2, 3])
def test_an_evaluation_lines_up_in_any_script(
    models: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_evaluation(Screen(), evaluation(("기준 모델", "한국어로 미세 조정한 모델", "dpo")[:models]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cells, lines)) <= 80
    rows = [line.rstrip() for line in lines if any(line.startswith(f"{measure.name} ") for measure in MEASURES)]
    assert len(rows) == len(MEASURES)
    assert len({cells(line[: line.rindex("]") + 1]) for line in rows}) == 1, "the intervals end together"
    assert sum(line.count("*") for line in rows) == 2 * models
    assert all("*10 [5.0, 15]" in line for line in rows if "*" in line)


MEASURES = [measure for measure in measures_of(("no-certain-diagnosis",)) if measure.printed]


def evaluation(labels: tuple[str, ...]) -> Evaluation:
    """Return an evaluation of models that differ from the baseline in two measures."""

    def model(label: str) -> ModelResult:
        found = tuple(Measurement(measure.name, 0.1, 0.05, 0.15, 40) for measure in MEASURES)
        differing = tuple(Measurement(measure.name, -0.1, -0.2, -0.05, 40) for measure in MEASURES[:2])
        return ModelResult(label, "tiny", found, differing, None, {"host: 시간 초과가 발생했습니다": 3}, {})

    win_rate = Measurement("win rate", 0.6, 0.5, 0.7, 15)
    return Evaluation(
        out=Path("e"),
        constitution="medical",
        judge="tiny",
        baseline=labels[0],
        prompts=40,
        understood=40,
        unusable={},
        duplicates=0,
        seed=0,
        finished="",
        measures=tuple(MEASURES),
        models=tuple(map(model, labels)),
        pairs=tuple(PairResult(label, labels[0], 10, 5, 3, {"orders": 4}, {}, {}, win_rate) for label in labels[1:]),
        ratings=tuple(Measurement(label, 1200, 1100, 1300, 15, "number") for label in labels),
        calibration=(Calibration(None, None, 100, (Measurement("Brier score", 0.5, None, None, 9),)),),
        detector=(),
    )


def lacking(model: ModelResult, name: str, count: int, unanswered: int) -> ModelResult:
    """Return the model with so many answers in a measure."""
    found = tuple(replace(one, count=count) if one.name == name else one for one in model.measurements)
    return replace(model, measurements=found, unanswered={name: unanswered})


def test_shares_of_few_answers_are_counts_and_the_unanswered_stand_beside_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    name = "breaks no-certain-diagnosis"

    made = evaluation(("base", "few", "half"))
    base, few, half = made.models
    made = replace(made, models=(lacking(base, name, 40, 0), lacking(few, name, 10, 11), lacking(half, name, 20, 20)))
    print_evaluation(Screen(), replace(made, models=made.models))
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith(name)]
    assert row[2:] == ["↓", "10-40", "0-20", "10", "[5.0,", "15]", "1", "of", "10", "10", "[5.0,", "15]"]
    (refuses,) = [line.split() for line in lines if line.startswith("refuses, benign")]
    assert refuses[3:5] == ["40", "10"], "nobody was asked about it"
    assert "unanswered" in lines[1]


def test_degrees_of_few_answers_are_no_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    made = evaluation(("base", "few"))
    made = replace(made, models=(made.models[0], lacking(made.models[1], "rubric", 4, 309)))
    print_evaluation(Screen(), made)
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("rubric")]
    assert row == ["rubric", "↑", "4-40", "0-309", "10", "[5.0,", "15]", "too", "few", "(4", "of", "313)"]
    assert "| rubric ↑ | 4-40 | 10.0 [5.0, 15.0] | too few (4 of 313) |" in paper_tables(made)["table.md"].decode()


def test_few_decided_pairs_are_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    made = evaluation(("base", "other"))
    few = replace(made.pairs[0], wins=2, losses=1, abstained={"low mass": 30})
    print_evaluation(Screen(), replace(made, pairs=(few,)))
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("other over base")]
    assert row.split()[3:] == ["2", "of", "3", "-", "-", "2", "1", "3", "low", "mass", "30"]


def test_what_gates_left_unanswered_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    kept = {"kind-tone": Adherence(0.9, 34, 6), "privacy": Adherence(0.9, 34, 146), "dose": Adherence(None, 0, 5)}
    out = printed(capsys, (print_export, Path("r"), replace(EXPORT, adherence=kept)))
    told = "kind-tone 90% of 34, 6 unanswered; privacy 34 of 180 answered; dose 0 of 5 answered"
    assert f"kept by responses, by the gates: {told}\n" in out


def test_settled_options_are_whole_and_only_those_that_are_set(capsys: pytest.CaptureFixture[str]) -> None:
    place = "/" + 40 * "long/"
    Screen().print(options_table({"prompts": place, "report_to": [], "engine_option": ["a=1", "b=2"], "limit": None}))
    out = capsys.readouterr().out
    assert place in "".join(line[15:].strip() for line in out.splitlines()[2:])
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == [
        "option",
        "engine-option",
        "prompts",
    ]
    assert "a=1 b=2" in out


def test_what_a_method_is_for_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert all(method.summary in told for method in METHODS.values())
