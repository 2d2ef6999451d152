"""`evaluate`: models answer, the judge looks at every answer and every pair of answers, and measurements come out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

from cai.core.errors import InputError
from cai.core.records import Failure, Prompt, Provenance, Row
from cai.core.threads import in_thread
from cai.evaluate.answering import make_answer
from cai.evaluate.attacking import measure_attacks, under_attack
from cai.evaluate.calibration import calibrate, check_detector
from cai.evaluate.comparing import make_decision
from cai.evaluate.correcting import correct_models, correct_pairs, people_of
from cai.evaluate.directory import EvaluationDirectory
from cai.evaluate.examinations import examinations_of, sections_of
from cai.evaluate.examining import ClosedEngine, Examination, Opened
from cai.evaluate.formats import FORMATS
from cai.evaluate.independence import Named, partial_judges
from cai.evaluate.jurors import Judgements, jury_section
from cai.evaluate.making import Elsewhere, EvaluationSpec, Here, owed
from cai.evaluate.measuring import ModelAnswers, ModelEntries, align, causes, measure_models, only
from cai.evaluate.pairing import pairs_to_judge
from cai.evaluate.pairs import PairDecisions, measure_pairs, rate
from cai.evaluate.plan import EvaluatedModel, EvaluatePlan
from cai.evaluate.records import read_answer, read_decision
from cai.evaluate.results import Evaluation, EvaluationSection, PartialJudge
from cai.judge_checking import Checked, Subject, check_first
from cai.method.judge_check import JudgeCheck
from cai.models.base import Engine
from cai.models.jury import members_of
from cai.models.spec import ModelSpec
from cai.pipeline.filling import open_closing
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir.entries import Entry, EntryFile

EntryType = TypeVar("EntryType", bound=Entry)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps of one evaluation share."""

    plan: EvaluatePlan
    directory: EvaluationDirectory
    place: Here | Elsewhere
    judge: str
    prompts: tuple[Prompt, ...]
    attacked: tuple[Prompt, ...]
    examinations: tuple[Examination[Any], ...]
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
    labels = [model.label for model in plan.models]
    pairs = pairs_to_judge(plan.settings.pairs, labels, plan.baseline, prompts, plan.settings.seed)
    attacked = tuple(under_attack(prompts, plan.attacks))
    examinations = examinations_of(plan, prompts)
    beside = len(attacked) + sum(len(examination.items) for examination in examinations)
    watch.total = (len(prompts) + beside) * len(plan.models) + sum(map(len, pairs.values()))
    watch.stage = "loading the judge"
    async with AsyncExitStack() as stack:
        place = _place(plan, watch)
        stack.push_async_callback(place.close)
        judge = await place.judge()
        plan.judge_configuration.calibration(judge)  # one of another judge's is told before any work
        identity = plan.identity(judge.name)
        directory = EvaluationDirectory.open(plan.out, identity, plan.recorded(), fresh=plan.settings.fresh)
        stack.callback(directory.close)
        for examination in examinations:
            directory.require_examination(examination.name, examination.identity)
        work = _Work(plan, directory, place, judge.name, prompts, attacked, examinations, watch)
        for found in _partial_judges(plan, judge.name, {}):
            watch.say(f"warning: {found.told}")
        checked = await _check(work, judge, comparisons=sum(map(len, pairs.values())))
        answered: list[ModelAnswers] = []
        examined: dict[str, list[ModelEntries[Any]]] = {examination.name: [] for examination in examinations}
        for model in plan.models:
            answers, entries = await _answer(work, model)
            answered.append(answers)
            for name, kept in entries.items():
                examined[name].append(kept)
            if watch.stop.draining:
                return "interrupted"
        by_label = {one.label: one for one in answered}
        compared: list[PairDecisions] = []
        for (a, b), own in pairs.items():
            compared.append(await _compare(work, by_label[a], by_label[b], own))
            if watch.stop.draining:
                return "interrupted"
        del judge  # what nothing refers to any more gives its memory back
        if any(examination.apart for examination in examinations):
            await place.close()
        for one in answered:
            for name, kept in (await _examine_apart(work, one)).items():
                examined[name].append(kept)
            if watch.stop.draining:
                return "interrupted"
        watch.stage = "computing the measurements"
        sections = [one.section(examined[one.name], plan.baseline, plan.settings.seed) for one in examinations]
        sections += sections_of(plan, prompts, answered)
        return _conclude(work, answered, compared, sections, broken, checked)


def _place(plan: EvaluatePlan, watch: Watch) -> Here | Elsewhere:
    """Return where the models are opened: in this process, or on the cluster that the settings name."""
    settings = plan.settings
    attacks = tuple(attack.name for attack in plan.attacks)

    def spec(model: ModelSpec) -> EvaluationSpec:
        return EvaluationSpec(model, plan.judge, settings.engine, plan.method, plan.judge_configuration, attacks)

    if settings.cluster.cluster is not None:
        return Elsewhere(spec, plan.models[0].spec, settings.cluster)
    return Here(spec, plan.judge, lambda model, stack: open_closing(model, settings.engine, stack, watch.say))


