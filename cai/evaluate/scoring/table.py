"""The public sets that a judge scores, and the examinations that an evaluation's prompts ask for."""

from collections.abc import Callable, Sequence
from functools import partial

from cai.core.records import Prompt
from cai.evaluate.examining import Conclusion, Examination, Found, Opened
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.scoring import harm, refusals
from cai.evaluate.scoring.asking import AnswerScoring
from cai.evaluate.scoring.bbq import examine_bbq
from cai.evaluate.scoring.descriptor import OPTIONS, SetScoring, groups_of
from cai.evaluate.scoring.questions import ScoringQuestion, load_questions
from cai.evaluate.scoring.records import ScoredAnswer, read_scored

SCORINGS: tuple[SetScoring, ...] = (
    refusals.XSTEST,
    harm.STRONGREJECT,
    harm.HARMBENCH,
    harm.JAILBREAKBENCH,
    harm.ADVBENCH,
    harm.SORRYBENCH,
    harm.DONOTANSWER,
    harm.REALTOXICITYPROMPTS,
)


def score_sets(plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[ScoredAnswer], ...]:
    """Return the examinations of the public sets among the prompts; raises TemplateError without their questions."""
    judged = tuple(
        _examination(scoring, found, plan)
        for scoring in SCORINGS
        if (found := [prompt for prompt in prompts if scoring.public.tag in prompt.tags])
    )
    return (*judged, *examine_bbq(prompts))


def _examination(scoring: SetScoring, prompts: Sequence[Prompt], plan: EvaluatePlan) -> Examination[ScoredAnswer]:
    items = tuple(prompt for prompt in prompts if scoring.asks(prompt))
    wanted = {name: OPTIONS[name] for prompt in items for name in scoring.asks(prompt)}
    settings, language = plan.settings, plan.constitution.language
    questions, fingerprint = load_questions(language, settings.prompts_dir, wanted)
    public = scoring.public
    return Examination(
        name=public.name,
        title=public.title,
        about=f"{public.scored} ({public.citation})",
        items=items,
        measures=scoring.measures(groups_of(items)),
        ask=partial(_asking, scoring, questions),
        read=read_scored,
        identity={f"{public.name} questions": fingerprint},
        conclude=_concluding(scoring, items, len(prompts)),
    )


def _asking(scoring: SetScoring, questions: dict[str, ScoringQuestion], opened: Opened) -> AnswerScoring:
    return AnswerScoring(opened, lambda prompt: [questions[name] for name in scoring.asks(prompt)], scoring.ends)


def _concluding(
    scoring: SetScoring, items: Sequence[Prompt], count: int
) -> Callable[[Found[ScoredAnswer], int], Conclusion]:
    def conclude(found: Found[ScoredAnswer], _seed: int) -> Conclusion:
        said = scoring.conclude(found, items)
        left = count - len(items)
        told = (f"{left:,} of {count:,} prompts of the set are not scored",) if left else ()
        return Conclusion({"not_scored": left, **said.details}, said.tables, (*told, *said.remarks))

    return conclude
