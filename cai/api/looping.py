"""`loop`: both stages of Constitutional AI and the measurement, as one call."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from cai.api.given import (
    Model,
    Prompts,
    checkpoint_spec,
    existing_directory,
    lent_prompts,
    optional_directory,
    optional_judge,
    optional_path,
    require_log_probabilities,
)
from cai.api.options import (
    Count,
    CountOfTwo,
    MinP,
    NotNegative,
    PairSamples,
    Positive,
    Samples,
    Seed,
    ThinkingMode,
    TopP,
    checked,
    take,
)
from cai.api.showing import Showing
from cai.api.training import packages_of_training
from cai.api.working import Call, Plan, run_watched
from cai.evaluate.results import Evaluation
from cai.loop.settings import LoopSettings
from cai.method.settings import CheckSettings, take_writing
from cai.models.settings import EngineSettings
from cai.pipeline.watch import Watch
from cai.train.methods import loop_methods
from cai.train.methods.dpo import DPOSettings
from cai.train.settings import AdapterSettings, FitSettings

Result = TypeVar("Result")


def _second_stage(name: str) -> str:
    if name not in loop_methods():
        raise PydanticCustomError("method", "{said}", {"said": f"there are {', '.join(loop_methods())}"})
    return name


SecondStage = Annotated[str, AfterValidator(_second_stage)]
"""What may follow SFT in a loop."""


@dataclass(frozen=True, slots=True)
class LoopResult:
    """A finished loop: its directory, with one below it for each stage, the measurement, and the stages run now."""

    path: Path
    evaluation: Evaluation
    ran: tuple[str, ...]


def loop(
    *,
    constitution: str | Path,
    model: str | Path = "tiny",
    judge: Model | None = None,
    method: SecondStage = "dpo",
    iterations: Count = 1,
    prompts: Prompts | None = None,
    limit: Count | None = None,
    evaluation_prompts: Prompts | None = None,
    evaluation_limit: Count | None = None,
    quality: str = "default",
    seed: Seed = 0,
    samples: Samples = 2,
    pair_samples: PairSamples = 4,
    judge_principles: Count = 1,
    judge_thinking: ThinkingMode = "off",
    judge_calibration: str | Path | None = None,
    temperature: NotNegative = 1.0,
    top_p: TopP = 1.0,
    top_k: Count | None = None,
    min_p: MinP = 0.0,
    repetition_penalty: Positive = 1.0,
    stop: Sequence[str] = (),
    revise_temperature: NotNegative | None = None,
    revise_top_p: TopP | None = None,
    critique_thinking: ThinkingMode | None = None,
    thinking: ThinkingMode = "auto",
    thinking_budget: Count | None = None,
    max_tokens: Count = 512,
    sft_epochs: Positive | None = None,
    sft_max_steps: Count | None = None,
    sft_learning_rate: Positive | None = None,
    sft_batch_size: Count | None = None,
    second_epochs: Positive | None = None,
    second_max_steps: Count | None = None,
    second_learning_rate: Positive | None = None,
    second_batch_size: Count | None = None,
    beta: Positive = 0.1,
    labels: Literal["soft", "hard"] = "soft",
    sft_term: NotNegative = 0.0,
    group: CountOfTwo = 8,
    adapter: Literal["none", "lora", "dora", "ia3"] = "none",
    rank: Count | None = None,
    quantize: bool = False,
    template: str | None = None,
    judge_check: bool = True,
    strict: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    concurrency: Count | None = None,
    timeout: Positive = 600.0,
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    prompts_dir: str | Path | None = None,
    out: str | Path | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> LoopResult:
    """Generate, train on revisions, train on the judge's preferences, and measure what changed.

    The same call again goes on where it was stopped; changed settings run the stages that they touch again.

    `model` is trained: `tiny`, a directory or a hub id. `judge` (None: the untrained model; with commas several, a
    jury) judges and rewards; it has to give log-probabilities. `method` is the second stage's, `iterations` the rounds
    of AI feedback. `prompts` and `limit` are what is trained on, `evaluation_prompts` and `evaluation_limit` what is
    measured with. A prompt gets
    `samples` revised responses, and `pair_samples` responses to make pairs of, judged under `judge_principles`
    principles. What is exported and trained on goes through the filters of `quality` (`default`, `strict`, `none` or a
    YAML file). How texts are drawn where the loop generates and measures (`temperature`, `top_p`, `top_k`, `min_p`,
    `repetition_penalty`, `stop`, `revise_temperature`, `revise_top_p`) and whether models think (`thinking`,
    `critique_thinking`, `judge_thinking`, `thinking_budget`), and `judge_calibration`, are as for `generate`.
    `sft_epochs`, `sft_max_steps`,
    `sft_learning_rate` and `sft_batch_size` are the supervised stage's, the four of `second_epochs`,
    `second_max_steps`, `second_learning_rate` and `second_batch_size` the second's; `beta`, `labels`, `sft_term`,
    `group`, `adapter`, `rank`, `quantize` and `template` are as for `train`, `constitution`, `seed`, `max_tokens`,
    `judge_check`, `strict`, `device`, `dtype`, `concurrency`, `timeout`, `engine_option`, `template_option`,
    `prompts_dir`, `retry_failed` and `progress` as for `generate`. `out` is a directory (None: `loops/NAME`).

    Raises as the stages do, with all finished work kept; KeyboardInterrupt after Ctrl-C.
    """
    return LoopCall(checked(loop, locals())).run()


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Tells a person what the loop does, and runs its asynchronous stages."""

    progress: bool

    @property
    def quiet(self) -> bool:
        return not self.progress

    def say(self, line: str) -> None:
        Showing(progress=self.progress).say(line)

    def watched(self, job: Callable[[Watch], Awaitable[Result]]) -> Result:
        return run_watched(job, progress=self.progress)


