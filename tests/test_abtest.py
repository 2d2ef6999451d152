"""Tests of two models on users: what may be said at any look, how many units that takes, and what is recommended."""

import json
from collections.abc import Iterable, Mapping
from math import comb, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cai
from cai.abtest.sequential import Difference, half_width, incident_evidence, log_evidence, look
from cai.abtest.sizes import Effect, incident_units, units_daily, units_once
from cai.annotation.feedback import COLUMNS
from cai.cli.main import main
from cai.core.errors import InputError, UsageError
from cai.core.shares import holm

RUNS = 400
DAYS = 30


def shares(random: np.random.Generator, share: float, daily: int) -> np.ndarray:
    """Return the shares at the end of each day, a line a test."""
    return random.binomial(daily, share, (RUNS, DAYS)).cumsum(axis=1) / (daily * np.arange(1, DAYS + 1))


def found_at_any_look(old: float, new: float, daily: int, scale: float) -> float:
    """Return the share of simulated tests in which a difference is found on any day; `daily` units each arm."""
    random = np.random.default_rng(7)
    before, after = shares(random, old, daily), shares(random, new, daily)
    units = daily * np.arange(1, DAYS + 1)
    variance = (before * (1 - before) + after * (1 - after)) / units
    widths = np.vectorize(lambda one: half_width(one, scale))(variance)
    return float((np.abs(after - before) > widths).any(axis=1).mean())


def test_daily_looks_raise_false_alarms_as_seldom_as_they_say_and_find_what_was_planned_for() -> None:
    old, new = 0.70, 0.73
    daily = units_daily(Effect.of_shares(old, new), 0.5, 0.05, 0.8) // (2 * DAYS) + 1
    assert found_at_any_look(old, old, daily, new - old) <= 0.05
    assert found_at_any_look(old, new, daily, new - old) >= 0.78, "0.8 less what 400 tests leave open"


def test_intervals_for_one_look_are_not_for_many() -> None:
    random = np.random.default_rng(7)
    units = 100 * np.arange(1, DAYS + 1)
    before, after = shares(random, 0.7, 100), shares(random, 0.7, 100)
    error = np.sqrt((before * (1 - before) + after * (1 - after)) / units)
    assert (np.abs(after - before) > 1.96 * error).any(axis=1).mean() > 0.2, "what the sequential test is there for"


def test_one_look_is_the_size_of_the_textbook() -> None:
    # Fleiss, Levin and Paik 2003, table A.4 (without correction): 0.25 against 0.40 at 5 %, power 90 %: 203 an arm.
    assert units_once(Effect.of_shares(0.25, 0.40), 0.5, 0.05, 0.9) == pytest.approx(2 * 203, abs=3)
    random = np.random.default_rng(1)
    arm = units_once(Effect.of_shares(0.70, 0.73), 0.5, 0.05, 0.8) // 2
    old, new = random.binomial(arm, 0.70, 4000) / arm, random.binomial(arm, 0.73, 4000) / arm
    pooled = (old + new) / 2
    assert np.mean(np.abs(new - old) > 1.96 * np.sqrt(pooled * (1 - pooled) * 2 / arm)) == pytest.approx(0.8, abs=0.025)


def alarms(random: np.random.Generator, new: float, old: float, daily: int, days: int) -> float:
    """Return in how many of 200 simulated tests the guard rail rings on any day."""
    rang = 0
    for _ in range(200):
        counts = random.poisson([new * daily, old * daily], (days, 2)).cumsum(axis=0)
        rang += any(incident_evidence(int(more), int(less), 0.5) >= 20 for more, less in counts)
    return rang / 200


def test_the_guard_rail_rings_for_twice_as_many_incidents_and_seldom_for_as_many() -> None:
    units = incident_units(0.002, 0.004, 0.5, 0.05, 0.8)
    daily = units // (2 * DAYS) + 1
    random = np.random.default_rng(3)
    assert alarms(random, 0.002, 0.002, daily, DAYS) <= 0.05
    assert alarms(random, 0.004, 0.002, daily, DAYS) >= 0.75
    assert alarms(random, 0.001, 0.002, daily, DAYS) == 0.0, "fewer incidents are no alarm"


