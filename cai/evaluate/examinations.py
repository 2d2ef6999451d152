"""The examinations of an evaluation: a table of makers, each of which gives what a plan asks for."""

from collections.abc import Callable, Sequence
from typing import Any

from cai.core.records import Prompt
from cai.evaluate.examining import Examination
from cai.evaluate.harness.examination import examine_harness
from cai.evaluate.measuring import ModelAnswers
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.results import EvaluationSection
from cai.evaluate.scoring.axes import axes_section
from cai.evaluate.scoring.rubrics import rubric_section
from cai.evaluate.scoring.table import score_sets
from cai.evaluate.tenets.examination import examine_tenets
from cai.evaluate.turns.examination import examine_turns
from cai.evaluate.usefulness.alignment_cost import cost_of_alignment
from cai.evaluate.usefulness.bertscore import with_bertscore
from cai.evaluate.usefulness.consistency import consistency
from cai.evaluate.usefulness.drift import drift
from cai.evaluate.usefulness.references import with_references
from cai.evaluate.usefulness.refusing import refusing
from cai.evaluate.usefulness.sycophancy import sycophancy

Maker = Callable[[EvaluatePlan, Sequence[Prompt]], tuple[Examination[Any], ...]]


def _turns(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    return () if plan.turns is None else (examine_turns(plan.turns, plan.method, prompts),)


def _tenets(plan: EvaluatePlan, _prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    return () if plan.tenets is None else (examine_tenets(plan.tenets, plan.constitution),)


def _harness(plan: EvaluatePlan, _prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    return examine_harness(plan)


MAKERS: tuple[Maker, ...] = (
    score_sets,
    _turns,
    _tenets,
    with_references,
    with_bertscore,
    sycophancy,
    consistency,
    cost_of_alignment,
    _harness,
)
"""In the order in which their sections are shown."""


Reader = Callable[[EvaluatePlan, Sequence[Prompt], Sequence[ModelAnswers]], tuple[EvaluationSection, ...]]

READERS: tuple[Reader, ...] = (axes_section, rubric_section, drift, refusing)
"""Sections for which nothing is asked: they are read from the answers as they are."""


def examinations_of(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[Any], ...]:
    """Return what is examined beside the prompts of an evaluation, which are given."""
    return tuple(examination for make in MAKERS for examination in make(plan, prompts))


def sections_of(
    plan: EvaluatePlan, prompts: Sequence[Prompt], answered: Sequence[ModelAnswers]
) -> list[EvaluationSection]:
    """Return what is read from the answers alone."""
    return [section for read in READERS for section in read(plan, prompts, answered)]
