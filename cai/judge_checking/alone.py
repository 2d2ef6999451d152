"""A model tested as a judge and as a gate, by itself: what `cai models check --judge` does."""

from pathlib import Path

from cai.constitution import load_constitution
from cai.judge_checking.asking import Subject, check_judge
from cai.judge_checking.pairs import find_pairs
from cai.method.judge import JudgeConfiguration
from cai.method.judge_check import JudgeCheck
from cai.method.settings import JudgeSettings
from cai.method.templates import Templates
from cai.models import EngineOptions, open_engine
from cai.models.base import Sampling
from cai.models.spec import ModelSpec

DEFAULT_CONSTITUTION = "harmless"


async def check_alone(spec: ModelSpec, options: EngineOptions, constitution: str | Path | None) -> JudgeCheck:
    """Open a model, test it under a constitution (None: `harmless`) as the commands would by default, and close it.

    Raises UsageError, ModelError among them, and EngineGoneError.
    """
    found = load_constitution(str(constitution or DEFAULT_CONSTITUTION))
    configuration = JudgeConfiguration(found, Templates.load(found.language), JudgeSettings(), Sampling(), seed=0)
    known = find_pairs(found, micro_world=spec.kind == "tiny")
    engine = await open_engine(spec, options)
    try:
        return await check_judge(Subject(engine, engine, configuration), known, options.say or (lambda _line: None))
    finally:
        await engine.close()
