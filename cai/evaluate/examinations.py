"""The examinations of an evaluation: a table of makers, each of which gives what a plan asks for."""

from collections.abc import Callable, Sequence
from typing import Any

from cai.core.records import Prompt
from cai.evaluate.examining import Examination
from cai.evaluate.plan import EvaluatePlan

Maker = Callable[[EvaluatePlan, Sequence[Prompt]], tuple[Examination[Any], ...]]

MAKERS: tuple[Maker, ...] = ()
"""In the order in which their sections are shown."""


def examinations_of(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    """Return what is examined beside the prompts of an evaluation, which are given."""
    return tuple(examination for make in MAKERS for examination in make(plan, prompts))