class LoopCall(Call[LoopResult]):
    """A call of `loop`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._progress = options.pop("progress")
        self._options = options

    def plan(self) -> Plan:
        """Return the stages: for each its settings and the stages that it needs."""
        with packages_of_training():
            from cai.loop.plan import plan_loop  # noqa: PLC0415  (torch: seconds)
        with self._settings() as settings:
            planned = plan_loop(settings)
        return Plan({str(stage.pop("name")): stage for stage in planned.as_json()}, planned.remarks)

    def run(self) -> LoopResult:
        """Bring every stage to its end."""
        with packages_of_training():
            from cai.loop.plan import plan_loop  # noqa: PLC0415
            from cai.loop.run import run_loop  # noqa: PLC0415
        with self._settings() as settings:
            outcome = run_loop(plan_loop(settings), _Reporter(self._progress))
        if outcome.evaluation is None:
            raise KeyboardInterrupt("interrupted; the same call goes on from here")
        return LoopResult(outcome.out, outcome.evaluation, outcome.ran)

    @contextmanager
    def _settings(self) -> Iterator[LoopSettings]:
        options = dict(self._options)
        model, judge = checkpoint_spec(options.pop("model")), optional_judge(options.pop("judge"))
        if judge is not None:
            require_log_probabilities(judge, "the measurement", "judge to another model")
        options |= {name: tuple(options[name]) for name in ("engine_option", "stop")}
        engine = take(EngineSettings, options)
        sft, second = (_fit(stage, options, engine) for stage in ("sft", "second"))
        writing, checking = take_writing(options), take(CheckSettings, options)
        adapter = AdapterSettings(**{name: options.pop(name) for name in ("adapter", "rank", "quantize")})
        preference = take(DPOSettings, options)
        with (
            lent_prompts(options.pop("prompts")) as prompts,
            lent_prompts(options.pop("evaluation_prompts")) as evaluation_prompts,
        ):
            yield LoopSettings(
                constitution=str(options.pop("constitution")),
                model=model,
                judge=judge,
                prompts=prompts,
                evaluation_prompts=evaluation_prompts,
                prompts_dir=existing_directory(options.pop("prompts_dir"), "prompts_dir"),
                out=optional_directory(options.pop("out"), "out"),
                judge_calibration=optional_path(options.pop("judge_calibration")),
                engine=engine,
                checking=checking,
                adapter=adapter,
                sft=sft,
                second=second,
                preference=preference,
                **writing,
                **options,
            )


def _fit(stage: str, options: dict[str, Any], engine: EngineSettings) -> FitSettings:
    numbers = {name: options.pop(f"{stage}_{name}") for name in ("epochs", "max_steps", "learning_rate", "batch_size")}
    return FitSettings(**numbers, device=engine.device, dtype=engine.dtype)
