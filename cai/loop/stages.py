"""What the loop does, as stages with settings and what each needs.

The order is the paper's (Constitutional AI, arXiv 2212.08073, figure 1): supervised stage, AI feedback, reinforcement;
then the measurement, always with the SFT model beside the others, because gains of feedback that SFT alone would give
are no gains of feedback (2402.12366).

generate → sft → [pairs → (reward) → second] a number of times → evaluation
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.evaluate.settings import EvaluateSettings
from cai.generate.settings import GenerateSettings
from cai.loop.settings import LoopSettings
from cai.method.settings import JudgeSettings
from cai.models.spec import LabelledModel, ModelSpec
from cai.train.methods import REWARDED, find_method, loop_methods
from cai.train.settings import AdapterSettings, DataSettings, TrainSettings

Settings = GenerateSettings | TrainSettings | EvaluateSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: its name (also its directory below the loop's), what is done, and the stages whose outcome it reads."""

    name: str
    settings: Settings
    needs: tuple[str, ...]

    @property
    def out(self) -> Path:
        """Where it writes."""
        out = self.settings.out
        assert out is not None  # noqa: S101  (every stage is given one)
        return out


def stages_of(settings: LoopSettings, out: Path) -> tuple[Stage, ...]:
    """Return the stages in the order they run; raises UsageError when there is no such second stage."""
    if settings.method not in loop_methods():
        raise UsageError(f"a loop's method is {', '.join(loop_methods())}, not {settings.method!r}")
    judge = settings.judge or settings.model
    generate = GenerateSettings(
        constitution=settings.constitution,
        engine=settings.engine,
        model=settings.model,
        judge=judge,
        prompts=settings.prompts,
        limit=settings.limit,
        seed=settings.seed,
        samples=settings.samples,
        judging=_judging(settings),
        sampling=settings.sampling,
        revising=settings.revising,
        thinking=settings.thinking,
        max_tokens=settings.max_tokens,
        prompts_dir=settings.prompts_dir,
        out=out / "generate",
    )
    sft = TrainSettings(
        method="sft",
        model=settings.model,
        out=out / "sft",
        data=_all_of(out / "generate", settings.quality),
        adapter=_merged(settings.adapter),
        fit=settings.sft,
        template=settings.template,
        seed=settings.seed,
    )
    found = [Stage("generate", generate, ()), Stage("sft", sft, ("generate",))]
    newest = "sft"
    for iteration in range(1, settings.iterations + 1):
        found += _iteration(settings, generate, judge, out, newest, iteration)
        newest = found[-1].name
    trained = ["sft", *(stage.name for stage in found if _is_policy(stage))]
    evaluation = EvaluateSettings(
        models=tuple(LabelledModel(name, _trained(out / name)) for name in trained),
        constitution=settings.constitution,
        engine=settings.engine,
        baseline=LabelledModel("base", settings.model),
        judge=judge,
        prompts=() if settings.evaluation_prompts is None else (settings.evaluation_prompts,),
        limit=settings.evaluation_limit,
        seed=settings.seed,
        judging=_judging(settings),
        sampling=settings.sampling,
        thinking=settings.thinking,
        max_tokens=settings.max_tokens,
        prompts_dir=settings.prompts_dir,
        out=out / "evaluation",
    )
    return (*found, Stage("evaluation", evaluation, tuple(trained)))


def _iteration(
    settings: LoopSettings, generate: GenerateSettings, judge: ModelSpec, out: Path, newest: str, iteration: int
) -> list[Stage]:
    """Return one round of AI feedback on top of the model that the stage `newest` made."""
    found: list[Stage] = []
    data = out / "generate"
    needs: tuple[str, ...] = (newest, "generate")
    # Every iteration has a seed of its own, or the same prompts would be answered with the same luck again.
    seed = settings.seed + iteration
    rewarded = settings.method.startswith(REWARDED)
    method = find_method(settings.method.removeprefix(REWARDED))
    if rewarded or not method.draws_responses:
        pairs = replace(
            generate,
            model=_trained(out / newest),
            judge=judge,
            seed=seed,
            samples=settings.pair_samples,
            rounds=0,
            judging=replace(generate.judging, judge_principles=settings.judge_principles),
            out=out / f"pairs-{iteration}",
        )
        found.append(Stage(f"pairs-{iteration}", pairs, (newest,)))
        if not rewarded:
            data, needs = out / f"pairs-{iteration}", (newest, f"pairs-{iteration}")
    reward_model = out / f"reward-{iteration}"
    own: dict[str, object] = {
        **{each.name: getattr(settings.preference, each.name) for each in fields(settings.preference)},
        **({"reward_model": (reward_model,)} if rewarded else {"constitution": settings.constitution, "judge": judge}),
        "group": settings.group,
        "max_tokens": settings.max_tokens,
    }
    second = TrainSettings(
        method=method.name,
        model=_trained(out / newest),
        out=out / f"{method.name}-{iteration}",
        data=_all_of(data, settings.quality),
        adapter=_merged(settings.adapter),
        fit=settings.second,
        own=method.take_own(own),
        template=settings.template,
        seed=seed,
    )
    if rewarded:
        reward = replace(
            second,
            method="reward",
            own=find_method("reward").take_own(own),
            out=reward_model,
            data=_all_of(out / f"pairs-{iteration}", settings.quality),
            fit=settings.sft,
        )
        found.append(Stage(f"reward-{iteration}", reward, (newest, f"pairs-{iteration}")))
        needs = (*needs, f"reward-{iteration}")
    found.append(Stage(f"{method.name}-{iteration}", second, needs))
    return found


def _merged(adapter: AdapterSettings) -> AdapterSettings:
    """Return the adapter to be folded into its base, because the next stage trains one on top of the result."""
    return replace(adapter, merge=adapter.adapter != "none")


def _all_of(run: Path, quality: str) -> DataSettings:
    # Nothing is held out: the evaluation has prompts of its own, and a best checkpoint chosen by the loss on a handful
    # of examples is chosen by luck.
    return DataSettings((DataSource.parse(str(run)),), quality=quality, test_share=0.0)


def _trained(directory: Path) -> ModelSpec:
    return ModelSpec.parse(f"transformers:{directory}")


def _is_policy(stage: Stage) -> bool:
    """Tell whether a stage trains a model that answers, after the supervised stage."""
    return isinstance(stage.settings, TrainSettings) and find_method(stage.settings.method).learns_preferences


def _judging(settings: LoopSettings) -> JudgeSettings:
    return JudgeSettings(judge_thinking=settings.judge_thinking, judge_calibration=settings.judge_calibration)
