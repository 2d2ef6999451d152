"""`judge_again`: the answers of a run, or of any data set, in a new run directory with new verdicts."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from cai.cluster import Pool, open_cluster
from cai.core.records import Failure, Prompt, Row
from cai.core.threads import in_thread
from cai.judge_checking import Checked, Subject, check_first
from cai.judging.making import JudgingSpec
from cai.judging.plan import JudgePlan
from cai.method.judge_check import JudgeCheck
from cai.method.row import Judging
from cai.models.base import Engine
from cai.models.meter import UsageCounter
from cai.models.remembering import Answers, RememberingEngine
from cai.pipeline.filling import Summary, fill, open_closing, open_run
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir import Inputs, Run


async def judge_again(plan: JudgePlan, watch: Watch) -> Summary:
    """Judge every row of the source anew and leave the source untouched; raises as `generate` does."""
    settings = plan.settings
    for line in plan.source.remarks:
        watch.say(line)
    watch.total = plan.source.size()
    watch.stage = "loading the model"
    async with AsyncExitStack() as stack:
        pool = await _open_pool(plan, stack)
        engine = (
            await open_closing(plan.judge, settings.engine, stack, watch.say) if pool is None else pool.engine("judge")
        )
        plan.judge_configuration.calibration(engine)  # one of another judge's is told before any work
        run = await open_run(
            plan.out,
            plan.identity(engine.name),
            plan.recorded(),
            Inputs(plan.source.inputs, lambda: _prompts(plan)),
            watch,
            fresh=settings.fresh,
            retry_failed=settings.retry_failed,
        )
        if pool is None:
            judging = Judging(engine, plan.judge_configuration, watch.tally, settings.ranking)
            judged = partial(_judge_row, judging, run.answers)
        else:
            judged = partial(_judge_there, pool, watch.tally)
        work = partial(_judged, judged, _reading(plan))
        pipeline = Pipeline(work, run, engine.concurrency, watch.progress, watch.stop)
        check = partial(_check, plan, engine, run, watch)
        return await fill(run, pipeline, plan.source.rows(), watch, lambda: plan.source.duplicates, check)


def _prompts(plan: JudgePlan) -> Iterator[Prompt | Failure]:
    return (item if isinstance(item, Failure) else item.prompt for item in plan.source.rows())


def _reading(plan: JudgePlan) -> Callable[[Row], Row]:
    """Return what makes of a row what the judge reads of it: the row itself, or its texts as filters clean them."""
    if plan.quality is None:
        return lambda row: row
    # Only here, because filters take pyarrow with them, and `import cai` waits for none.
    from cai.data.export.filtering import cleaned_row  # noqa: PLC0415

    return partial(cleaned_row, plan.quality)


async def _open_pool(plan: JudgePlan, stack: AsyncExitStack) -> Pool | None:
    """Return replicas of the judge on the cluster that the settings name; None: it is opened here."""
    settings, cluster = plan.settings, plan.settings.cluster
    if cluster.cluster is None:
        return None
    spec = JudgingSpec(plan.judge, settings.engine, plan.judge_configuration, settings.ranking).revealed()
    pool = await open_cluster(cluster.cluster, spec, cluster.replicas, cluster.gpus_per_replica)
    stack.push_async_callback(pool.close)
    return pool


async def _judged(judge: Callable[[Row], Awaitable[Row]], read: Callable[[Row], Row], row: Row) -> Row:
    """Return the row judged anew, its texts as they were written, whatever the judge read of them."""
    judged = await judge(read(row))
    return replace(judged, prompt=row.prompt, traces=row.traces)


async def _judge_row(judging: Judging, answers: Answers, row: Row) -> Row:
    """Judge a row here; what was answered before the run was killed is not asked again."""
    return await replace(judging, engine=RememberingEngine(judging.engine, answers, row.prompt.id)).row(row)


async def _judge_there(pool: Pool, tally: UsageCounter, row: Row) -> Row:
    """Have a replica judge a row."""
    return await pool.make(row, row.provenance, tally)


async def _check(plan: JudgePlan, engine: Engine, run: Run, watch: Watch) -> JudgeCheck | None:
    """Return what is known of the judge before the first row; raises as `check_first`."""
    checked = Checked(
        settings=plan.settings.checking,
        judge=plan.judge,
        recorded=run.judge_check,
        keep=lambda found: in_thread(partial(run.note_judge_check, found)),
    )
    return await check_first(Subject(engine, None, plan.judge_configuration), checked, watch)
