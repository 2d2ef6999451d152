"""`cai report --bench`: the judge's bench in a report, counted again from its lines; another judge's is refused."""

import re
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson
import pytest

import cai as package
from cai.core.errors import RunError, UsageError
from cai.core.shares import wilson
from cai.judge_bench import figure
from cai.method.judge import CALIBRATED
from cai.method.label_calibration import load_calibrations
from cai.report.catalogue import read_texts
from cai.report.document import Paragraph, Picture
from cai.report.plan import plan_report
from cai.report.run import make_report, rows_of
from cai.report.settings import ReportSettings
from cai.rundir import Run
from cai.rundir.lines import check_line, make_line, salt
from tests.storage import IDENTITY
from tests.test_judge_bench import benched, judging, pairs, write
from tests.test_report import make_row
from tests.test_report_people import table

TEXTS = read_texts("en")
JUDGE = "the judge"
VERDICTS = "verdicts/good.jsonl"


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "draw_reliability", lambda _: {})  # the bench's own pictures take long


@pytest.fixture
def reported_run(tmp_path: Path) -> Path:
    run = Run.open(tmp_path / "r", {**IDENTITY, "judge": JUDGE}, {})
    run.commit(make_row(1))
    run.close("done")
    return tmp_path / "r"


def lengthwise(first: str, second: str) -> float:
    """Prefer the longer answer, more surely the larger the number in it is, and be wrong where it ends with 3."""
    number = int(re.findall(r"\d+", first)[0])
    certainty = 0.5 + 0.02 * (number % 20) + 0.01
    return certainty if (len(first) > len(second)) is not (number % 10 == 3) else 1 - certainty


def made_bench(tmp_path: Path, name: str, *, calibrate: bool = False) -> Path:
    judges = {"good": judging(lengthwise, name)}
    benched(write(tmp_path / "p.jsonl", pairs(40)), tmp_path / "bench", judges, calibrate=calibrate)
    return tmp_path / "bench"


def lines_of(bench: Path) -> list[dict[str, Any]]:
    lines = (bench / VERDICTS).read_bytes().splitlines()
    return [orjson.loads(check_line(line, salt(VERDICTS)) or b"") for line in lines]


def test_a_bench_is_told_as_its_lines_say(tmp_path: Path, reported_run: Path) -> None:
    bench = made_bench(tmp_path, JUDGE)
    plan = plan_report(ReportSettings(reported_run, bench=bench))
    report = make_report(plan)
    verdicts = {line["id"]: line["verdicts"][0] for line in lines_of(bench)}
    means = {name: (one["first"] + one["second"]) / 2 for name, one in verdicts.items()}
    told = {row[0]: row[1] for row in table(report, TEXTS["bench.table"].format(label="good"))}
    right = sum(mean > 0.5 for mean in means.values())
    share = wilson(right, 40)
    assert told[TEXTS["bench.accuracy"]] == (
        f"{share.value:.0%} [{100 * share.low:.0f}, {100 * share.high:.0f}] ({right} of 40)"
    )
    same = sum((one["first"] - 0.5) * (one["second"] - 0.5) < 0 for one in verdicts.values())
    assert told[TEXTS["bench.position"]].endswith(f"({same} of 40)")
    decided = [one["probability"] for one in verdicts.values() if one["probability"] is not None]
    points = [(max(p, 1 - p), float(p > 0.5)) for p in decided]
    brier = fmean((said - true) ** 2 for said, true in points)
    assert told[TEXTS["bench.brier"]] == f"{brier:.3f}"
    bins = [[point for point in points if min(int(point[0] * 10), 9) == place] for place in range(5, 10)]
    error = sum(abs(sum(said for said, _ in one) - sum(true for _, true in one)) for one in bins) / len(points)
    assert told[TEXTS["bench.error"].format(count=len(points))] == f"{error:.3f}"
    shown = table(report, TEXTS["bench.reliability"])
    assert [row[1:] for row in shown] == [
        [str(len(one)), f"{fmean(s for s, _ in one):.2f}", f"{fmean(t for _, t in one):.2f}"] for one in bins if one
    ]
    drawn = [block for part in report.sections for block in part.blocks
             if isinstance(block, Picture) and block.caption == TEXTS["bench.figure"]]  # fmt: skip
    assert drawn[0].svg.count("<circle") == len([one for one in bins if one])
    assert sorted(rows_of(plan, "bench good: right")) == sorted(name for name, mean in means.items() if mean > 0.5)
    linked = next(one for one in report.rows if one.name == "bench good: right")
    assert linked.command == f"cai report {reported_run} --bench {bench} --rows 'bench good: right'"


