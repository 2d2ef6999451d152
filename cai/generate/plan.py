"""A generation before any model is open: files read, defaults filled in, mistakes told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cai import __version__
from cai.constitution import Constitution, RevisionPlan, load_sources, replacements, resolve
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.data import InputOptions, Prompts, open_prompts
from cai.data.prompt_sets import prompt_source
from cai.generate.maker import GenerationSpec
from cai.generate.settings import GenerateSettings
from cai.method.critique import Method
from cai.method.forms import DEFAULT_FORM
from cai.method.judge import JudgeConfiguration
from cai.method.settings import identity
from cai.method.templates import Templates
from cai.models import check_sampling
from cai.models.checkpoint.resolve import stated_form
from cai.models.checkpoint.reward import check_reward_model, reward_model_name
from cai.rundir.checkout import refresh


@dataclass(frozen=True, slots=True)
class GeneratePlan:
    """A generation with its files read and its defaults filled in; no model is open yet."""

    settings: GenerateSettings
    constitution: Constitution
    method: Method
    judge_configuration: JudgeConfiguration
    prompts: Prompts
    source: DataSource
    out: Path
    told: tuple[str, ...]
    """What a person must know of the constitution, a line each."""

    @property
    def spec(self) -> GenerationSpec:
        """How the models are opened and asked, wherever that is."""
        settings = self.settings
        judge = settings.judge or settings.model
        return GenerationSpec(
            settings.model,
            judge,
            settings.engine,
            self.method,
            self.judge_configuration,
            settings.samples,
            settings.ranking,
            settings.responders,
            settings.select,
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person must know of the files that were read, a line each."""
        return (*self.told, *self.prompts.remarks)

    def identity(self, model: str, judge: str, responders: Sequence[str]) -> dict[str, str]:
        """Return everything that must stay the same while one run directory is filled, in words a person can compare.

        `--limit` is not among it: a longer run goes on from a shorter one. The prompts are not either: `Inputs` tells
        which rows are of prompts that are asked still.
        """
        settings, templates = self.settings, self.method.templates
        values = {
            "cai": __version__,
            "constitution": self.constitution.label,
            "templates": f"{templates.language} {templates.fingerprint}",
            "model": model,
            "responders": ", ".join(responders) or "none",
            "judge": judge,
            "prompt-column": settings.prompt_column,
            "shuffle": settings.shuffle,
            "seed": settings.seed,
            "samples": settings.samples,
            "schedule": self.method.plan.schedule,
            "rounds": self.method.plan.rounds,
            "gate": self.method.plan.gate,
            "form": self.method.plan.form,
            "few-shot": settings.few_shot,
            **identity(asdict(settings.sampling)),
            "max-tokens": settings.max_tokens,
            **identity(asdict(settings.revising.resolved(settings.sampling, settings.thinking.thinking))),
            **identity(asdict(settings.thinking)),
            **self.judge_configuration.identity(),
            **identity(asdict(settings.ranking)),
            "select": _asked_to_select(settings),
        }
        return {name: str(value) for name, value in values.items()}


def plan_generate(settings: GenerateSettings) -> GeneratePlan:
    """Read the constitution, the templates and the prompts' shape, and settle what was left open; raises UsageError."""
    _check_responders(settings)
    sources = load_sources(settings.constitution)
    constitution = resolve(sources)
    templates = Templates.load(constitution.language, settings.prompts_dir)
    revision = _revision_plan(settings, constitution)
    responses = settings.samples * (1 + len(settings.responders))
    settings.ranking.require_enough(responses, revised=bool(revision.rounds))
    if settings.few_shot and not constitution.exemplars:
        raise UsageError(f"--few-shot needs exemplars, and the constitution {constitution.name} has none")
    source = prompt_source(settings.prompts, constitution, "sets")
    sampling = settings.sampling.of_texts(settings.max_tokens)
    check_sampling([settings.model, *settings.responders], sampling)
    thinking = settings.thinking.of_stages(settings.judging.judge_thinking, settings.revising.critique_thinking)
    out = settings.out if settings.out is not None else Path("runs") / constitution.name
    if not settings.fresh:
        refresh(out)
    prompts = open_prompts(
        source,
        InputOptions(settings.prompt_column, settings.limit, settings.shuffle, settings.seed, split=settings.split),
    )
    _check_selection(settings, has_rubric=bool(constitution.rubric) or prompts.may_have_rubrics)
    return GeneratePlan(
        settings=settings,
        constitution=constitution,
        method=Method(
            constitution,
            templates,
            revision,
            sampling,
            settings.few_shot,
            settings.seed,
            settings.revising.of_texts(settings.sampling, settings.max_tokens),
            thinking,
        ),
        judge_configuration=JudgeConfiguration.load(
            constitution,
            templates,
            settings.judging,
            settings.sampling.of_judge(settings.max_tokens),
            settings.seed,
            thinking.judging,
        ),
        prompts=prompts,
        source=source,
        out=out,
        told=tuple(map(str, replacements(sources))),
    )


def _check_responders(settings: GenerateSettings) -> None:
    """Raise UsageError where a model answers twice, or several should on a cluster."""
    specs = (settings.model, *settings.responders)
    for number, spec in enumerate(specs):
        if spec in specs[:number]:
            raise UsageError(f"--responders {spec} answers already; for more of its answers raise --samples")
    if settings.responders and settings.cluster.cluster is not None:
        raise UsageError(
            "--responders needs all models in one place, and a cluster's replicas hold one: leave --cluster out, or "
            "make a run for each model"
        )


def _check_selection(settings: GenerateSettings, *, has_rubric: bool) -> None:
    """Raise UsageError where nothing could be selected, or two options say what is exported."""
    select = settings.select
    if select is not None and settings.all_revisions:
        raise UsageError(f"--select {select} chooses one answer a prompt, and --all-revisions takes all: keep one")
    if select is not None and select.name == "rubric" and not has_rubric:
        raise UsageError(
            "--select rubric needs criteria: give the constitution a `rubric`, or the prompts a column of that name"
        )
    if select is not None and select.reward_model is not None:
        check_reward_model(select.reward_model)


def _asked_to_select(settings: GenerateSettings) -> str:
    """Return what is asked of every answer for selection, as an identity names it: what is not asked shapes no row."""
    select = settings.select
    if select is None or select.asks is None:
        return "none"
    return select.name if select.reward_model is None else reward_model_name(select.reward_model)


def _revision_plan(settings: GenerateSettings, constitution: Constitution) -> RevisionPlan:
    """Return how responses are revised: by the options, else by the constitution, and in a form that is settled."""
    options = {"schedule": settings.schedule, "rounds": settings.rounds, "gate": settings.gate, "form": settings.form}
    chosen = constitution.revision.model_dump() | {name: value for name, value in options.items() if value is not None}
    if chosen["form"] == "auto":
        chosen["form"] = stated_form(settings.model.files) or DEFAULT_FORM
    return RevisionPlan.model_validate(chosen)
