"""A judgement before any model is open: what was left open is settled from what a run recorded."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai.constitution import Constitution, load_constitution
from cai.core.errors import ModelError, RunError
from cai.core.paths import resolve
from cai.core.settings import plain
from cai.judging.settings import RejudgeSettings
from cai.judging.sources import Judged, RunRows, open_judged
from cai.method.judge import CALIBRATED, JudgeConfiguration
from cai.method.settings import identity
from cai.method.templates import Templates
from cai.models.base import Sampling, Thinking
from cai.models.jury import parse_judge
from cai.models.spec import ModelSpec
from cai.rundir.checkout import refresh
from cai.rundir.origin import location

if TYPE_CHECKING:
    from cai.data.quality import Quality


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """A judgement with its files read and its defaults filled in; no model is open yet.

    `quality` is None where texts are judged as they are.
    """

    settings: RejudgeSettings
    source: Judged
    judge_configuration: JudgeConfiguration
    judge: ModelSpec
    quality: "Quality | None"
    out: Path

    def identity(self, judge: str) -> dict[str, str]:
        """Return what must stay the same while one run directory is filled, in words a person can compare."""
        settings, templates = self.settings, self.judge_configuration.templates
        return {
            **{name: value for name, value in self.source.identity.items() if name != CALIBRATED},
            "judge": judge,
            "judge-constitution": self.judge_configuration.constitution.label,
            "judge-templates": f"{templates.language} {templates.fingerprint}",
            "judge-seed": str(settings.seed),
            "judge-thinking-budget": str(settings.thinking_budget),
            "judge-quality": str(self.quality or "none"),
            **self.judge_configuration.identity(),
            **identity(asdict(settings.ranking)),
        }

    def recorded(self) -> dict[str, Any]:
        """Return the source's settings with what is judged otherwise, so that this run too can be judged again."""
        settings = self.settings
        return {
            **self.source.settings,
            **plain(settings),
            "data": self.source.place,
            "out": location(self.out.absolute()),
            "judge": str(self.judge),
            "constitution": self.judge_configuration.constitution.name,
            "resolved_constitution": self.judge_configuration.constitution.model_dump(mode="json"),
        }


def plan_judge(settings: RejudgeSettings) -> JudgePlan:
    """Settle what was left open from what a run itself recorded; raises UsageError."""
    source = open_judged(settings.data, settings.split, settings.shape)
    recorded = source.settings
    _check_budget(settings, source)
    constitution = (
        load_constitution(settings.constitution)
        if settings.constitution is not None
        else _recorded_constitution(source)
    )
    kept = recorded.get("prompts_dir")
    directory = settings.prompts_dir or (Path(kept) if isinstance(kept, str) else None)
    judge = settings.judge or _recorded_judge(source)
    templates = Templates.load(constitution.language, directory)
    out = settings.out or source.out(f"judged-{constitution.name}")
    if isinstance(source, RunRows) and resolve(out) == resolve(source.reader.directory):
        raise RunError(f"{location(out)} is the run to be judged; name another directory with --out")
    if not settings.fresh:
        refresh(out)
    sampling = Sampling(max_tokens=settings.max_tokens)
    thinking = Thinking(settings.judging.judge_thinking, settings.thinking_budget)
    configuration = JudgeConfiguration.load(
        constitution, templates, settings.judging, sampling, settings.seed, thinking
    )
    quality = None if settings.quality is None else _load_quality(settings.quality)
    # With the directory that was used, which this run records in turn: whoever judges it again has the same templates.
    return JudgePlan(replace(settings, prompts_dir=directory), source, configuration, judge, quality, out)


def _load_quality(name: str) -> "Quality":
    # Only here, because filters take pyarrow with them, and `import cai` waits for none.
    from cai.data.quality import load_quality  # noqa: PLC0415

    return load_quality(name)


def _check_budget(settings: RejudgeSettings, source: Judged) -> None:
    """Raise UsageError where a budget cannot connect the answers of a run, as far as the run says how many it has."""
    samples, rounds = (source.identity.get(name, "") for name in ("samples", "rounds"))
    responders = source.settings.get("responders")
    models = 1 + (len(responders) if isinstance(responders, list) else 0)
    if samples.isdecimal():
        settings.ranking.require_enough(int(samples) * models, revised=rounds not in ("", "0"))


def _recorded_judge(source: Judged) -> ModelSpec:
    """Return the model that a run was judged by; raises RunError when it was not written down, or was no named one."""
    named = source.settings.get("judge") or source.settings.get("model")
    if not isinstance(named, str):
        raise RunError(f"{source.name} does not say who judged it; name a model with --judge")
    try:
        return parse_judge(named)
    except ModelError as error:
        raise RunError(
            f"{source.name} was judged by {named}, which cannot be opened by its name; give --judge"
        ) from error


def _recorded_constitution(source: Judged) -> Constitution:
    """Return the constitution that a run was made under; raises RunError when it was not written down, or not so."""
    try:
        return Constitution.model_validate(source.settings.get("resolved_constitution"))
    except ValueError as error:  # pydantic's are of that kind
        raise RunError(
            f"{source.name} does not say which constitution it was made under; name one with --constitution"
        ) from error
