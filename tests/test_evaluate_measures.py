"""A measure of somebody's own stands wherever cai's own stand, and one that cannot be computed is told."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest
from rich.console import Console

import cai
from cai.cli.evaluation_tables import print_evaluation
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.shares import sign_test
from cai.evaluate import chart, measures
from cai.evaluate.chart import ChartRow
from cai.evaluate.measures import Measure, Term, as_markdown, each, measures_of, register
from cai.evaluate.measuring import Columns, tabulate
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Discordance, Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.models.spec import LabelledModel
from cai.pipeline.watch import Watch

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Measure]]:
    """Return what is registered, which is nothing before a test and after it."""
    found: dict[str, Measure] = {}
    monkeypatch.setattr(measures, "_registered", found)
    return found  # type: ignore[return-value]


def run(tmp_path: Path) -> Evaluation:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_bytes(b"".join(orjson.dumps({"prompt": f"Question {n}?"}) + b"\n" for n in range(6)))
    settings = EvaluateSettings(
        (LabelledModel.parse("one=scripted"), LabelledModel.parse("two=scripted?delay_ms=1")),
        "harmless",
        prompts=(DataSource.parse(str(prompts)),),
        out=tmp_path / "out",
    )
    found = asyncio.run(evaluate(plan_evaluate(settings), Watch()))
    assert isinstance(found, Evaluation)
    return found


def test_a_measure_from_outside_is_in_the_table_the_file_and_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cai.register_measure(
        "asks back",
        lambda answer: answer.response.endswith("?"),
        about="ends with a question",
        better="low",
        drawn=True,
    )
    drawn: list[str] = []
    draw = chart.draw_chart

    def noting(rows: list[ChartRow], caption: str) -> dict[str, bytes]:
        drawn.extend(row.title.replace("\xa0", " ") for row in rows)
        return draw(rows, caption)

    monkeypatch.setattr(chart, "draw_chart", noting)
    found = run(tmp_path)
    assert found.measurement("asks back", "two").count == 6
    told = StringIO()
    print_evaluation(Console(file=told, width=200), found)
    (line,) = [line for line in told.getvalue().splitlines() if line.startswith("asks back")]
    assert line.split()[:4] == ["asks", "back", "↓", "6"], "its name, which way is better, and how many were answered"
    assert "asks back ↓ (n = 6)" in drawn
    result = orjson.loads((tmp_path / "out" / "evaluation.json").read_bytes())["result"]
    assert result["measures"][-1] == {
        "name": "asks back",
        "about": "ends with a question",
        "unit": "share",
        "better": "low",
        "drawn": True,
        "printed": True,
        "principle": None,
        "judged": False,
        "clipped": False,
        "corrected": False,
    }
    assert result["models"][0]["measurements"][-1]["name"] == "asks back"


def test_what_is_measured_is_listed_in_the_order_of_the_table(tmp_path: Path) -> None:
    found = run(tmp_path)
    names = [measure.name for measure in found.measures]
    assert names[:5] == ["answered", "breaks any principle", "breaks any principle, harmful",
                         "breaks any principle, benign", "breaks no-help-with-harm"]  # fmt: skip
    measured = [measurement.name for measurement in found.models[0].measurements]
    assert measured == [name for name in names if name in measured]
    assert [name for name in names if name not in measured and not name.startswith("oracle: ")] == [
        "breaks any principle, harmful", "breaks any principle, benign", "rubric", "criteria without an answer",
        "refuses, benign", "refuses, harmful",
    ]  # fmt: skip


def test_every_measure_says_what_it_is_and_the_documentation_says_it_too() -> None:
    assert as_markdown() in (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8"), as_markdown()
    rows = as_markdown().splitlines()[2:]
    assert len(rows) == len(measures_of(["PRINCIPLE"]))
    assert "| `breaks PRINCIPLE` | share | low | yes | by the judge's gate, above 0.5 |" in rows
    assert all(cell.strip() for row in rows for cell in (row.split("|")[1], row.split("|")[2], row.split("|")[5]))


def test_a_name_belongs_to_one_measure(registered: dict[str, Measure]) -> None:
    with pytest.raises(UsageError, match="a measure called 'words' already"):
        register(Measure("words", each(lambda _: True), ""))
    register(Measure("mine", each(lambda _: True), "first"))
    register(Measure("mine", each(lambda _: False), "second"))
    assert [measure.about for measure in registered.values()] == ["second"], "a notebook's cell may run again"
    register(Measure("breaks kind-tone", each(lambda _: True), ""))
    with pytest.raises(UsageError, match="two measures are called 'breaks kind-tone'"):
        measures_of(["kind-tone"])


@pytest.mark.parametrize(
    ("unusable", "says"),
    [({"name": " "}, "a name of one line"), ({"name": "a\nb"}, "a name of one line"), ({"unit": "number"}, "drawn")],
)
def test_a_measure_that_cannot_be_shown_is_none(unusable: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Measure(**{"name": "mine", "compute": each(lambda _: 1.0), "about": "", "drawn": True, **unusable})


def fails(_: object) -> Term:
    raise KeyError("nothing")


@pytest.mark.parametrize(
    ("compute", "says"),
    [
        (lambda answers: [True] * (len(answers) - 1), "gave 5 terms for 6 prompts"),
        (each(lambda _: 3.2), "is a share, and 3.2 does not lie between 0 and 1"),
        (each(lambda _: (2.0, 1.0)), "does not lie between 0 and 1"),
        (each(lambda _: float("nan")), "which cannot be averaged"),
        (each(lambda _: cast("Any", "yes")), "gave 'yes': a term is"),
        (each(fails), "failed: KeyError: 'nothing'"),
    ],
)
@pytest.mark.slow
def test_what_a_measure_may_not_give_is_told_and_nothing_is_lost(tmp_path: Path, compute: Any, says: str) -> None:
    register(Measure("mine", compute, ""))
    with pytest.raises(UsageError, match="the measure 'mine' .*" + says.replace("(", r"\(")):
        run(tmp_path)
    answers = (tmp_path / "out" / "responses" / "one.jsonl").read_bytes()
    register(Measure("mine", each(lambda _: True), ""))
    assert run(tmp_path).measurement("mine", "one").value == 1
    assert (tmp_path / "out" / "responses" / "one.jsonl").read_bytes() == answers, "nothing was asked again"


def test_a_unit_is_a_share_or_a_number() -> None:
    with pytest.raises(UsageError, match="the measure 'm' has the unit 'percent'; there are share and number"):
        Measure("m", each(lambda _: 1), "a test", unit="percent")  # type: ignore[arg-type]


def test_what_the_judge_says_is_a_count_of_prompts_or_said_to_be_none() -> None:
    half = Measure("half", lambda entries: [0.5 for _ in entries], "a mean of degrees", judged=True)
    with pytest.raises(UsageError, match=r"the measure 'half' gave 0\.5, which is no yes or no; make it graded=True"):
        tabulate([None], [half])
    assert tabulate([None], [replace(half, graded=True)]).yes_or_no == (False,)


def test_prompts_for_a_difference_find_it_as_often_as_they_say() -> None:
    # Of pairs that differ, half say each: 20 of 100; 4 points more the one way than the other.
    needed = Discordance(10, 10, 1.0, 100).prompts_for(0.04)
    assert needed is not None
    random = np.random.default_rng(5)
    counts = random.multinomial(needed, [0.12, 0.08, 0.80], 1000)
    found = [sign_test(int(one), int(other)) <= 0.05 for one, other, _ in counts]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04), "exact, so a little less often than the normal one"
    assert Discordance(0, 0, 1.0, 0).prompts_for(0.02) is None
    assert Discordance(0, 0, 1.0, 50).prompts_for(0.02) is not None


def test_of_many_principles_chance_is_taken_out() -> None:
    random = np.random.default_rng(2)
    starred = 0
    for _ in range(60):
        measures = tuple(
            Measure(f"breaks {n}", each(lambda answer: None), "x", principle=str(n), better="low") for n in range(12)
        )
        one, other = (random.random((80, 12)) < 0.3 for _ in range(2))
        columns = [
            Columns(measures, (True,) * 12, (0,) * 12, np.asarray(values, float), np.ones((80, 12)))
            for values in (one, other)
        ]
        starred += any(p <= 0.05 for p in columns[0].p_values(columns[1]).values())
    assert starred <= 6, "of 60 evaluations of equal models, 5 % at most say that some principle differs"
