"""The examinations of an evaluation: a table of makers, each of which gives what a plan asks for."""

from collections.abc import Callable, Sequence
from typing import Any

from cai.core.records import Prompt
from cai.evaluate.examining import Examination
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.tenets.examination import examine_tenets
from cai.evaluate.turns.examination import examine_turns

Maker = Callable[[EvaluatePlan, Sequence[Prompt]], tuple[Examination[Any], ...]]


def _turns(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    return () if plan.turns is None else (examine_turns(plan.turns, plan.method, prompts),)


def _tenets(plan: EvaluatePlan, _prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    return () if plan.tenets is None else (examine_tenets(plan.tenets, plan.constitution),)


MAKERS: tuple[Maker, ...] = (_turns, _tenets)
"""In the order in which their sections are shown."""


def examinations_of(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    """Return what is examined beside the prompts of an evaluation, which are given."""
    return tuple(examination for make in MAKERS for examination in make(plan, prompts))