@given(st.integers(1, 40), st.floats(0.1, 0.9))
def test_bets_on_incidents_are_fair_at_the_edge_and_lose_below(total: int, share: float) -> None:
    ways = [comb(total, new) for new in range(total + 1)]

    def expected(truth: float) -> float:
        return sum(
            way * truth**new * (1 - truth) ** (total - new) * incident_evidence(new, total - new, share)
            for new, way in enumerate(ways)
        )

    assert incident_evidence(0, 0, share) == pytest.approx(1.0)
    assert expected(share) == pytest.approx(1.0, rel=1e-6)
    assert expected(share / 2) <= 1.0 + 1e-9
    assert expected((1 + share) / 2) >= 1.0 - 1e-9


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.floats(1e-3, 1))
def test_an_interval_leaves_zero_out_exactly_where_the_evidence_is_strong(
    value: float, variance: float, scale: float
) -> None:
    found, mirrored = Difference(value, variance), Difference(-value, variance)
    seen, other = look(found, scale), look(mirrored, scale)
    assert (seen.low, seen.high) == pytest.approx((-other.high, -other.low))
    assert seen.p == pytest.approx(other.p)
    if abs(log_evidence(found, scale) - np.log(20)) > 1e-9:
        is_strong = log_evidence(found, scale) > np.log(20)
        assert (seen.is_better or seen.is_worse) == is_strong
        assert (seen.p < 0.05) == is_strong


def test_without_variance_nothing_is_said() -> None:
    seen = look(Difference(0.0, 0.0), 0.05)
    assert not isfinite(seen.low)
    assert not seen.is_better
    assert not seen.is_worse


@given(st.lists(st.floats(0, 1), max_size=8))
def test_several_p_values_only_rise_and_keep_their_order(values: list[float]) -> None:
    found = holm(values)
    assert all(corrected >= value for corrected, value in zip(found, values, strict=True))
    ranked = [corrected for _, corrected in sorted(zip(values, found, strict=True))]
    assert ranked == sorted(ranked)
    assert len(values) != 1 or found == values


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def deployed(
    done: tuple[float, float], incidents: tuple[float, float], users: int = 4000, **more: Any
) -> list[dict[str, Any]]:
    """Return feedback of users, half of them with each model, over 20 days."""
    random = np.random.default_rng(11)
    rows = []
    for user in range(users):
        arm = user % 2
        rows.append(
            {
                "model": ("old", "new")[arm],
                "user": f"u{user}",
                "time": f"2026-10-{1 + 20 * user // users:02}T12:00:00Z",
                "completed": bool(random.random() < done[arm]),
                "incident": bool(random.random() < incidents[arm]),
                "engagement": float(random.normal(5 + arm, 2)),
                **more,
            }
        )
    return rows


@pytest.mark.parametrize(
    ("done", "incidents", "what"),
    [
        ((0.60, 0.70), (0.01, 0.01), "ship"),
        ((0.60, 0.70), (0.01, 0.05), "roll back"),
        ((0.70, 0.60), (0.01, 0.01), "roll back"),
        ((0.60, 0.60), (0.01, 0.01), "hold"),
    ],
)
def test_what_is_recommended(
    tmp_path: Path, done: tuple[float, float], incidents: tuple[float, float], what: str
) -> None:
    cai.plan_abtest(completion="0.60:0.70", incidents="0.01:0.05", out=tmp_path / "plan.json")
    file = write(tmp_path / "feedback.jsonl", deployed(done, incidents))
    found = cai.read_abtest(file, new="new", old="old", primary="completion", plan=tmp_path / "plan.json")
    assert found.recommendation.what == what, found.recommendation
    (completion,) = (one for one in found.readings if one.metric == "completion")
    assert len(completion.looks) == 20
    assert completion.difference == pytest.approx(done[1] - done[0], abs=0.05)


