"""The check before a verb's first row: made once a directory, told to the person, and refused by with `--strict`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cai.core.errors import ModelError
from cai.judge_checking.asking import Subject, check_judge
from cai.judge_checking.pairs import find_pairs
from cai.method.judge_check import JudgeCheck
from cai.method.settings import CheckSettings
from cai.models.jury import members_of
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch


@dataclass(frozen=True, slots=True)
class Checked:
    """What a verb knows of its check: the judge as it was typed, what its directory has recorded, and how to keep more.

    `comparisons` are the pairs that are judged at most, where that is known.
    """

    settings: CheckSettings
    judge: ModelSpec
    recorded: JudgeCheck | None
    keep: Callable[[JudgeCheck], Awaitable[None]]
    comparisons: int | None = None


async def check_first(subject: Subject, checked: Checked, watch: Watch) -> JudgeCheck | None:
    """Return what is known of the judge, which is tested unless that is on record; None: not tested.

    Nobody is tested where the run asks nobody, where the person said so, where the judge is the script that stands for
    a model in tests, and once the person asked to stop. Raises ModelError for a judge that is unfit, with `strict`.
    """
    kinds = {one.kind for one in members_of(checked.judge)}
    exempt = not checked.settings.judge_check or kinds == {"scripted"}
    if exempt or (subject.judge is None and subject.gate is None):
        return None
    found = checked.recorded
    if found is None or not found.covers(judge=subject.judge is not None, gate=subject.gate is not None):
        found = await _check(subject, checked, watch)
        if found is None:
            return None
        await checked.keep(found)
    problems = found.problems(reasoning=subject.configuration.settings.judge_reasoning, comparisons=checked.comparisons)
    if problems and checked.settings.strict:
        raise ModelError(f"{'. And '.join(problems)}; --strict makes no row with it")
    for problem in problems:
        watch.say(f"warning: {problem}")
    return found


async def _check(subject: Subject, checked: Checked, watch: Watch) -> JudgeCheck | None:
    """Return what the test finds; None when the person asked to stop meanwhile."""
    watch.stage = "testing the judge"
    known = find_pairs(
        subject.configuration.constitution, micro_world=any(one.kind == "tiny" for one in members_of(checked.judge))
    )
    checking = asyncio.ensure_future(check_judge(subject, known, watch.say))
    leaving = asyncio.ensure_future(watch.stop.asked())
    try:
        await asyncio.wait((checking, leaving), return_when=asyncio.FIRST_COMPLETED)
        return checking.result() if checking.done() else None
    finally:
        for task in (checking, leaving):
            task.cancel()
        await asyncio.gather(checking, leaving, return_exceptions=True)
