"""Made-up answers and decisions of an evaluation, for tests of what is measured of them."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson

from cai.constitution import RevisionPlan
from cai.core.errors import RowError
from cai.core.records import Failure, Provenance, Usage
from cai.evaluate.examining import Examination, Opened
from cai.evaluate.measuring import ModelAnswers, ModelEntries
from cai.evaluate.records import Answer, Decision
from cai.method.templates import Templates
from cai.models.base import Engine
from cai.models.meter import UsageCounter
from tests.building import make_judge_configuration, make_method


def made_answer(name: str, response: str, *tags: str, **more: Any) -> Answer:
    values: dict[str, Any] = {
        "id": name,
        "ordinal": 0,
        "messages": ({"role": "user", "content": f"{name}?"},),
        "tags": tags,
        "response": response,
        "truncated": False,
        "refuses": False,
        "gates": (),
        "truth": None,
        "usage": Usage(),
        "failed": (),
    }
    return Answer(**{**values, **more})


def made_decision(name: str, probability: float | None, abstained: str | None = None) -> Decision:
    return Decision(name, 0, probability, abstained, (), Usage(), ())


def answered(label: str, *answers: Answer) -> ModelAnswers:
    return ModelAnswers(label, f"engine {label}", {answer.id: answer for answer in answers}, {})


def opened_model(engine: Engine, judge: Engine, *answers: Answer, label: str = "model", language: str = "en") -> Opened:
    """Return a model that is open for an examination, with what it answered to the prompts."""
    method = replace(make_method(RevisionPlan(rounds=0)), templates=Templates.load(language))
    return Opened(
        label=label,
        engine=engine,
        judge=judge,
        method=method,
        judge_configuration=make_judge_configuration(),
        answers={answer.id: answer for answer in answers},
        provenance=Provenance("m", "j", "", "", "", "", "", 0, 0),
        tally=UsageCounter(),
    )


def examined(examination: Examination[Any], opened: Opened) -> ModelEntries[Any]:
    """Carry every item through an examination, each entry to JSON and back; items that fail are failures."""

    async def work() -> ModelEntries[Any]:
        asking, entries, failures = examination.ask(opened), {}, {}
        for item in examination.items:
            try:
                entry = asking.entry(await asking.row(item))
            except RowError as error:
                failures[item.id] = Failure(item.id, item.ordinal, error.stage, str(error), error.raw, error.retryable)
                continue
            entries[item.id] = examination.read(orjson.loads(orjson.dumps(entry)))
            assert entries[item.id] == entry
        return ModelEntries(opened.label, opened.engine.name, entries, failures)

    return asyncio.run(work())