def test_too_few_units_go_on_and_so_does_a_test_without_a_plan(tmp_path: Path) -> None:
    cai.plan_abtest(completion="0.60:0.62", out=tmp_path / "plan.json")
    file = write(tmp_path / "feedback.jsonl", deployed((0.60, 0.60), (0.01, 0.01)))
    planned = cai.read_abtest(file, new="new", old="old", primary="completion", plan=tmp_path / "plan.json")
    assert planned.recommendation.what == "go on"
    assert "units are left of the" in planned.recommendation.reasons[-1]
    unplanned = cai.read_abtest(file, new="new", old="old", primary="completion")
    assert unplanned.recommendation.what == "go on"
    assert any("no --plan" in line for line in unplanned.remarks)


def test_what_is_liked_is_not_shipped_unseen(tmp_path: Path) -> None:
    rows = []
    for number in range(400):
        first, second = ("new", "old") if number % 2 else ("old", "new")
        liked = "new" if number % 4 else "old"
        rows.append({"preferred": "a" if liked == first else "b", "model_a": first, "model_b": second})
    found = cai.read_abtest(write(tmp_path / "f.jsonl", rows), new="new", old="old")
    assert found.recommendation.what == "go on"
    assert found.readings[0].new.mean == 0.75, "whichever place it had"
    assert found.readings[0].always is not None
    assert found.readings[0].always.is_better
    assert "record `incident`" in found.recommendation.reasons[-1]


@pytest.mark.parametrize("told_of", ["old", "new"])
def test_nothing_is_shipped_whose_incidents_were_not_recorded(tmp_path: Path, told_of: str) -> None:
    rows = deployed((0.60, 0.75), (0.01, 0.01))
    for row in rows:
        if row["model"] != told_of:
            del row["incident"]
    found = cai.read_abtest(write(tmp_path / "f.jsonl", rows), new="new", old="old", primary="completion")
    assert found.recommendation.what == "go on"
    assert "of the new model's 2,000 units" in found.recommendation.reasons[-1]


def test_incidents_that_alone_were_recorded_say_nothing_of_who_had_none(tmp_path: Path) -> None:
    rows = deployed((0.60, 0.75), (0.03, 0.03))
    for row in rows:
        if not row["incident"]:
            del row["incident"]
    found = cai.read_abtest(write(tmp_path / "f.jsonl", rows), new="new", old="old", primary="completion")
    assert found.recommendation.what == "go on"
    assert "also where there was none" in found.recommendation.reasons[-1]


