"""An evaluation before any model is open: files read, defaults filled in, mistakes told."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai import __version__
from cai.constitution import Constitution, RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.counts import counted
from cai.core.errors import InputError, UsageError
from cai.core.records import Prompt
from cai.core.settings import plain
from cai.data import InputOptions, Prompts, open_prompts, open_several
from cai.data.prompt_sets import prompt_source
from cai.data.tenets import Tenets, read_tenets
from cai.evaluate.harness.plan import HarnessPlan, plan_harness
from cai.evaluate.measures import Measure, measures_of
from cai.evaluate.settings import EvaluateSettings
from cai.evaluate.turns.examination import TurnsPlan, plan_turns
from cai.method.attacks import Attack
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.settings import identity
from cai.method.templates import Templates
from cai.models import check_engine_options, check_sampling
from cai.models.spec import LabelledModel, ModelSpec


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model under evaluation: its label in tables and file names, and what to open."""

    label: str
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Heldout:
    """Held-out texts, the fingerprint of where they lie, and what of it a person is told."""

    texts: tuple[Prompt, ...]
    fingerprint: str
    told: str


@dataclass(frozen=True, slots=True)
class EvaluatePlan:
    """An evaluation with its files read and its defaults filled in; no model is open yet."""

    settings: EvaluateSettings
    constitution: Constitution
    method: Method
    judge_configuration: JudgeConfiguration
    prompts: Prompts
    models: tuple[EvaluatedModel, ...]
    """The baseline first, if there is one."""
    baseline: str | None
    judge: ModelSpec
    measures: tuple[Measure, ...]
    out: Path
    attacks: tuple[Attack, ...] = ()
    turns: TurnsPlan | None = None
    tenets: Tenets | None = None
    heldout: Heldout | None = None
    harness: HarnessPlan | None = None

    def identity(self, judge: str) -> dict[str, str]:
        """Return everything that must stay the same while one directory is filled, in words a person can compare.

        Neither `--limit` nor the models are among it: more prompts and more models go on from fewer. Each label's model
        has to stay the same, which the directory sees to.
        """
        settings, templates = self.settings, self.method.templates
        values = {
            "cai": __version__,
            "constitution": self.constitution.label,
            "templates": f"{templates.language} {templates.fingerprint}",
            "judge": judge,
            "prompts": self.prompts.fingerprint,
            "seed": settings.seed,
            **identity(asdict(settings.sampling)),
            "max-tokens": settings.max_tokens,
            **identity(asdict(settings.thinking)),
            **self.judge_configuration.identity(),
        }
        return {name: str(value) for name, value in values.items()}

    def recorded(self) -> dict[str, Any]:
        """Return the settings for readers, without passwords and without what does not last."""
        return {
            **plain(self.settings),
            "models": {one.label: str(one.spec) for one in self.models},
            "baseline": self.baseline,
            "judge": str(self.judge),
            "fresh": False,
            "retry_failed": False,
            "resolved_constitution": self.constitution.model_dump(mode="json"),
            "public_sets": [one.as_json() for one in self.prompts.public_sets],
        }


def plan_evaluate(settings: EvaluateSettings) -> EvaluatePlan:
    """Read the constitution, the templates and the prompts, and settle what was left open; raises UsageError."""
    constitution = load_constitution(settings.constitution)
    templates = Templates.load(constitution.language, settings.prompts_dir)
    sampling = settings.sampling.of_texts(settings.max_tokens)
    thinking = settings.thinking.of_stages(settings.judging.judge_thinking)
    models, baseline = label_models(settings.models, settings.baseline)
    if settings.pairs == "baseline" and baseline is None:
        raise UsageError("--pairs baseline needs --baseline: the model that every other is compared with")
    judge = settings.judge or models[0].spec
    writing = (*(model.spec for model in models), *((settings.attacker,) if settings.attacker is not None else ()))
    check_engine_options((*writing, judge), settings.engine.engine_option, settings.engine.template_option)
    check_sampling(writing, sampling)
    # The order is drawn, so that a limit takes harmful and benign prompts alike.
    options = InputOptions(limit=settings.limit, shuffle=True, seed=settings.seed)
    sources = [prompt_source(named, constitution, "evaluation") for named in settings.prompts or (None,)]
    return EvaluatePlan(
        settings=settings,
        constitution=constitution,
        method=Method(
            constitution, templates, RevisionPlan(rounds=0), sampling, False, settings.seed, thinking=thinking
        ),
        judge_configuration=JudgeConfiguration.load(
            constitution,
            templates,
            settings.judging,
            settings.sampling.of_judge(settings.max_tokens),
            settings.seed,
            thinking.judging,
        ),
        prompts=open_several(sources, options),
        models=models,
        baseline=baseline,
        judge=judge,
        measures=measures_of([principle.id for principle in constitution.principles]),
        out=settings.out if settings.out is not None else Path("evaluations") / constitution.name,
        attacks=_attacks(settings.attack, constitution.language),
        turns=plan_turns(settings.turns, settings.attacker, constitution, settings.prompts_dir),
        tenets=_tenets(settings.tenets, constitution),
        heldout=None if settings.usefulness.heldout is None else read_heldout(settings.usefulness.heldout),
        harness=plan_harness(settings.usefulness.harness, [model.spec for model in models], settings.limit),
    )


def _attacks(names: tuple[str, ...], language: str) -> tuple[Attack, ...]:
    """Return the attacks in their order, each once; raises UsageError."""
    found = {attack.name: attack for attack in (Attack.parse(name, language) for name in names)}
    return tuple(found.values())


def _tenets(path: Path | None, constitution: Constitution) -> Tenets | None:
    """Return the tenets in a file, where one is given; raises UsageError, also where nothing could be asked."""
    if path is None:
        return None
    found = read_tenets(path, constitution)
    if not any(tenet.scenarios for tenet in found.tenets):
        raise UsageError(f"{path} has no tenet with scenarios; write some, or let a model: cai constitution tenets")
    return found


def read_heldout(source: DataSource) -> Heldout:
    """Return the texts; raises InputError when there is none."""
    rows = open_prompts(source, InputOptions())
    found = list(rows)
    texts = tuple(row for row in found if isinstance(row, Prompt))
    if not texts:
        raise InputError(f"--heldout {source} has no text: give a file with a text a row, in the column `text`")
    unread = len(found) - len(texts)
    left = f"; {counted(unread, 'row')} of it {'is' if unread == 1 else 'are'} no text" if unread else ""
    return Heldout(texts, rows.fingerprint, f"{source}{left}")


def label_models(
    models: tuple[LabelledModel, ...], baseline: LabelledModel | None
) -> tuple[tuple[EvaluatedModel, ...], str | None]:
    """Return the models, the baseline first, and the baseline's label.

    A baseline that is among the models is not evaluated twice. Raises UsageError when two models have one label.
    """
    found = [EvaluatedModel(model.title, model.spec) for model in models]
    first = None
    if baseline is not None:
        first = EvaluatedModel(baseline.title, baseline.spec)
        same = next((one for one in found if one.spec == first.spec), None)
        if same is not None:
            found.remove(same)
            first = first if baseline.label is not None else same
        found.insert(0, first)
    for place, one in enumerate(found):
        twin = next((other for other in found[:place] if other.label == one.label), None)
        if twin is not None:
            raise UsageError(f"two models are called {one.label}; name one of them: NAME={one.spec}")
    return tuple(found), first.label if first is not None else None