async def _check(work: _Work, judge: Engine, *, comparisons: int) -> JudgeCheck | None:
    """Return what is known of the judge, whose gates are asked and who compares models where there are several."""
    plan, directory = work.plan, work.directory
    subject = Subject(judge if comparisons else None, judge, plan.judge_configuration)
    checked = Checked(
        settings=plan.settings.checking,
        judge=plan.judge,
        recorded=directory.judge_check,
        keep=lambda found: in_thread(partial(directory.note_judge_check, found)),
        comparisons=comparisons,
    )
    return await check_first(subject, checked, work.watch)


async def _answer(work: _Work, model: EvaluatedModel) -> tuple[ModelAnswers, dict[str, ModelEntries[Any]]]:
    """Let one model answer every prompt and the judge look at each answer, then carry it through the examinations."""
    watch, plan = work.watch, work.plan
    watch.stage = f"loading {model.label}"
    maker = await work.place.maker(model.spec)
    work.directory.require_model(model.label, maker.model)
    watch.stage = f"working: {model.label} answers"
    file = EntryFile(
        work.directory.responses(model.label), make_answer, read_answer, retry_failed=plan.settings.retry_failed
    )
    provenance = _provenance(work, maker.model)

    def answered(prompt: Prompt) -> Awaitable[Row]:
        # Of an answer that is there the gates alone are owed.
        known = [(model.label, file.entries[prompt.id])] if prompt.id in file.entries else []
        return maker.make(owed(prompt, provenance, *known), provenance, watch.tally)

    await _fill(file, answered, maker.concurrency, (*work.prompts, *work.attacked), watch)
    opened = Opened(
        model.label,
        maker.engine("model"),
        maker.engine("judge"),
        plan.method,
        plan.judge_configuration,
        file.entries,
        provenance,
        watch.tally,
    )
    examined: dict[str, ModelEntries[Any]] = {}
    for examination in work.examinations:
        if not examination.apart and not watch.stop.draining:
            examined[examination.name] = await _examine(work, examination, model.spec, opened)
    return ModelAnswers(model.label, maker.model, file.entries, file.failures), examined


async def _examine_apart(work: _Work, model: ModelAnswers) -> dict[str, ModelEntries[Any]]:
    """Carry a model, which is closed as all others and the judge are, through the examinations that begin then."""
    examined: dict[str, ModelEntries[Any]] = {}
    for examination in work.examinations:
        if examination.apart and not work.watch.stop.draining:
            opened = Opened(
                model.label,
                ClosedEngine(model.engine),
                ClosedEngine(work.judge),
                work.plan.method,
                work.plan.judge_configuration,
                model.answers,
                _provenance(work, model.engine),
                work.watch.tally,
            )
            examined[examination.name] = await _examine(work, examination, None, opened)
    return examined


async def _examine(
    work: _Work, examination: Examination[EntryType], spec: ModelSpec | None, opened: Opened
) -> ModelEntries[EntryType]:
    """Carry a model, which is open where its `spec` is given, through one examination, with other models it needs."""
    watch, plan = work.watch, work.plan
    async with AsyncExitStack() as stack:
        others: dict[str, Engine] = {}
        opens = {} if examination.apart else {spec: opened.engine, plan.judge: opened.judge}
        for name, other in examination.others.items():
            watch.stage = f"loading the {name}"
            others[name] = opens.get(other) or await open_closing(other, plan.settings.engine, stack, watch.say)
        watch.stage = f"working: {opened.label}, {examination.title}"
        keep = partial(work.directory.keep, examination.name, opened.label)
        asking = examination.ask(replace(opened, others=others, temporary=work.directory.temporary, keep=keep))
        file = EntryFile(
            work.directory.examined(examination.name, opened.label),
            asking.entry,
            examination.read,
            retry_failed=plan.settings.retry_failed,
        )
        await _fill(file, asking.row, opened.engine.concurrency, examination.items, watch)
    return ModelEntries(opened.label, opened.engine.name, file.entries, file.failures)


async def _compare(work: _Work, a: ModelAnswers, b: ModelAnswers, prompts: Sequence[Prompt]) -> PairDecisions:
    """Let the judge compare two models' answers to these prompts, wherever both have one."""
    watch = work.watch
    watch.stage = f"working: {a.label} beside {b.label}"
    provenance = _provenance(work, f"{a.engine} and {b.engine}")
    maker = await work.place.judging()
    file = EntryFile(
        work.directory.comparisons(a.label, b.label),
        make_decision,
        read_decision,
        retry_failed=work.plan.settings.retry_failed,
    )
    both = [prompt for prompt in prompts if prompt.id in a.answers and prompt.id in b.answers]
    watch.progress.skipped += len(prompts) - len(both)

    def compared(prompt: Prompt) -> Awaitable[Row]:
        found = ((one.label, one.answers[prompt.id]) for one in (a, b))
        return maker.make(owed(prompt, provenance, *found), provenance, watch.tally)

    await _fill(file, compared, maker.engine("judge").concurrency, both, watch)
    return PairDecisions(a.label, b.label, file.entries, file.failures)


