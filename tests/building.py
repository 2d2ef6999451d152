"""Small constitutions, prompts and scripts that many tests build on."""

import re
from collections.abc import Callable, Sequence

from cai.constitution import Constitution, Principle, RevisionPlan
from cai.core.records import Comparison, Message, Prompt
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.settings import JudgeSettings
from cai.method.templates import Templates
from cai.models.base import Request, Sampling
from cai.models.scripted import ScriptedEngine

TEMPLATES = Templates.load("en")

PRINCIPLES = (
    Principle(id="kind", text="The response is kind.", severity="minor"),
    Principle(id="safe", text="The response is safe.", severity="critical", weight=3.0),
    Principle(id="private", text="Secrets stay secret.", applies_to=("privacy",)),
)


def make_constitution(**changes: object) -> Constitution:
    return Constitution.model_validate(
        {"name": "small", "version": "1", "principles": [item.model_dump() for item in PRINCIPLES], **changes}
    )


def make_method(plan: RevisionPlan, *, seed: int = 0, few_shot: bool = False, **changes: object) -> Method:
    return Method(make_constitution(**changes), TEMPLATES, plan, Sampling(), few_shot, seed)


def make_judge_configuration(*, seed: int = 0, judging: JudgeSettings | None = None) -> JudgeConfiguration:
    return JudgeConfiguration(make_constitution(), TEMPLATES, judging or JudgeSettings(), Sampling(), seed)


def make_prompt(text: str = "How do I sleep better?", *tags: str, ordinal: int = 0) -> Prompt:
    return Prompt(id=f"p{ordinal}", ordinal=ordinal, messages=(user(text),), tags=tags)


def make_comparison(a: str, b: str) -> Comparison:
    return Comparison((user("How do I sleep better?"),), a, b, "response:0", "response:1")


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def shown_answers(question: str) -> tuple[str, str]:
    """Return the two answers that a judge was shown in the shipped English words."""
    found = re.search(
        r"^\(A (\w+)\) (.*)\n\n\(B \1\) (.*)\n\nWhat follows a mark with \1 is [^\n]*\Z", question, re.M | re.S
    )
    assert found, question
    return found[2], found[3]


def no_choice(_messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
    raise AssertionError("no choice was expected")


def make_engine(
    answer: Callable[[Request], str],
    choose: Callable[[tuple[Message, ...], Sequence[str]], Sequence[float]] = no_choice,
    concurrency: int = 4,
) -> ScriptedEngine:
    return ScriptedEngine(answer, choose, concurrency=concurrency)
