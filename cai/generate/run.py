"""`generate`: fill a run directory from prompts."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cai import __version__
from cai.constitution import Constitution, RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.errors import InputError, ModelError, RunError, UsageError
from cai.core.records import Provenance
from cai.core.resources import shipped
from cai.core.settings import plain
from cai.data import InputOptions, Prompts, open_prompts
from cai.generate.dry_run import Cast
from cai.generate.estimate import Estimate, Measured, estimate
from cai.generate.maker import Recipe, open_maker
from cai.generate.settings import GenerateSettings
from cai.method.critique import Method
from cai.method.judge import Bench
from cai.method.templates import Templates
from cai.models.base import Sampling
from cai.models.tokens import open_counter
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Summary, Watch
from cai.pipeline.work import fill, judge_identity, label, rules
from cai.rundir import Run, RunReader
from cai.rundir.checkout import refresh
from cai.rundir.origin import location


@dataclass(frozen=True, slots=True)
class Plan:
    """A generation with its files read and its defaults filled in; no model is open yet."""

    constitution: Constitution
    method: Method
    bench: Bench
    prompts: Prompts
    source: DataSource
    out: Path


def plan_generate(settings: GenerateSettings) -> Plan:
    """Read the constitution, the templates and the prompts' shape, and settle what was left open; raises UsageError."""
    constitution = load_constitution(settings.constitution)
    templates = Templates.load(constitution.language, settings.prompts_dir)
    chosen = {"schedule": settings.schedule, "rounds": settings.rounds, "gate": settings.gate}
    revision = RevisionPlan.model_validate(
        constitution.revision.model_dump() | {name: value for name, value in chosen.items() if value is not None}
    )
    if settings.few_shot and not constitution.exemplars:
        raise UsageError(f"--few-shot needs exemplars, and the constitution {constitution.name} has none")
    source = settings.prompts
    if source is None:
        if constitution.prompts is None:
            raise UsageError(f"the constitution {constitution.name} names no seed prompts; give some with --prompts")
        source = DataSource.parse(str(shipped("prompts", "sets", f"{constitution.prompts}.jsonl")))
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens)
    out = settings.out if settings.out is not None else Path("runs") / constitution.name
    if not settings.fresh:
        refresh(out)
    return Plan(
        constitution=constitution,
        method=Method(constitution, templates, revision, sampling, settings.few_shot, settings.seed),
        bench=Bench(constitution, templates, rules(settings.judging), sampling, settings.seed),
        prompts=open_prompts(
            source,
            InputOptions(settings.prompt_column, settings.limit, settings.shuffle, settings.seed, split=settings.split),
        ),
        source=source,
        out=out,
    )


async def estimate_generate(plan: Plan, settings: GenerateSettings) -> Estimate:
    """Estimate what is left of the plan, from its first prompts and from what its run directory has finished.

    Only tokenizers are loaded; raises ModelError when one cannot be, InputError when the prompts cannot be read.
    """
    counter = open_counter(settings.model)
    judge_counter = (
        counter if settings.judge is None or settings.judge == settings.model else open_counter(settings.judge)
    )
    cast = Cast(plan.method, plan.bench, settings.samples, counter, judge_counter)
    return await estimate(plan.prompts, plan.prompts.size, cast, _measured(settings, plan))


async def generate(settings: GenerateSettings, plan: Plan, watch: Watch) -> Summary:
    """Fill the plan's run directory; the same settings again go on where it stopped.

    Raises UsageError before any work is done, EngineGoneError or StoreError when the work had to stop; what was
    finished until then is kept.
    """
    watch.total = plan.prompts.size
    watch.stage = "loading the model"
    async with AsyncExitStack() as stack:
        judge = settings.judge or settings.model
        recipe = Recipe(settings.model, judge, settings.engine, plan.method, plan.bench, settings.samples)
        maker = await open_maker(recipe, settings.cluster, stack, watch.say)
        watch.stage = "estimating"
        foreseen = await _foresee(settings, plan)
        identity = _identity(settings, plan, maker.model, maker.judge)
        recorded = plain(settings) | {
            "out": location(plan.out.absolute()),
            "resolved_constitution": plan.constitution.model_dump(mode="json"),
        }
        run = Run.open(plan.out, identity, recorded, fresh=settings.fresh, retry_failed=settings.retry_failed)
        for repair in run.repairs:
            watch.say(repair)
        constitution = plan.constitution.fingerprint
        provenance = Provenance(
            model=maker.model,
            judge=maker.judge,
            constitution=constitution,
            judge_constitution=constitution,
            templates=plan.method.templates.fingerprint,
            judge_templates=plan.method.templates.fingerprint,
            inputs=plan.prompts.fingerprint,
            seed=settings.seed,
            judge_seed=settings.seed,
        )
        work = partial(maker.make, provenance=provenance, tally=watch.tally)
        pipeline = Pipeline(work, run, maker.concurrency, watch.progress, watch.stop)
        summary = await fill(run, pipeline, plan.prompts, watch, lambda: plan.prompts.duplicates)
        return replace(summary, estimate=foreseen.scaled(summary.done + summary.failed) if foreseen else None)


async def _foresee(settings: GenerateSettings, plan: Plan) -> Estimate | None:
    """Return the estimate to compare a run with; None where there is none, which is no reason not to run.

    Standard input is not kept waiting for. An input that breaks off is the run's to tell, after what can be done. A
    tokenizer may be where a cluster's replicas are, and not here.
    """
    if str(plan.source) == "-":
        return None
    try:
        return await estimate_generate(plan, settings)
    except (InputError, ModelError):
        return None


def _measured(settings: GenerateSettings, plan: Plan) -> Measured | None:
    """Return what the plan's run directory has finished; None where it holds nothing that this plan would go on with.

    The models are compared as they were named, because their full names are only known once they are open.
    """
    if settings.fresh:
        return None
    try:
        manifest = RunReader(plan.out).manifest
    except RunError:
        return None
    opened = ("model", "judge", "cai")
    here, there = _identity(settings, plan, "", ""), manifest.identity
    same = all(there.get(name) == value for name, value in here.items() if name not in opened)
    named = plain(settings)
    if not same or any(manifest.settings.get(name) != named[name] for name in ("model", "judge")):
        return None
    return Measured(manifest.rows, manifest.usage)


def _identity(settings: GenerateSettings, plan: Plan, model: str, judge: str) -> dict[str, str]:
    """Return everything that must stay the same while one run directory is filled, in words a person can compare.

    `--limit` is not among it: a longer run goes on from a shorter one.
    """
    templates = plan.method.templates
    values = {
        "cai": __version__,
        "constitution": label(plan.constitution),
        "templates": f"{templates.language} {templates.fingerprint}",
        "model": model,
        "judge": judge,
        "prompts": plan.prompts.fingerprint,
        "prompt-column": settings.prompt_column,
        "shuffle": settings.shuffle,
        "seed": settings.seed,
        "samples": settings.samples,
        "schedule": plan.method.plan.schedule,
        "rounds": plan.method.plan.rounds,
        "gate": plan.method.plan.gate,
        "few-shot": settings.few_shot,
        "temperature": settings.temperature,
        "top-p": settings.top_p,
        "max-tokens": settings.max_tokens,
        **judge_identity(settings.judging),
    }
    return {name: str(value) for name, value in values.items()}