def test_each_model_needs_its_share_of_the_units_that_were_planned(tmp_path: Path) -> None:
    planned = cai.plan_abtest(completion="0.60:0.70", incidents="0.01:0.05", share=0.25, out=tmp_path / "plan.json")
    needed = next(size.daily for size in planned.sizes if size.metric == "incidents")
    rows = deployed((0.60, 0.80), (0.0, 0.0), users=2 * needed)
    for row in rows[: needed + needed // 2]:  # of the old model half of its three quarters
        row.update({"model": "new"})
    found = cai.read_abtest(
        write(tmp_path / "f.jsonl", rows), new="new", old="old", primary="completion", plan=tmp_path / "plan.json"
    )
    assert found.incidents is not None
    assert found.incidents.new_units + found.incidents.old_units == 2 * needed
    assert found.incidents.left == pytest.approx(needed - found.incidents.old_units / 0.75, abs=1)
    assert found.recommendation.what != "ship"


def test_incidents_of_one_user_are_one(tmp_path: Path) -> None:
    rows = deployed((0.6, 0.6), (0.0, 0.0), users=4000)
    rows += [{**rows[1], "incident": True} for _ in range(7)]
    found = cai.read_abtest(write(tmp_path / "f.jsonl", rows), new="new", old="old", primary="completion")
    assert found.incidents is not None
    assert (found.incidents.new, found.incidents.new_rows, found.incidents.is_alarm) == (1, 7, False)
    assert any("7 rows of 1 units of the new model" in line for line in found.remarks)


def test_a_test_is_read_at_the_level_that_was_planned(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    cai.plan_abtest(completion="0.60:0.70", alpha=0.01, out=plan)
    file = write(tmp_path / "f.jsonl", deployed((0.60, 0.70), (0.01, 0.01)))
    found = cai.read_abtest(file, new="new", old="old", primary="completion", plan=plan)
    assert found.incidents is not None
    assert found.incidents.alarm_at == pytest.approx(100)
    other = cai.read_abtest(file, new="new", old="old", primary="completion", plan=plan, alpha=0.05)
    assert other.incidents is not None
    assert other.incidents.alarm_at == pytest.approx(20)
    assert "the plan is for false alarms in 0.01 of tests, and this is read at 0.05" in other.remarks


def test_rows_of_one_user_are_one_unit(tmp_path: Path) -> None:
    few = [row for row in deployed((0.2, 0.8), (0.0, 0.0), users=80) for _ in range(50)]
    found = cai.read_abtest(write(tmp_path / "f.jsonl", few), new="new", old="old", primary="completion")
    (one,) = (one for one in found.readings if one.metric == "completion")
    assert (one.new.count, one.old.count) == (40, 40)


def test_rows_that_cannot_be_used_are_counted_with_their_cause(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        *deployed((0.6, 0.6), (0.0, 0.0), users=100),
        {"model": "other", "completed": True},
        {"completed": True},
        {"model": "new", "completed": "perhaps"},
        {"model": "new"},
        {"preferred": "nobody", "model_a": "new", "model_b": "old"},
        {"preferred": ["new"], "model_a": "new", "model_b": "old"},
        {"preferred": "a", "model_a": "new", "model_b": "other"},
        {"model": "new", "completed": True, "time": "yesterday"},
    ]
    found = cai.read_abtest(write(tmp_path / "f.jsonl", rows), new="new", old="old")
    assert sum(found.unusable.values()) == 8
    assert len(found.unusable) == 7
    assert found.rows == 108
    with pytest.raises(InputError, match="has none of the columns"):
        cai.read_abtest(write(tmp_path / "g.jsonl", [{"x": 1}]), new="new", old="old")
    with pytest.raises(InputError, match="no row that can be used"):
        cai.read_abtest(write(tmp_path / "h.jsonl", [{"completed": True}]), new="new", old="old")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "plan for something"),
        ({"completion": "0.7"}, "write OLD:NEW"),
        ({"completion": "0.7:0.7"}, "and differ"),
        ({"completion": "0.7:1.7"}, "between 0 and 1"),
        ({"incidents": "0.2:0.1"}, "the second rate is the greater"),
        ({"preference": 0.5}, "not one half"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cai.plan_abtest(**options)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    plan, picture = tmp_path / "plan.json", tmp_path / "looks.png"
    shown: dict[str, Any] = {"thumb": "up", "preferred": "tie", "model_a": "old", "model_b": "new"}
    file = write(tmp_path / "f.jsonl", deployed((0.60, 0.70), (0.01, 0.01), rating=4, **shown))
    with pytest.raises(SystemExit) as ended:
        main(
            ["abtest", "plan", "--completion", "0.6:0.7", "--preference", "0.55", "--daily", "200", "--out", str(plan)]
        )
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert "completion" in told.out
    assert f"cai abtest read FEEDBACK --plan {plan}" in told.err
    read = ["abtest", "read", str(file), "--new", "new", "--old", "old", "--primary", "completion", "--plan", str(plan)]
    with pytest.raises(SystemExit) as ended:
        main([*read, "--figure", str(picture)])
    assert ended.value.code == 0
    assert "ship: completion" in " ".join(capsys.readouterr().out.split())
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        main([*read, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["recommendation"]["what"] == "ship"
    assert found["readings"][0]["metric"] == "preference"


def test_it_reads_the_table_that_feedback_import_reads(tmp_path: Path) -> None:
    file = tmp_path / "feedback.csv"
    rows = [
        f"How?,{'Well.' if n % 2 else 'So.'},{('new', 'old')[n % 2]},u{n},2026-11-0{1 + n % 9}T10:00:00Z,{n % 3 > 0}"
        for n in range(90)
    ]
    file.write_text("\n".join(["prompt,response,model,user,time,thumb", *rows]), encoding="utf-8")
    assert {"response", "model", "user", "time", "thumb"} <= set(COLUMNS)
    found = cai.read_abtest(file, new="new", old="old", primary="thumbs")
    (thumbs,) = found.readings
    assert (thumbs.new.count, thumbs.old.count, len(thumbs.looks) > 1) == (45, 45, True)
    assert not found.unusable
