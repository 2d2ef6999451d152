"""`judge_again`: copy a run's traces into a new run directory with new verdicts."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.constitution import Constitution, load_constitution
from cai.core.errors import RunError
from cai.core.paths import resolve
from cai.core.settings import plain
from cai.judging.settings import RejudgeSettings
from cai.method.judge import Bench
from cai.method.row import Judging
from cai.method.templates import Templates
from cai.models.base import Sampling
from cai.models.spec import ModelSpec
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Summary, Watch
from cai.pipeline.work import fill, judge_identity, label, open_closing, rules
from cai.rundir import Run, RunReader
from cai.rundir.checkout import beside, refresh
from cai.rundir.origin import location


@dataclass(frozen=True, slots=True)
class Plan:
    """A judgement with its files read and its defaults filled in; no model is open yet."""

    source: RunReader
    bench: Bench
    judge: ModelSpec
    out: Path


def plan_judge(settings: RejudgeSettings) -> Plan:
    """Settle what was left open from what the run itself recorded; raises UsageError."""
    source = Run.read(settings.run)
    recorded = source.manifest.settings
    constitution = (
        load_constitution(settings.constitution)
        if settings.constitution is not None
        else _recorded_constitution(settings.run, recorded)
    )
    kept = recorded.get("prompts_dir")
    directory = settings.prompts_dir or (Path(kept) if isinstance(kept, str) else None)
    named = recorded.get("judge") or recorded.get("model")
    if settings.judge is None and not isinstance(named, str):
        raise RunError(f"{location(settings.run)} does not say who judged it; name a model with --judge")
    judge = settings.judge or ModelSpec.parse(str(named))
    templates = Templates.load(constitution.language, directory)
    out = settings.out or beside(settings.run, f"judged-{constitution.name}")
    if resolve(out) == resolve(settings.run):
        raise RunError(f"{location(out)} is the run to be judged; name another directory with --out")
    if not settings.fresh:
        refresh(out)
    sampling = Sampling(max_tokens=settings.max_tokens)
    bench = Bench(constitution, templates, rules(settings.judging), sampling, settings.seed)
    return Plan(source, bench, judge, out)


def _recorded_constitution(run: Path, recorded: Mapping[str, Any]) -> Constitution:
    """Return the constitution that a run was made under; raises RunError when it was not written down, or not so."""
    try:
        return Constitution.model_validate(recorded.get("resolved_constitution"))
    except ValueError as error:  # pydantic's are of that kind
        raise RunError(
            f"{location(run)} does not say which constitution it was made under; name one with --constitution"
        ) from error


async def judge_again(settings: RejudgeSettings, plan: Plan, watch: Watch) -> Summary:
    """Judge every row of the source anew and leave the source untouched; raises as `generate` does."""
    watch.total = plan.source.count()
    watch.stage = "loading the model"
    async with AsyncExitStack() as stack:
        engine = await open_closing(plan.judge, settings.engine, stack, watch.say)
        run = Run.open(
            plan.out,
            _identity(settings, plan, engine.name),
            _recorded(settings, plan),
            fresh=settings.fresh,
            retry_failed=settings.retry_failed,
        )
        for repair in run.repairs:
            watch.say(repair)
        pipeline = Pipeline(
            Judging(engine, plan.bench, watch.tally).row, run, engine.concurrency, watch.progress, watch.stop
        )
        return await fill(run, pipeline, plan.source.rows(), watch, lambda: 0)


def _identity(settings: RejudgeSettings, plan: Plan, judge: str) -> dict[str, str]:
    templates = plan.bench.templates
    return {
        **plan.source.manifest.identity,
        "judge": judge,
        "judge-constitution": label(plan.bench.constitution),
        "judge-templates": f"{templates.language} {templates.fingerprint}",
        "judge-seed": str(settings.seed),
        **judge_identity(settings.judging),
    }


def _recorded(settings: RejudgeSettings, plan: Plan) -> dict[str, Any]:
    """Return the source's settings with what is judged otherwise, so that this run too can be judged again."""
    return {
        **plan.source.manifest.settings,
        **plain(settings),
        "run": location(settings.run.absolute()),
        "out": location(plan.out.absolute()),
        "judge": str(plan.judge),
        "constitution": plan.bench.constitution.name,
        "resolved_constitution": plan.bench.constitution.model_dump(mode="json"),
    }
