"""An evaluation before any model is open: files read, defaults filled in, mistakes told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai import __version__
from cai.constitution import Constitution, RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.resources import shipped
from cai.core.settings import plain
from cai.data import InputOptions, Prompts, open_prompts
from cai.evaluate.contestants import Contestant, contestants
from cai.evaluate.settings import EvaluateSettings
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.templates import Templates
from cai.models.base import Sampling
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class EvaluatePlan:
    """An evaluation with its files read and its defaults filled in; no model is open yet."""

    settings: EvaluateSettings
    constitution: Constitution
    method: Method
    judge_configuration: JudgeConfiguration
    prompts: Prompts
    contestants: tuple[Contestant, ...]
    baseline: str | None
    judge: ModelSpec
    out: Path

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
            "temperature": settings.temperature,
            "top-p": settings.top_p,
            "max-tokens": settings.max_tokens,
            **settings.judging.identity(),
        }
        return {name: str(value) for name, value in values.items()}

    def recorded(self) -> dict[str, Any]:
        """Return the settings for readers, without passwords and without what does not last."""
        return {
            **plain(self.settings),
            "models": {one.label: str(one.spec) for one in self.contestants},
            "baseline": self.baseline,
            "judge": str(self.judge),
            "fresh": False,
            "retry_failed": False,
            "resolved_constitution": self.constitution.model_dump(mode="json"),
        }


def plan_evaluate(settings: EvaluateSettings) -> EvaluatePlan:
    """Read the constitution, the templates and the prompts, and settle what was left open; raises UsageError."""
    constitution = load_constitution(settings.constitution)
    templates = Templates.load(constitution.language, settings.prompts_dir)
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens)
    models, baseline = contestants(settings.models, settings.baseline)
    # The order is drawn, so that a limit takes harmful and benign prompts alike.
    options = InputOptions(limit=settings.limit, shuffle=True, seed=settings.seed)
    return EvaluatePlan(
        settings=settings,
        constitution=constitution,
        method=Method(constitution, templates, RevisionPlan(rounds=0), sampling, few_shot=False, seed=settings.seed),
        judge_configuration=JudgeConfiguration(constitution, templates, settings.judging, sampling, settings.seed),
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
