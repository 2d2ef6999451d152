"""What a run would cost and what it did cost, as the command line tells it."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.cli.main import main

RUN = ["generate", "--constitution", "harmless", "--model", "scripted"]
RATES = ["--speed-prompt", "1000", "--speed-completion", "100", "--price-prompt", "2", "--price-completion", "8"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def say(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    printed = capsys.readouterr()
    assert left.value.code == code, printed.err
    return printed.err if code else printed.out


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return orjson.loads(say(capsys, *arguments, "--json"))


def cells(text: str, name: str) -> list[str]:
    """Return a table's line as its cells."""
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line.split()


def test_a_dry_run_tells_tokens_time_and_money(capsys: pytest.CaptureFixture[str]) -> None:
    dry = told(capsys, *RUN, "--limit", "10", "--dry-run", *RATES)["estimate"]
    for name in ("least", "expected", "most"):
        load = dry[name]
        assert load["seconds"] == pytest.approx(load["prompt_tokens"] / 1000 + load["completion_tokens"] / 100)
        assert load["money"] == pytest.approx((2 * load["prompt_tokens"] + 8 * load["completion_tokens"]) / 1e6)
    text = say(capsys, *RUN, "--limit", "10", "--dry-run", *RATES)
    assert cells(text, "expected")[1] == f"{dry['expected']['requests']:,}"
    assert {"time", "cost"} < set(text.split())
    assert all(sentence in text for sentence in dry["basis"])
    plain = say(capsys, *RUN, "--limit", "10", "--dry-run")
    assert "time" not in plain.partition("rows:")[2].partition("\n  ")[0]
    assert not Path("runs").exists()


@pytest.mark.slow
def test_after_a_run_the_actual_stands_beside_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    dry = told(capsys, *RUN, "--limit", "10", "--dry-run")["estimate"]
    done = told(capsys, *RUN, "--limit", "10", *RATES)
    assert done["estimate"]["rows"] == done["done"] == 10
    assert done["estimate"]["expected"]["requests"] == dry["expected"]["requests"]
    for name in ("requests", "prompt_tokens", "completion_tokens"):
        assert dry["least"][name] <= done[name] <= dry["most"][name]
    assert done["money"] == pytest.approx((2 * done["prompt_tokens"] + 8 * done["completion_tokens"]) / 1e6)
    text = say(capsys, *RUN, "--limit", "10", "--out", "again")
    assert cells(text, "estimated")[1] == f"{dry['expected']['requests']:,}"
    assert cells(text, "actual")[1] == f"{done['requests']:,}"


@pytest.mark.slow
def test_rows_that_a_run_has_finished_measure_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    pilot = told(capsys, *RUN, "--limit", "10")
    dry = told(capsys, *RUN, "--limit", "40", "--dry-run")["estimate"]
    assert dry["rows"] == 30
    assert dry["expected"]["requests"] == 3 * pilot["requests"]
    rest = told(capsys, *RUN, "--limit", "40")
    assert rest["estimate"]["expected"]["requests"] == dry["expected"]["requests"]
    assert 0.9 < rest["completion_tokens"] / dry["expected"]["completion_tokens"] < 1.1
    nothing = say(capsys, *RUN, "--limit", "40")
    assert "actual" not in nothing  # all is done, there is nothing to compare
    for change in (["--max-tokens", "9"], ["--model", "scripted?delay_ms=0"], ["--fresh"], ["--out", "elsewhere"]):
        other = told(capsys, *RUN, "--limit", "40", "--dry-run", *change)["estimate"]
        assert other["rows"] == 40
        assert any("assuming" in sentence for sentence in other["basis"])


def test_a_judge_of_its_own_is_counted_its_own_way(capsys: pytest.CaptureFixture[str]) -> None:
    dry = told(capsys, *RUN, "--judge", "openai:m@http://127.0.0.1:9/v1", "--limit", "3", "--dry-run")["estimate"]
    assert [sentence for sentence in dry["basis"] if "words" in sentence or "bytes" in sentence] == dry["basis"][:2]


def test_half_a_pair_of_rates_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, *RUN, "--dry-run", "--speed-prompt", "9", code=2)
    assert "--speed-completion is missing" in said
    assert "nan" in say(capsys, *RUN, "--dry-run", "--price-prompt", "nan", code=2)


def test_what_a_check_measured_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "models", "check", "scripted?delay_ms=2")
    assert found["prompt_tokens_per_second"] > found["tokens_per_second"] > 0
    options = cells(say(capsys, "models", "check", "scripted?delay_ms=2"), "estimate with")[2:]
    assert told(capsys, *RUN, "--dry-run", *options)["estimate"]["expected"]["seconds"] > 0
