"""`cai report` on a loop: its table says what the stages' files say, and a stage's numbers lead to the stage's rows."""

import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

from cai.cli.loop import _settings, loop
from cai.core.identity import fingerprint
from cai.loop.recorded import record_loop
from cai.loop.settings import LoopSettings
from cai.loop.stage_records import StageRecord, write_record
from cai.report.catalogue import read_texts
from cai.report.document import Commands, Table
from cai.report.plan import plan_report
from cai.report.run import make_report, rows_of
from cai.report.settings import ReportSettings
from cai.rundir.claim import claim
from cai.rundir.documents import make_document
from cai.train.folder import FORMAT, MANIFEST
from tests.test_report import make_row, write_run
from tests.test_report_people import table

TEXTS = read_texts("en")
GENERATED = {"model": "tiny", "judge": "tiny", "samples": "1"}
TRAINED = {"method": "sft", "model": "tiny", "after generate": fingerprint(GENERATED)}
LOSSES = (2.5, 1.75, 1.24994)


def write_loop(path: Path) -> Path:
    with closing(claim(path, "loop")) as owned:
        write_record(owned, "generate", StageRecord("done", GENERATED))
        write_record(owned, "sft", StageRecord("started", TRAINED))
    write_run(path / "generate", [make_row(i, gate=0.9 if i < 3 else 0.1) for i in range(12)])
    found = {"format": FORMAT, "method": "sft", "base": "tiny", "steps": 1203, "loss": LOSSES[-1], "tokens": 45678}
    with closing(claim(path / "sft", "training")) as owned:
        owned.write(MANIFEST, make_document(found))
    return path


def test_a_loops_table_is_what_its_stages_files_say(tmp_path: Path) -> None:
    path = write_loop(tmp_path / "loop")
    plan = plan_report(ReportSettings(path))
    report = make_report(plan)
    stages = {file.stem: json.loads(file.read_bytes()) for file in (path / "stages").glob("*.json")}
    told = {row[0]: row for row in table(report, TEXTS["loop.stages"])}
    assert list(told) == ["generate", "sft"]
    for name, record in stages.items():
        assert told[name][2] == TEXTS[f"terms.{record['status']}"]
        assert told[name][4] == fingerprint(record["identity"])
    assert told["sft"][3] == "method: sft; model: tiny"
    recorded = json.loads((path / "sft" / MANIFEST).read_bytes())
    (trained,) = table(report, TEXTS["loop.trained"])
    assert trained[2:] == [f"{recorded['steps']:,}", f"{recorded['loss']:.4f}", f"{recorded['tokens']:,}"]
    assert trained[2:] == ["1,203", "1.2499", "45,678"]
    anchors = {one.anchor: one.name for one in report.rows}
    cells = next(block for section in report.sections for block in section.blocks
                 if isinstance(block, Table) and block.caption == TEXTS["loop.trained"]).rows[0]  # fmt: skip
    assert {anchors[str(cell.rows)] for cell in cells[2:]} == {f"sft/{MANIFEST}"}


def test_a_stages_numbers_lead_to_its_rows(tmp_path: Path) -> None:
    path = write_loop(tmp_path / "loop")
    plan = plan_report(ReportSettings(path))
    report = make_report(plan)
    found = next(one for one in report.rows if one.name == "generate/gates broken: kind")
    assert found.command == f"cai report {path} --rows 'generate/gates broken: kind'"
    assert list(rows_of(plan, found.name)) == list(found.ids) == ["p000", "p001", "p002"]


def test_the_loops_own_command_line_makes_the_same_settings(tmp_path: Path) -> None:
    path = write_loop(tmp_path / "loop")
    plan = plan_report(ReportSettings(path))
    (unknown,) = (section for section in make_report(plan).sections if section.anchor == "again")
    assert [block.lines for block in unknown.blocks if isinstance(block, Commands)] == [[f"cai report {path}"]]
    typed = ["--constitution", "medical", "--judge", "tiny,scripted", "--sft-epochs", "2.5", "--second-max-steps", "7"]
    typed += ["--beta", "0.3", "--labels", "hard", "--no-judge-check", "--stop", "a b", "--stop", "c", "--limit", "9"]
    wanted = settings_of(loop.make_context("loop", [*typed, "--out", str(path)]).params)
    with closing(claim(path, "loop")) as owned:
        record_loop(owned, wanted)
    (known,) = (section for section in make_report(plan).sections if section.anchor == "again")
    (commands,) = (block.lines for block in known.blocks if isinstance(block, Commands))
    again = shlex.split(commands[0])
    assert again[:2] == ["cai", "loop"]
    assert settings_of(loop.make_context("loop", again[2:]).params) == wanted
    assert len(again) == 2 + len(typed) + 2, "nothing that is usual is typed"


def settings_of(options: dict[str, Any]) -> LoopSettings:
    plain = {name: value for name, value in options.items() if name not in ("dry_run", "quiet", "as_json", "config")}
    return _settings(plain)