def test_another_judges_bench_and_one_that_belies_its_lines_are_refused(tmp_path: Path, reported_run: Path) -> None:
    bench = made_bench(tmp_path, "another")
    with pytest.raises(UsageError, match=r"is a bench of another, and the judge of .* is "):
        make_report(plan_report(ReportSettings(reported_run, bench=bench)))
    with pytest.raises(UsageError, match=r"is no bench; give --bench a directory"):
        plan_report(ReportSettings(reported_run, bench=reported_run))
    file = bench / VERDICTS
    changed = lines_of(bench)
    for value in changed:
        value["verdicts"][0] |= {"first": 0.1, "second": 0.1, "probability": 0.1}
    file.write_bytes(b"".join(make_line(orjson.dumps(value), salt(VERDICTS)) for value in changed))
    with pytest.raises(RunError, match=r"has 0\.\d+ as accuracy of good, and its rows give 0\.0; give the same"):
        make_report(plan_report(ReportSettings(reported_run, bench=bench)))


def test_without_a_bench_the_report_says_how_to_make_one(reported_run: Path) -> None:
    written = package.report(reported_run)
    text = written.out.read_text()
    assert TEXTS["well.no-bench"] in text
    assert f"cai report {reported_run} --bench BENCH" in text


def test_what_a_calibration_was_worth_is_told_where_it_was_used(tmp_path: Path) -> None:
    bench = made_bench(tmp_path, JUDGE, calibrate=True)
    file = bench / "calibration.json"
    used = load_calibrations(file)
    run = Run.open(
        tmp_path / "r", {**IDENTITY, "judge": JUDGE, CALIBRATED: used.fingerprint}, {"judge_calibration": str(file)}
    )
    run.commit(make_row(1))
    run.close("done")
    (worth,) = orjson.loads(file.read_bytes())["calibrations"]
    report = make_report(plan_report(ReportSettings(tmp_path / "r", bench=bench)))
    expected = {
        TEXTS["well.temperature"]: f"{worth['temperature']:.2f}",
        TEXTS["well.fitted"]: str(worth["fitted"]),
        TEXTS["well.tested"]: str(worth["tested"]),
        TEXTS["well.error-before-after"]: f"{worth['error_before']:.3f} → {worth['error_after']:.3f}",
        TEXTS["well.brier-before-after"]: f"{worth['brier_before']:.3f} → {worth['brier_after']:.3f}",
    }
    assert {row[0]: row[1] for row in table(report, TEXTS["well.calibrated"])} == expected
    of_the_bench = {row[0]: row[1] for row in table(report, TEXTS["bench.table"].format(label="good"))}
    assert expected.items() <= of_the_bench.items(), "computed again from the bench's lines"
    file.write_bytes(file.read_bytes().replace(b'"weights": [', b'"weights": [9'))
    told = [block.text for part in make_report(plan_report(ReportSettings(tmp_path / "r"))).sections
            for block in part.blocks if isinstance(block, Paragraph)]  # fmt: skip
    assert TEXTS["well.calibration-gone"].format(used=used.fingerprint) in told


def test_without_a_calibration_the_labels_are_told_to_be_as_sure_as_the_judge_said(reported_run: Path) -> None:
    told = [block.text for part in make_report(plan_report(ReportSettings(reported_run))).sections
            for block in part.blocks if isinstance(block, Paragraph)]  # fmt: skip
    assert f"{TEXTS['not-measured']} {TEXTS['well.not-calibrated']}" in told
