"""`evaluate`: models answer, the judge looks at every answer and every pair of answers, and figures come out."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from cai.core.errors import InputError
from cai.core.records import Failure, Prompt, Provenance, Row
from cai.core.threads import in_thread
from cai.evaluate.answering import Answering, make_answer
from cai.evaluate.calibration import calibrate, check_detector
from cai.evaluate.comparing import Comparing, make_decision
from cai.evaluate.contestants import Contestant
from cai.evaluate.drawn import draw
from cai.evaluate.folder import Folder
from cai.evaluate.measure import Answered, Compared, align, causes, measure_models, measure_pairs, pairs_of, rate
from cai.evaluate.part import Named, Part
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.records import read_answer, read_decision
from cai.evaluate.referee import Referee
from cai.evaluate.results import Evaluation
from cai.models.base import Engine
from cai.pipeline.filling import open_closing
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.tiny.referee import Oracle

Entry = TypeVar("Entry", bound=Named)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps of one evaluation share."""

    plan: EvaluatePlan
    folder: Folder
    judge: Engine
    referee: Referee
    prompts: tuple[Prompt, ...]
    watch: Watch


async def evaluate(plan: EvaluatePlan, watch: Watch) -> Evaluation | Literal["interrupted"]:
    """Fill the plan's directory and return what was found; the same settings again go on where it stopped.

    Models are opened one after the other, beside the judge. Raises UsageError before any work is done, EngineGoneError
    or StoreError when the work had to stop; what was finished until then is kept.
    """
    items = await in_thread(lambda: list(plan.prompts))
    prompts = tuple(item for item in items if isinstance(item, Prompt))
    broken = [item for item in items if isinstance(item, Failure)]
    if not prompts:
        raise InputError(f"none of the {len(items)} rows is a prompt; {broken[0].id}: {broken[0].cause}")
    pairs = pairs_of([one.label for one in plan.contestants])
    watch.total = len(prompts) * (len(plan.contestants) + len(pairs))
    watch.stage = "loading the judge"
    async with AsyncExitStack() as stack:
        judge = await open_closing(plan.judge, plan.settings.engine, stack, watch.say)
        identity = plan.identity(judge.name)
        folder = Folder.open(plan.out, identity, plan.recorded(), fresh=plan.settings.fresh)
        stack.callback(folder.close)
        work = _Work(plan, folder, judge, Oracle(), prompts, watch)
        answered: list[Answered] = []
        for contestant in plan.contestants:
            answered.append(await _answer(work, contestant))
            if watch.stop.draining:
                return "interrupted"
        by_label = {model.label: model for model in answered}
        compared: list[Compared] = []
        for a, b in pairs:
            compared.append(await _compare(work, by_label[a], by_label[b]))
            if watch.stop.draining:
                return "interrupted"
        watch.stage = "computing the figures"
        return _conclude(work, answered, compared, broken)


async def _answer(work: _Work, contestant: Contestant) -> Answered:
    """Let one model answer every prompt and the judge look at each answer."""
    watch, plan = work.watch, work.plan
    async with AsyncExitStack() as stack:
        engine = work.judge
        if contestant.spec != plan.judge:
            watch.stage = f"loading {contestant.label}"
            engine = await open_closing(contestant.spec, work.plan.settings.engine, stack, watch.say)
        work.folder.require_model(contestant.label, engine.name)
        watch.stage = f"working: {contestant.label} answers"
        part = Part(
            work.folder.responses(contestant.label),
            lambda row: make_answer(row, work.referee),
            read_answer,
            retry_failed=work.plan.settings.retry_failed,
        )
        provenance = _provenance(work, engine.name)
        answering = Answering(engine, work.judge, plan.method, provenance, watch.tally, part.entries)
        await _fill(part, answering.row, engine.concurrency, work.prompts, watch)
    return Answered(contestant.label, engine.name, part.entries, part.failures)


async def _compare(work: _Work, a: Answered, b: Answered) -> Compared:
    """Let the judge compare two models' answers wherever both have one."""
    watch = work.watch
    watch.stage = f"working: {a.label} beside {b.label}"
    provenance = _provenance(work, f"{a.engine} and {b.engine}")
    comparing = Comparing(
        work.judge, work.plan.judge_configuration, (a.label, b.label), (a.answers, b.answers), provenance, watch.tally
    )
    part = Part(
        work.folder.comparisons(a.label, b.label),
        make_decision,
        read_decision,
        retry_failed=work.plan.settings.retry_failed,
    )
    both = [prompt for prompt in work.prompts if prompt.id in a.answers and prompt.id in b.answers]
    watch.progress.skipped += len(work.prompts) - len(both)
    await _fill(part, comparing.row, work.judge.concurrency, both, watch)
    return Compared(a.label, b.label, part.entries, part.failures)


async def _fill(
    part: Part[Entry],
    row: Callable[[Prompt], Awaitable[Row]],
    concurrency: int,
    prompts: Sequence[Prompt],
    watch: Watch,
) -> None:
    """Carry the prompts through `row` into the part, which is closed whatever happens."""
    if part.repair is not None:
        watch.say(part.repair)
    try:
        await Pipeline(row, part, concurrency, watch.progress, watch.stop).run(prompts)
    finally:
        part.close()


def _conclude(
    work: _Work, answered: Sequence[Answered], compared: Sequence[Compared], broken: Sequence[Failure]
) -> Evaluation:
    """Compute every figure, write the directory's document and images, and return what was found."""
    plan, seed = work.plan, work.plan.settings.seed
    principles, labels = plan.constitution.principles, [model.label for model in answered]
    aligned = [align(work.prompts, model) for model in answered]
    evaluation = Evaluation(
        out=plan.out,
        constitution=plan.constitution.label,
        judge=work.judge.name,
        baseline=plan.baseline,
        prompts=len(work.prompts),
        understood=sum(
            any(answer is not None and answer.reading is not None for answer in answers)
            for answers in zip(*aligned, strict=True)
        ),
        unusable=causes(broken),
        duplicates=plan.prompts.duplicates,
        seed=seed,
        finished="",
        models=measure_models(work.prompts, answered, plan.baseline, principles, seed),
        pairs=measure_pairs(work.prompts, compared, seed),
        ratings=rate(work.prompts, labels, compared, seed),
        calibration=tuple(calibrate(aligned, principles, work.referee, seed)),
        detector=check_detector(aligned, seed),
    )
    evaluation = replace(evaluation, finished=work.folder.finished_at(evaluation.as_json()))
    work.folder.picture(draw(evaluation))
    work.folder.finish(plan.recorded(), evaluation.as_json())
    return evaluation


def _provenance(work: _Work, model: str) -> Provenance:
    constitution, templates = work.plan.constitution.fingerprint, work.plan.method.templates.fingerprint
    return Provenance(
        model=model,
        judge=work.judge.name,
        constitution=constitution,
        judge_constitution=constitution,
        templates=templates,
        judge_templates=templates,
        inputs=work.plan.prompts.fingerprint,
        seed=work.plan.settings.seed,
        judge_seed=work.plan.settings.seed,
    )
