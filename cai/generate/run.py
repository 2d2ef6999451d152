"""`generate`: fill a run directory from prompts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields
from functools import partial
from itertools import chain, islice

from cai.cluster import RowMaker
from cai.core.errors import InputError, ModelError, RunError
from cai.core.records import Failure, Prompt, Provenance
from cai.core.settings import plain
from cai.core.threads import in_thread
from cai.generate.dry_run import DryRun
from cai.generate.estimate import SAMPLED_PROMPTS, Estimate, GenerateSummary, RowsSoFar, estimate
from cai.generate.maker import LocalMaker, open_maker
from cai.generate.plan import GeneratePlan
from cai.judge_checking import Checked, Subject, check_first
from cai.method.judge_check import JudgeCheck
from cai.models import EngineOptions, open_counter
from cai.models.jury import members_of
from cai.pipeline.filling import fill, open_run
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir import Inputs, Run, RunReader
from cai.rundir.origin import location


def estimate_generate(plan: GeneratePlan) -> Estimate:
    """Estimate what is left of the plan, from its first prompts and from what its run directory has finished.

    Only tokenizers are loaded; raises ModelError when one cannot be, InputError when the prompts cannot be read.
    """
    return _estimate(plan, list(islice(plan.prompts, SAMPLED_PROMPTS)))


def _estimate(plan: GeneratePlan, first: Sequence[Prompt | Failure]) -> Estimate:
    settings = plan.settings
    options = EngineOptions(template_options=settings.engine.template_option)
    counter, *others = (open_counter(spec, options) for spec in (settings.model, *settings.responders))
    judge_counter = (
        counter if settings.judge is None or settings.judge == settings.model else open_counter(settings.judge, options)
    )
    run = DryRun(
        method=plan.method,
        judge_configuration=plan.judge_configuration,
        samples=settings.samples,
        counter=counter,
        judge_counter=judge_counter,
        ranking=settings.ranking,
        responders=tuple(others),
        select=settings.select,
        jurors=1 if settings.judge is None else len(members_of(settings.judge)),
    )
    return estimate(first, plan.prompts.size, run, _rows_so_far(plan))


async def generate(plan: GeneratePlan, watch: Watch) -> GenerateSummary:
    """Fill the plan's run directory; the same settings again go on where it stopped.

    Raises UsageError before any work is done, EngineGoneError or StoreError when the work had to stop; what was
    finished until then is kept.
    """
    settings = plan.settings
    watch.total = plan.prompts.size
    watch.stage = "loading the model"
    async with AsyncExitStack() as stack:
        maker = await open_maker(plan.spec, settings.cluster, stack, watch.say)
        plan.judge_configuration.calibration(maker.engine("judge"))  # one of another judge's is told before any work
        watch.stage = "estimating"
        foreseen, items = await in_thread(partial(_foresee, plan))
        responders = maker.responders if isinstance(maker, LocalMaker) else ()
        identity = plan.identity(maker.model, maker.judge, responders)
        recorded = plain(settings) | {
            "out": location(plan.out.absolute()),
            "resolved_constitution": plan.constitution.model_dump(mode="json"),
            "public_sets": [one.as_json() for one in plan.prompts.public_sets],
        }
        run = await open_run(
            plan.out,
            identity,
            recorded,
            Inputs(plan.prompts.fingerprint, plan.prompts.whole),
            watch,
            fresh=settings.fresh,
            retry_failed=settings.retry_failed,
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
        if isinstance(maker, LocalMaker):
            work = partial(work, answers=run.answers)
        pipeline = Pipeline(work, run, maker.concurrency, watch.progress, watch.stop)
        check = partial(_check, plan, maker, run, watch)
        summary = await fill(run, pipeline, items, watch, lambda: plan.prompts.duplicates, check)
        estimated = foreseen.scaled(summary.done + summary.failed) if foreseen else None
        values = {field.name: getattr(summary, field.name) for field in fields(summary)}
        return GenerateSummary(**values, estimate=estimated)


async def _check(plan: GeneratePlan, maker: RowMaker[Prompt], run: Run, watch: Watch) -> JudgeCheck | None:
    """Return what is known of the judge, and of the model as a gate, before the first row; raises as `check_first`."""
    spec, rounds = plan.spec, plan.method.plan.rounds
    a_prompt = spec.ranking.comparisons(spec.responses, revised=bool(rounds))
    return await check_first(
        Subject(
            judge=maker.engine("judge") if a_prompt else None,
            gate=maker.engine("model") if plan.method.plan.gate and rounds else None,
            configuration=plan.judge_configuration,
        ),
        Checked(
            settings=plan.settings.checking,
            judge=spec.judge_spec,
            recorded=run.judge_check,
            keep=lambda found: in_thread(partial(run.note_judge_check, found)),
            comparisons=None if plan.prompts.size is None else plan.prompts.size * a_prompt,
        ),
        watch,
    )


def _foresee(plan: GeneratePlan) -> tuple[Estimate | None, Iterable[Prompt | Failure]]:
    """Return the estimate to compare a run with, and the run's input, which is read from its beginning only once.

    No estimate is no reason not to run. Standard input is not kept waiting for. An input that breaks off is the run's
    to tell, after what can be done. A tokenizer may be where a cluster's replicas are, and not here.
    """
    if str(plan.source) == "-":
        return None, plan.prompts
    rest, first = iter(plan.prompts), []
    try:
        for item in islice(rest, SAMPLED_PROMPTS):
            first.append(item)  # noqa: PERF402  (what came before an error is kept)
    except InputError as error:
        return None, chain(first, _break_off(error))
    try:
        return _estimate(plan, first), chain(first, rest)
    except ModelError:
        return None, chain(first, rest)


def _break_off(error: InputError) -> Iterator[Prompt | Failure]:
    raise error
    yield  # which makes it an iterator that raises when it is read


def _rows_so_far(plan: GeneratePlan) -> RowsSoFar | None:
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
    opened = ("model", "responders", "judge", "cai")
    here, there = plan.identity("", "", ()), manifest.identity
    same = all(there.get(name) == value for name, value in here.items() if name not in opened)
    named = plain(settings)
    if not same or manifest.inputs != plan.prompts.fingerprint:
        return None
    if any(manifest.settings.get(name) != named[name] for name in opened[:3]):
        return None
    return RowsSoFar(manifest.rows, manifest.usage)