async def _fill(
    file: EntryFile[EntryType],
    row: Callable[[Prompt], Awaitable[Row]],
    concurrency: int,
    prompts: Sequence[Prompt],
    watch: Watch,
) -> None:
    """Carry the prompts through `row` into the file, which is closed whatever happens."""
    if file.repair is not None:
        watch.say(file.repair)
    try:
        await Pipeline(row, file, concurrency, watch.progress, watch.stop).run(prompts)
    finally:
        file.close()


def _conclude(
    work: _Work,
    answered: Sequence[ModelAnswers],
    compared: Sequence[PairDecisions],
    sections: Sequence[EvaluationSection],
    broken: Sequence[Failure],
    checked: JudgeCheck | None,
) -> Evaluation:
    """Compute every measurement, write the directory's document and images, and return what was found."""
    from cai.evaluate.chart import draw_evaluation  # noqa: PLC0415  (matplotlib, which nobody waits for at the start)

    plan, seed = work.plan, work.plan.settings.seed
    principles, labels = plan.constitution.principles, [model.label for model in answered]
    aligned = [align(work.prompts, model) for model in answered]
    people = people_of(plan.out)
    for remark in people.remarks:
        work.watch.say(remark)
    models = measure_models(work.prompts, answered, plan.baseline, plan.measures, seed)
    pairs = measure_pairs(work.prompts, compared, answered, seed)
    jury = jury_section(
        Judgements(work.prompts, answered, compared, _judge_names(plan, work.judge)), plan.baseline, plan.measures, seed
    )
    evaluation = Evaluation(
        out=plan.out,
        constitution=plan.constitution.label,
        judge=work.judge,
        baseline=plan.baseline,
        prompts=len(work.prompts),
        understood=sum(
            any(answer is not None and answer.truth is not None for answer in answers)
            for answers in zip(*aligned, strict=True)
        ),
        unusable=causes(broken),
        duplicates=plan.prompts.duplicates,
        seed=seed,
        finished="",
        measures=plan.measures,
        models=correct_models(models, dict(zip(labels, aligned, strict=True)), plan.measures, people),
        pairs=correct_pairs(pairs, compared, {model.label: model.answers for model in answered}, people),
        ratings=rate(work.prompts, labels, compared, seed),
        calibration=tuple(calibrate(aligned, principles, seed)),
        detector=check_detector(aligned, seed),
        judge_check=checked,
        picked=people.picked,
        attacks=measure_attacks(work.attacked, answered, plan.baseline, plan.measures, seed),
        sections=(*([] if jury is None else [jury]), *sections),
        partial_judges=_partial_judges(plan, work.judge, {model.label: model.engine for model in answered}),
    )
    evaluation = replace(evaluation, finished=work.directory.finished_at(evaluation.as_json()))
    work.directory.write_pictures(draw_evaluation(evaluation))
    own = [only(work.prompts, model) for model in answered]
    for name in dict.fromkeys(plan.settings.format):
        work.directory.write_format(name, FORMATS[name].make(evaluation, own))
    work.directory.finish(plan.recorded(), evaluation.as_json())
    return evaluation


def _judge_names(plan: EvaluatePlan, judge: str) -> tuple[str, ...]:
    """Return the judges' names, which a jury's consists of; as they were typed where it cannot be taken apart."""
    members, names = members_of(plan.judge), judge.split(" and ")
    if len(members) == 1:
        return (judge,)
    return tuple(names) if len(names) == len(members) else tuple(map(str, members))


def _partial_judges(plan: EvaluatePlan, judge: str, engines: Mapping[str, str]) -> tuple[PartialJudge, ...]:
    """Return which judges are not apart; `engines` are the models' names, as far as they are known."""
    models = [(model.label, Named(model.spec, engines.get(model.label))) for model in plan.models]
    judges = [Named(*one) for one in zip(members_of(plan.judge), _judge_names(plan, judge), strict=True)]
    return partial_judges(models, judges)


def _provenance(work: _Work, model: str) -> Provenance:
    constitution, templates = work.plan.constitution.fingerprint, work.plan.method.templates.fingerprint
    return Provenance(
        model=model,
        judge=work.judge,
        constitution=constitution,
        judge_constitution=constitution,
        templates=templates,
        judge_templates=templates,
        inputs=work.plan.prompts.fingerprint,
        seed=work.plan.settings.seed,
        judge_seed=work.plan.settings.seed,
    )
