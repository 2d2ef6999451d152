"""`bench_judges`: every judge is asked about every item, one judge after the other, and numbers come out."""

from contextlib import AsyncExitStack
from functools import partial
from itertools import groupby
from typing import Literal

from cai.core.threads import in_thread
from cai.judge_bench.asking import BenchAsking
from cai.judge_bench.calibrating import calibrated
from cai.judge_bench.directory import CALIBRATION, BenchDirectory
from cai.judge_bench.measuring import JudgeAnswers, compare_judges, measure_judge
from cai.judge_bench.page import bench_page
from cai.judge_bench.plan import BenchedJudge, BenchPlan
from cai.judge_bench.records import read_entry
from cai.judge_bench.results import JudgeBench, JudgeMeasures
from cai.method.judge import judges_of
from cai.method.label_calibration import write_calibrations
from cai.models.base import Engine
from cai.pipeline.filling import open_closing
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir.entries import EntryFile


async def bench_judges(plan: BenchPlan, watch: Watch) -> JudgeBench | Literal["interrupted"]:
    """Fill the plan's directory and return what was found; the same settings again go on where it stopped.

    Models are opened one after the other. Raises UsageError before any work is done, EngineGoneError or StoreError when
    the work had to stop; what was finished until then is kept.
    """
    items = plan.data.items
    watch.total = len(items) * len(plan.judges)
    async with AsyncExitStack() as stack:
        opening = partial(BenchDirectory.open, plan.out, plan.identity(), plan.recorded(), fresh=plan.settings.fresh)
        directory = await in_thread(opening)
        stack.callback(directory.close)
        await in_thread(partial(directory.write_items, items))
        answers: list[JudgeAnswers] = []
        for spec, variants in groupby(plan.judges, key=lambda judge: judge.spec):
            async with AsyncExitStack() as opened:
                watch.stage = f"loading {spec}"
                engine = await open_closing(spec, plan.settings.engine, opened, watch.say)
                for judge in variants:
                    answers.append(await _ask(plan, directory, judge, engine, watch))
                    if watch.stop.draining:
                        return "interrupted"
        watch.stage = "computing the measurements"
        return await in_thread(partial(_conclude, plan, directory, answers))


async def _ask(
    plan: BenchPlan, directory: BenchDirectory, judge: BenchedJudge, engine: Engine, watch: Watch
) -> JudgeAnswers:
    """Ask one judge about every item that it has not answered yet."""
    judge.configuration.calibration(engine)  # one of another judge's is told before any work
    await in_thread(partial(directory.require_judge, judge.label, " ".join(filter(None, (engine.name, judge.how)))))
    watch.stage = f"working: {judge.label} judges"
    items = {item.id: item for item in plan.data.items}
    asking = BenchAsking(engine, judge.configuration, items, plan.data.fingerprint, watch.tally, judge.scores)
    file = await in_thread(
        partial(
            EntryFile,
            directory.verdicts(judge.label),
            asking.entry,
            read_entry,
            retry_failed=plan.settings.retry_failed,
        )
    )
    if file.repair is not None:
        watch.say(file.repair)
    try:
        prompts = [item.prompt for item in plan.data.items]
        await Pipeline(asking.row, file, engine.concurrency, watch.progress, watch.stop).run(prompts)
    finally:
        file.close()
    return JudgeAnswers(judge.label, judges_of(engine), judge.how, file.entries, file.failures)


def _conclude(plan: BenchPlan, directory: BenchDirectory, answers: list[JudgeAnswers]) -> JudgeBench:
    """Compute every measurement, write the directory's document and images, and return what was found."""
    from cai.judge_bench.figure import draw_reliability  # noqa: PLC0415  (matplotlib, which nobody waits for)

    data = plan.data
    bench = JudgeBench(
        out=plan.out,
        data=str(plan.settings.data),
        constitution=plan.constitution.label,
        items=len(data.items),
        found=data.found,
        left_out=data.left_out,
        subset_column=data.subset_column,
        judges=tuple(_measured(plan, judge, one) for judge, one in zip(plan.judges, answers, strict=True)),
        pairs=compare_judges(data.items, answers),
    )
    files = draw_reliability(bench.judges)
    if known := [judge.calibrated for judge in bench.judges if judge.calibrated is not None]:
        files |= {CALIBRATION: write_calibrations(known)}
    directory.finish(plan.recorded(), bench.as_json(), bench_page(bench), files)
    return bench


def _measured(plan: BenchPlan, judge: BenchedJudge, answers: JudgeAnswers) -> JudgeMeasures:
    """Return what a judge is worth, with its calibration where that is asked for."""
    items = plan.data.items
    measured = measure_judge(items, answers)
    if not plan.settings.calibrate:
        return measured
    entries = [(item, answers.entries[item.id]) for item in items if item.id in answers.entries]
    return calibrated(measured, entries, answers.judges, judge.configuration.asked, plan.settings.seed)
