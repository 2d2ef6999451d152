"""`evaluate`: models answer, the judge looks at every answer and every pair of answers, and figures come out."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from cai import __version__
from cai.constitution import Constitution, RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.core.records import Failure, Prompt, Provenance, Row
from cai.core.resources import shipped
from cai.core.settings import plain
from cai.data import InputOptions, Prompts, open_prompts
from cai.evaluate.answering import Answering, make_answer
from cai.evaluate.calibration import calibrate, check_detector
from cai.evaluate.comparing import Comparing, make_decision
from cai.evaluate.contestants import Contestant, contestants
from cai.evaluate.drawn import draw
from cai.evaluate.folder import Folder
from cai.evaluate.measure import Answered, Compared, align, causes, measure_models, measure_pairs, pairs_of, rate
from cai.evaluate.part import Named, Part
from cai.evaluate.records import read_answer, read_decision
from cai.evaluate.referee import Referee
from cai.evaluate.results import Evaluation
from cai.evaluate.settings import EvaluateSettings
from cai.method.critique import Method
from cai.method.judge import Bench
from cai.method.templates import Templates
from cai.models.base import Engine, Sampling
from cai.models.spec import ModelSpec
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.pipeline.work import judge_identity, label, open_closing, rules
from cai.tiny.referee import Oracle

Entry = TypeVar("Entry", bound=Named)


@dataclass(frozen=True, slots=True)
class EvaluatePlan:
    """An evaluation with its files read and its defaults filled in; no model is open yet."""

    constitution: Constitution
    method: Method
    bench: Bench
    prompts: Prompts
    contestants: tuple[Contestant, ...]
    baseline: str | None
    judge: ModelSpec
    out: Path


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps of one evaluation share."""

    settings: EvaluateSettings
    plan: EvaluatePlan
    folder: Folder
    judge: Engine
    referee: Referee
    prompts: tuple[Prompt, ...]
    watch: Watch


def plan_evaluate(settings: EvaluateSettings) -> EvaluatePlan:
    """Read the constitution, the templates and the prompts, and settle what was left open; raises UsageError."""
    constitution = load_constitution(settings.constitution)
    templates = Templates.load(constitution.language, settings.prompts_dir)
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens)
    models, baseline = contestants(settings.models, settings.baseline)
    # The order is drawn, so that a limit takes harmful and benign prompts alike.
    options = InputOptions(limit=settings.limit, shuffle=True, seed=settings.seed)
    plan = RevisionPlan(rounds=0)
    return EvaluatePlan(
        constitution=constitution,
        method=Method(constitution, templates, plan, sampling, few_shot=False, seed=settings.seed),
        bench=Bench(constitution, templates, rules(settings.judging), sampling, settings.seed),
        prompts=open_prompts(_source(settings.prompts, constitution), options),
        contestants=models,
        baseline=baseline,
        judge=settings.judge or models[0].spec,
        out=settings.out if settings.out is not None else Path("evaluations") / constitution.name,
    )


def _source(named: DataSource | None, constitution: Constitution) -> DataSource:
    """Return where the prompts are: a shipped set by name, or whatever the user names."""
    sets = shipped("prompts", "evaluation")
    names = sorted(path.stem for path in sets.glob("*.jsonl"))
    wanted = str(constitution.prompts) if named is None else str(named)
    if named is None and constitution.prompts not in names:
        raise UsageError(f"no evaluation prompts ship for {constitution.name}; give some with --prompts FILE")
    if wanted in names and not Path(wanted).exists():
        return DataSource.parse(str(sets / f"{wanted}.jsonl"))
    if wanted.isidentifier() and not Path(wanted).exists():
        raise UsageError(f"there are no prompts {wanted}; give --prompts a file or one of {', '.join(names)}")
    return named or DataSource.parse(wanted)


async def evaluate(settings: EvaluateSettings, plan: EvaluatePlan, watch: Watch) -> Evaluation | Literal["interrupted"]:
    """Fill the plan's directory and return what was found; the same settings again go on where it stopped.

    Models are opened one after the other, beside the judge. Raises UsageError before any work is done, EngineGoneError
    or StoreError when the work had to stop; what was finished until then is kept.
    """
    items = list(plan.prompts)
    prompts = tuple(item for item in items if isinstance(item, Prompt))
    broken = [item for item in items if isinstance(item, Failure)]
    if not prompts:
        raise InputError(f"none of the {len(items)} rows is a prompt; {broken[0].id}: {broken[0].cause}")
    pairs = pairs_of([one.label for one in plan.contestants])
    watch.total = len(prompts) * (len(plan.contestants) + len(pairs))
    watch.stage = "loading the judge"
    async with AsyncExitStack() as stack:
        judge = await open_closing(plan.judge, settings.engine, stack, watch.say)
        identity = _identity(settings, plan, judge.name)
        folder = Folder.open(plan.out, identity, _recorded(settings, plan), fresh=settings.fresh)
        stack.callback(folder.close)
        work = _Work(settings, plan, folder, judge, Oracle(), prompts, watch)
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
            engine = await open_closing(contestant.spec, work.settings.engine, stack, watch.say)
        work.folder.require_model(contestant.label, engine.name)
        watch.stage = f"working: {contestant.label} answers"
        part = Part(
            work.folder.responses(contestant.label),
            lambda row: make_answer(row, work.referee),
            read_answer,
            retry_failed=work.settings.retry_failed,
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
        work.judge, work.plan.bench, (a.label, b.label), (a.answers, b.answers), provenance, watch.tally
    )
    part = Part(
        work.folder.comparisons(a.label, b.label),
        make_decision,
        read_decision,
        retry_failed=work.settings.retry_failed,
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
    plan, seed = work.plan, work.settings.seed
    principles, labels = plan.constitution.principles, [model.label for model in answered]
    aligned = [align(work.prompts, model) for model in answered]
    evaluation = Evaluation(
        out=plan.out,
        constitution=label(plan.constitution),
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
    work.folder.finish(_recorded(work.settings, plan), evaluation.as_json())
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
        seed=work.settings.seed,
        judge_seed=work.settings.seed,
    )


def _identity(settings: EvaluateSettings, plan: EvaluatePlan, judge: str) -> dict[str, str]:
    """Return everything that must stay the same while one directory is filled, in words a person can compare.

    Neither `--limit` nor the models are among it: more prompts and more models go on from fewer. Each label's model has
    to stay the same, which the directory sees to.
    """
    templates = plan.method.templates
    values = {
        "cai": __version__,
        "constitution": label(plan.constitution),
        "templates": f"{templates.language} {templates.fingerprint}",
        "judge": judge,
        "prompts": plan.prompts.fingerprint,
        "seed": settings.seed,
        "temperature": settings.temperature,
        "top-p": settings.top_p,
        "max-tokens": settings.max_tokens,
        **judge_identity(settings.judging),
    }
    return {name: str(value) for name, value in values.items()}


def _recorded(settings: EvaluateSettings, plan: EvaluatePlan) -> dict[str, Any]:
    """Return the settings for readers, without passwords and without what does not last."""
    return {
        **plain(settings),
        "models": {one.label: str(one.spec) for one in plan.contestants},
        "baseline": plan.baseline,
        "judge": str(plan.judge),
        "fresh": False,
        "retry_failed": False,
        "resolved_constitution": plan.constitution.model_dump(mode="json"),
    }
