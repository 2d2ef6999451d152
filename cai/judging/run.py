"""`judge_again`: copy a run's traces into a new run directory with new verdicts."""

from contextlib import AsyncExitStack

from cai.judging.plan import JudgePlan
from cai.method.row import Judging
from cai.pipeline.filling import Summary, fill, open_closing, open_run
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir import Inputs


async def judge_again(plan: JudgePlan, watch: Watch) -> Summary:
    """Judge every row of the source anew and leave the source untouched; raises as `generate` does."""
    settings = plan.settings
    watch.total = plan.source.count()
    watch.stage = "loading the model"
    async with AsyncExitStack() as stack:
        engine = await open_closing(plan.judge, settings.engine, stack, watch.say)
        run = await open_run(
            plan.out,
            plan.identity(engine.name),
            plan.recorded(),
            Inputs(plan.source.inputs, lambda: (row.prompt for row in plan.source)),
            watch,
            fresh=settings.fresh,
            retry_failed=settings.retry_failed,
        )
        pipeline = Pipeline(
            Judging(engine, plan.judge_configuration, watch.tally).row,
            run,
            engine.concurrency,
            watch.progress,
            watch.stop,
        )
        return await fill(run, pipeline, plan.source.rows(), watch, lambda: 0)
