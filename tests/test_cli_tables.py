"""What commands print of results: only what is true of them, lined up in 80 columns, and JSON of an interrupt too."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from cai.cli.constitution import constitution
from cai.cli.main import main
from cai.cli.screen import Screen
from cai.cli.tables import exit_code, print_export, print_hints, print_summary
from cai.data.export import ExportSummary, SplitCounts
from cai.pipeline.filling import Summary
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
    assert out.splitlines()[-1] == f"{load}read: cai show r"


def test_how_a_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, (print_summary, SUMMARY), (print_hints, SUMMARY, EXPORT))
    assert out == "done: 12 rows in r (12 now in 2.0 s, 99 requests, 550 tokens/s)\n"
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
    monkeypatch.setattr(importlib.import_module("cai.cli.evaluate"), "run_watched", lambda job, *, quiet: "interrupted")
    words = ["evaluate", "scripted", "--constitution", "medical", "--out", str(tmp_path / "e")]
    with pytest.raises(SystemExit) as left:
        main([*words, "--json"])
    assert left.value.code == 130
    assert orjson.loads(capsys.readouterr().out) == {"status": "interrupted", "out": str(tmp_path / "e")}
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 130
    assert capsys.readouterr().out == "Interrupted; the same command goes on from here.\n"
