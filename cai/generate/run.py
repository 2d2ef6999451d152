"""`generate`: fill a run directory from prompts."""

from contextlib import AsyncExitStack
from dataclasses import fields
from functools import partial

from cai.core.errors import InputError, ModelError, RunError
from cai.core.records import Provenance
from cai.core.settings import plain
from cai.core.threads import in_thread
from cai.generate.dry_run import Cast
from cai.generate.estimate import Estimate, GenerateSummary, Measured, estimate
from cai.generate.maker import GenerationSpec, open_maker
from cai.generate.plan import GeneratePlan
from cai.models.tokens import open_counter
from cai.pipeline.filling import fill, open_run
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir import RunReader
from cai.rundir.origin import location


def estimate_generate(plan: GeneratePlan) -> Estimate:
    """Estimate what is left of the plan, from its first prompts and from what its run directory has finished.

    Only tokenizers are loaded; raises ModelError when one cannot be, InputError when the prompts cannot be read.
    """
    settings = plan.settings
    counter = open_counter(settings.model)
    judge_counter = (
        counter if settings.judge is None or settings.judge == settings.model else open_counter(settings.judge)
    )
    cast = Cast(plan.method, plan.judge_configuration, settings.samples, counter, judge_counter)
    return estimate(plan.prompts, plan.prompts.size, cast, _measured(plan))


async def generate(plan: GeneratePlan, watch: Watch) -> GenerateSummary:
    """Fill the plan's run directory; the same settings again go on where it stopped.

    Raises UsageError before any work is done, EngineGoneError or StoreError when the work had to stop; what was
    finished until then is kept.
    """
    settings = plan.settings
    watch.total = plan.prompts.size
    watch.stage = "loading the model"
    async with AsyncExitStack() as stack:
        judge = settings.judge or settings.model
        spec = GenerationSpec(
            settings.model, judge, settings.engine, plan.method, plan.judge_configuration, settings.samples
        )
        maker = await open_maker(spec, settings.cluster, stack, watch.say)
        watch.stage = "estimating"
        foreseen = await in_thread(partial(_foresee, plan))
        identity = plan.identity(maker.model, maker.judge)
        recorded = plain(settings) | {
            "out": location(plan.out.absolute()),
            "resolved_constitution": plan.constitution.model_dump(mode="json"),
        }
        run = await open_run(
            plan.out, identity, recorded, watch, fresh=settings.fresh, retry_failed=settings.retry_failed
        )
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
        estimated = foreseen.scaled(summary.done + summary.failed) if foreseen else None
        values = {field.name: getattr(summary, field.name) for field in fields(summary)}
        return GenerateSummary(**values, estimate=estimated)


def _foresee(plan: GeneratePlan) -> Estimate | None:
    """Return the estimate to compare a run with; None where there is none, which is no reason not to run.

    Standard input is not kept waiting for. An input that breaks off is the run's to tell, after what can be done. A
    tokenizer may be where a cluster's replicas are, and not here.
    """
    if str(plan.source) == "-":
        return None
    try:
        return estimate_generate(plan)
    except (InputError, ModelError):
        return None


def _measured(plan: GeneratePlan) -> Measured | None:
    """Return what the plan's run directory has finished; None where it holds nothing that this plan would go on with.

    The models are compared as they were named, because their full names are only known once they are open.
    """
    settings = plan.settings
    if settings.fresh:
        return None
    try:
        manifest = RunReader(plan.out).manifest
    except RunError:
        return None
    opened = ("model", "judge", "cai")
    here, there = plan.identity("", ""), manifest.identity
    same = all(there.get(name) == value for name, value in here.items() if name not in opened)
    named = plain(settings)
    if not same or any(manifest.settings.get(name) != named[name] for name in ("model", "judge")):
        return None
    return Measured(manifest.rows, manifest.usage)
