"""HealthBench (arXiv 2505.08775): scores by theme and by axis, of the criteria that were asked about each answer.

An answer's score is `cai.method.rubric`'s; a theme's is the mean over its prompts, an axis's the mean of the scores
under the criteria of that axis alone, over the prompts that have some worth points. Means are clipped to [0, 1]. The
authors' grader says that a criterion is met or not; here it counts by how likely that is, and not without an answer.
"""

from collections.abc import Mapping, Sequence

from cai.constitution import Constitution
from cai.core.records import Criterion, Prompt
from cai.data.public_sets import PUBLIC_SETS
from cai.data.public_sets.descriptor import of_prefix
from cai.evaluate.measures import UNANSWERED, Measure, Term, each
from cai.evaluate.measuring import ModelAnswers, measure_models
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.records import Answer
from cai.evaluate.results import EvaluationSection
from cai.method.rubric import rubric_score

SET = PUBLIC_SETS["healthbench"]
_AXIS, _THEME = "axis:", "theme:"


def rubric_section(
    plan: EvaluatePlan, prompts: Sequence[Prompt], answered: Sequence[ModelAnswers]
) -> tuple[EvaluationSection, ...]:
    """Return the section of the set's prompts; nothing where there are none."""
    items = [prompt for prompt in prompts if SET.tag in prompt.tags and prompt.rubric]
    if not items:
        return ()
    measures = _measures(items, plan.constitution)
    return (
        EvaluationSection(
            name=SET.name,
            title=SET.title,
            about=f"{SET.scored} ({SET.citation})",
            items=len(items),
            measures=measures,
            models=measure_models(items, answered, plan.baseline, measures, plan.settings.seed),
        ),
    )


def _measures(items: Sequence[Prompt], constitution: Constitution) -> tuple[Measure, ...]:
    """Return the measures of everything, of each theme, and of each axis, by how their tags say it."""
    rubrics = {prompt.id: _Rubric(prompt, constitution) for prompt in items}
    themes = sorted({theme for prompt in items if (theme := of_prefix(prompt.tags, _THEME)) is not None})
    axes = sorted({tag for prompt in items for one in prompt.rubric for tag in one.tags if tag.startswith(_AXIS)})
    return (
        _measure("score", rubrics, None, None, "of all prompts", drawn=True),
        *(_measure(f"theme {theme}", rubrics, theme, None, "of its prompts") for theme in themes),
        *(_measure(axis.replace(":", " "), rubrics, None, axis, "under its criteria alone") for axis in axes),
    )


class _Rubric:
    """The criteria of a prompt, and where they are among those that were asked about its answers."""

    def __init__(self, prompt: Prompt, constitution: Constitution) -> None:
        asked = constitution.criteria(prompt.rubric)
        self._own = range(len(asked) - len(prompt.rubric), len(asked))
        self._criteria = prompt.rubric
        self.theme = of_prefix(prompt.tags, _THEME)

    def score(self, answer: Answer, axis: str | None) -> Term:
        """Return the score under the criteria of an axis, or under all; None where none of them is worth points."""
        met = [answer.criteria[place].probability for place in self._own]
        chosen = [
            (criterion, probability)
            for criterion, probability in zip(self._criteria, met, strict=True)
            if axis is None or axis in criterion.tags
        ]
        if not any(_worth(criterion) for criterion, _ in chosen):
            return None
        value = rubric_score([one for one, _ in chosen], [probability for _, probability in chosen]).value
        return UNANSWERED if value is None else value


def _worth(criterion: Criterion) -> bool:
    return criterion.points > 0


def _measure(
    name: str, rubrics: Mapping[str, _Rubric], theme: str | None, axis: str | None, about: str, *, drawn: bool = False
) -> Measure:
    def term(answer: Answer) -> Term:
        rubric = rubrics[answer.id]
        return rubric.score(answer, axis) if theme in (None, rubric.theme) and answer.criteria else None

    return Measure(name, each(term), about, better="high", drawn=drawn, judged=True, graded=True, clipped=True)
