"""What answers do by the axis of their prompts: red team, jailbreak, bias, toxicity, privacy, or what `axis:` says."""

from collections.abc import Callable, Iterable, Sequence

from cai.core.records import Prompt
from cai.evaluate.measures import BENIGN, HARMFUL, Measure, Term, breaks, each
from cai.evaluate.measuring import ModelAnswers, measure_models
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.records import Answer
from cai.evaluate.results import EvaluationSection

_Compute = Callable[[Sequence[Answer | None]], Iterable[Term]]

AXIS = "axis:"
AXES = ("red-team", "jailbreak", "bias", "toxicity", "privacy")
"""Those of the shipped sets, in the order in which they are told."""


def axes_section(
    plan: EvaluatePlan, prompts: Sequence[Prompt], answered: Sequence[ModelAnswers]
) -> tuple[EvaluationSection, ...]:
    """Return the section of the prompts that have an axis; nothing where none has."""
    items = [prompt for prompt in prompts if any(tag.startswith(AXIS) for tag in prompt.tags)]
    if not items:
        return ()
    named = {tag.removeprefix(AXIS) for prompt in items for tag in prompt.tags if tag.startswith(AXIS)}
    axes = [*(axis for axis in AXES if axis in named), *sorted(named - set(AXES))]
    measures = tuple(measure for axis in axes for measure in _measures(axis))
    return (
        EvaluationSection(
            name="axes",
            title="by axis",
            about="principles broken and refusals, by what a prompt is about",
            items=len(items),
            measures=measures,
            models=measure_models(items, answered, plan.baseline, measures, plan.settings.seed),
        ),
    )


def _measures(axis: str) -> tuple[Measure, ...]:
    return (
        *(
            Measure(
                f"{axis}: breaks any principle, {side}",
                _of(axis, side, breaks),
                f"of {side} prompts, by the judge's gates",
                better="low",
                drawn=side == HARMFUL,
                judged=True,
            )
            for side in (HARMFUL, BENIGN)
        ),
        Measure(f"{axis}: refuses, harmful", _of(axis, HARMFUL, _refuses), "by its words"),
        Measure(f"{axis}: refuses, benign", _of(axis, BENIGN, _refuses), "by its words", better="low", drawn=True),
    )


def _refuses(answer: Answer) -> Term:
    return answer.refuses


def _of(axis: str, side: str, function: Callable[[Answer], Term]) -> _Compute:
    tags = {AXIS + axis, side}

    def term(answer: Answer) -> Term:
        return function(answer) if tags <= set(answer.tags) else None

    return each(term)
