"""Examinations: asked of every model, kept as they come, measured beside the baseline, and another's is refused."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cai.cli.evaluation_tables import print_evaluation
from cai.core.errors import RowError, RunError
from cai.core.records import PartFailure, Prompt, Row, Usage
from cai.evaluate import examinations
from cai.evaluate.examining import Conclusion, Examination, Found, Opened
from cai.evaluate.measures import Measure, Term, each
from cai.evaluate.plan import EvaluatePlan, plan_evaluate
from cai.evaluate.results import SectionTable
from cai.evaluate.run import evaluate
from cai.models.base import Request
from cai.pipeline.watch import Watch
from tests.test_evaluate_job import Models, bad, good, run, settings

ITEMS = tuple(Prompt(f"e{n}", n, ({"role": "user", "content": f"Examined {n}"},)) for n in range(6))


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said of an item."""

    id: str
    text: str
    usage: Usage
    failed: tuple[PartFailure, ...] = ()


@dataclass(slots=True)
class Sayings:
    """Asks a model one item at a time."""

    opened: Opened
    said: dict[str, str] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        answer = await self.opened.engine.complete(Request(prompt.messages, self.opened.method.sampling, 0))
        if prompt.id == "e5":
            raise RowError("cannot be said", stage="saying", retryable=False)
        self.said[prompt.id] = answer.text
        return Row(prompt, (), (), Usage(), self.opened.provenance)

    def entry(self, row: Row) -> Said:
        return Said(row.prompt.id, self.said.pop(row.prompt.id), row.usage)


def read(value: dict[str, Any]) -> Said:
    return Said(value["id"], value["text"], Usage(**value["usage"]))


def conclude(found: Found[Said], seed: int) -> Conclusion:
    counts = tuple((label, str(len(entries))) for label, entries in found.items())
    return Conclusion({"seed": seed}, (SectionTable("kept", ("model", "items"), counts),), ("one remark",))


def is_bad(said: Said) -> Term:
    return said.text.startswith("bad")


EXAMINATION = Examination(
    name="sayings",
    title="sayings",
    about="what is said",
    items=ITEMS,
    measures=(Measure("says bad", each(is_bad), "begins so", better="low", drawn=True),),
    ask=Sayings,
    read=read,
    identity={"sayings": "first"},
    conclude=conclude,
)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, EXAMINATION)


def use(monkeypatch: pytest.MonkeyPatch, examination: Examination[Said]) -> None:
    def make(plan: EvaluatePlan, prompts: object) -> tuple[Examination[Said], ...]:
        return (examination,)

    monkeypatch.setattr(examinations, "MAKERS", (make,))


@pytest.mark.usefixtures("examined")
def test_it_is_measured_beside_the_baseline_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, judge=good, better=good, worse=bad)
    found = run(settings(tmp_path, "better", baseline="base=worse", judge="judge"))
    section = found.section("sayings")
    base, better = section.models
    assert (base.counts("says bad"), better.counts("says bad")) == ((5, 5), (5, 5))
    said = base.measurement("says bad")
    assert said is not None
    assert said.value == 1
    assert base.failures == {"saying: cannot be said": 1}
    difference = better.difference("says bad")
    assert difference is not None
    assert difference.value == -1
    told = StringIO()
    print_evaluation(Console(file=told, width=200), found)
    for words in ("sayings: what is said; 6 items", "says bad ↓", "one remark", "1 of base's items failed (sayings)"):
        assert words in told.getvalue()
    assert (tmp_path / "out/figures/sayings.svg").exists()
    assert found.as_json()["sections"][0]["details"] == {"seed": 0}


@pytest.mark.usefixtures("examined")
def test_what_was_kept_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(monkeypatch, judge=good, one=good)
    first = run(settings(tmp_path, "one", judge="judge"))
    asked = dict(models.asked)
    assert asked["one"] == 12 + 6
    again = run(settings(tmp_path, "one", judge="judge"))
    assert models.asked == asked
    assert again.as_json() == first.as_json()
    use(monkeypatch, EXAMINATION)
    monkeypatch.setattr(examinations, "MAKERS", ())
    left = run(settings(tmp_path, "one", judge="judge"))
    assert "sayings" not in {section.name for section in left.sections}
    assert not (tmp_path / "out/figures/sayings.svg").exists(), "a picture of what was not examined would mislead"


def test_one_folder_holds_one_examination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, judge=good, one=good)
    use(monkeypatch, EXAMINATION)
    run(settings(tmp_path, "one", judge="judge"))
    other = Examination(
        "sayings", "sayings", "", ITEMS, EXAMINATION.measures, Sayings, read, identity={"sayings": "second"}
    )
    use(monkeypatch, other)
    again = partial(evaluate, plan_evaluate(settings(tmp_path, "one", judge="judge")), Watch())
    with pytest.raises(RunError, match=r"sayings.*(first|second)"):
        asyncio.run(again())
