"""A bench before any model is open: data, constitution and templates read, judges and their variants named."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from cai import __version__
from cai.constitution import Constitution, load_constitution
from cai.core.errors import UsageError
from cai.core.settings import plain
from cai.data.finding import printable
from cai.judge_bench.items import LabelledItems
from cai.judge_bench.reading import read_items
from cai.judge_bench.settings import BenchSettings, JudgeVariant, ScoreVariant
from cai.method.judge import JudgeConfiguration
from cai.method.settings import JudgeSettings
from cai.method.templates import Templates
from cai.models import check_engine_options
from cai.models.base import Sampling, Thinking
from cai.models.spec import LabelledModel, ModelSpec


@dataclass(frozen=True, slots=True)
class BenchedJudge:
    """A judge in one of its variants: its name in tables and of its file, what to open, how it is asked."""

    label: str
    spec: ModelSpec
    configuration: JudgeConfiguration
    scores: ScoreVariant | None = None
    """What gives each answer a score; None: answers are compared."""

    @property
    def how(self) -> str:
        """How it is asked, as far as it is not as usual."""
        if self.scores is not None:
            return f"each answer by itself: {self.scores}"
        usual = JudgeSettings().identity()
        differing = {name: value for name, value in self.configuration.identity().items() if value != usual.get(name)}
        return ", ".join(f"{name} {value}" for name, value in differing.items())


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """A bench with its files read and its defaults filled in; no model is open yet."""

    settings: BenchSettings
    constitution: Constitution
    templates: Templates
    data: LabelledItems
    judges: tuple[BenchedJudge, ...]
    remarks: tuple[str, ...]
    out: Path

    def identity(self) -> dict[str, str]:
        """Return what must stay the same while one directory is filled, in words a person can compare.

        Neither `--limit` nor the judges are among it: more items and more judges go on from fewer. Each label's judge
        has to stay the same, which the directory sees to.
        """
        settings = self.settings
        values = {
            "cai": __version__,
            "data": self.data.fingerprint,
            "constitution": self.constitution.label,
            "templates": f"{self.templates.language} {self.templates.fingerprint}",
            "seed": settings.seed,
            "max-tokens": settings.max_tokens,
            "thinking-budget": settings.thinking_budget,
        }
        return {name: str(value) for name, value in values.items()}

    def recorded(self) -> dict[str, Any]:
        """Return the settings for readers, without passwords and without what does not last."""
        return {
            **plain(self.settings),
            "judge": {one.label: str(one.spec) for one in self.judges},
            "fresh": False,
            "retry_failed": False,
            "resolved_constitution": self.constitution.model_dump(mode="json"),
        }


def plan_bench(settings: BenchSettings) -> BenchPlan:
    """Read the data, the constitution and the templates; raises UsageError, in one sentence."""
    constitution = load_constitution(settings.constitution)
    templates = Templates.load(constitution.language, settings.prompts_dir)
    data, remarks = read_items(
        settings.data,
        [principle.id for principle in constitution.principles],
        settings.limit,
        settings.seed,
        split=settings.split,
        shape=settings.shape,
    )
    configuration = JudgeConfiguration.load(
        constitution,
        templates,
        settings.judging,
        Sampling(max_tokens=settings.max_tokens),
        settings.seed,
        Thinking(settings.judging.judge_thinking, settings.thinking_budget),
    )
    _require_askable(data, settings, constitution)
    judges = name_judges(settings.judge, settings.variant, configuration)
    specs = [judge.spec for judge in judges]
    check_engine_options(specs, settings.engine.engine_option, settings.engine.template_option)
    name = printable(Path(str(settings.data)).stem)
    return BenchPlan(
        settings=settings,
        constitution=constitution,
        templates=templates,
        data=data,
        judges=judges,
        remarks=remarks,
        out=settings.out if settings.out is not None else Path("judge-benches") / name,
    )


def name_judges(
    models: tuple[LabelledModel, ...], variants: tuple[JudgeVariant, ...], configuration: JudgeConfiguration
) -> tuple[BenchedJudge, ...]:
    """Return every judge in every variant; raises UsageError when two have one name, or there is none."""
    if not models:
        raise UsageError("there is no judge: name one with --judge, or several")
    found = [
        BenchedJudge(
            model.title if variant == "plain" else f"{model.title}~{variant}",
            model.spec,
            replace(configuration, settings=_asked(configuration, variant)),
            variant if variant == "gates" or variant == "rubric" else None,
        )
        for model in models
        for variant in dict.fromkeys(variants)
    ]
    for place, one in enumerate(found):
        if any(other.label == one.label for other in found[:place]):
            raise UsageError(f"two judges are called {one.label}; name one of them: NAME={one.spec}")
    return tuple(found)


def _require_askable(data: LabelledItems, settings: BenchSettings, constitution: Constitution) -> None:
    """Raise UsageError where a variant finds nothing to ask about in the data."""
    if any(len(item.answers) == 1 for item in data.items) and set(settings.variant) - set(get_args(ScoreVariant)):
        raise UsageError(
            f"{settings.data} holds single answers with scores, which are not compared: give --variant gates, or "
            "--variant rubric"
        )
    if "rubric" in settings.variant and not constitution.rubric and not any(item.rubric for item in data.items):
        raise UsageError(
            "--variant rubric needs criteria: give the constitution a `rubric`, or the data a column of that name"
        )


def _asked(configuration: JudgeConfiguration, variant: JudgeVariant) -> JudgeSettings:
    if variant == "averaged":
        return replace(configuration.settings, judge_principles=len(configuration.constitution.principles))
    return replace(configuration.settings, judge_reasoning=True) if variant == "reasoning" else configuration.settings
