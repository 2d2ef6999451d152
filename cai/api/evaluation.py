"""`evaluate`: what a constitution's judge says of models."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cai.api.given import (
    Model,
    Models,
    PromptPlaces,
    Prompts,
    existing_directory,
    labelled_model,
    labelled_models,
    lent_places,
    optional_directory,
    optional_judge,
    optional_model,
    optional_path,
    require_log_probabilities,
    take_cluster,
    take_judging,
)
from cai.api.options import Count, MinP, NotNegative, Positive, Seed, ThinkingMode, TopP, checked, take
from cai.api.working import AsynchronousCall, InterruptedWork, Plan
from cai.core.addresses import DataSource
from cai.core.threads import in_thread
from cai.evaluate.measures import Measure, each, register
from cai.evaluate.records import Answer
from cai.evaluate.results import Evaluation
from cai.evaluate.settings import EvaluateSettings, ExaminationName, UsefulnessSettings
from cai.method.settings import CheckSettings, take_writing
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch

if TYPE_CHECKING:
    from cai.evaluate.plan import EvaluatePlan


def evaluate(
    models: Models,
    *,
    constitution: str | Path,
    baseline: Model | None = None,
    judge: Model | None = None,
    prompts: Prompts | PromptPlaces = (),
    attack: Sequence[str] = (),
    turns: Count | None = None,
    attacker: Model | None = None,
    tenets: str | Path | None = None,
    pairs: Literal["all", "baseline", "budget"] = "all",
    examine: Sequence[ExaminationName] = (),
    heldout: str | Path | None = None,
    bertscore: str | Path | None = None,
    harness: Sequence[str] = (),
    limit: Count | None = None,
    seed: Seed = 0,
    temperature: NotNegative = 1.0,
    top_p: TopP = 1.0,
    top_k: Count | None = None,
    min_p: MinP = 0.0,
    repetition_penalty: Positive = 1.0,
    stop: Sequence[str] = (),
    thinking: ThinkingMode = "auto",
    thinking_budget: Count | None = None,
    max_tokens: Count = 512,
    judge_principles: Count = 1,
    judge_orders: Literal["both", "one"] = "both",
    judge_by: Literal["logprobs", "text"] = "logprobs",
    judge_reasoning: bool = False,
    judge_thinking: ThinkingMode = "off",
    judge_calibration: str | Path | None = None,
    judge_check: bool = True,
    strict: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    concurrency: Count | None = None,
    timeout: Positive = 600.0,
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    cluster: str | None = None,
    replicas: Count | None = None,
    gpus_per_replica: NotNegative | None = None,
    format: Sequence[Literal["paper", "inspect"]] = (),  # noqa: A002  (the option's name)
    prompts_dir: str | Path | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure models: principles broken, refusals, wins and collapse, with 95 % intervals.

    `models` is a model, a list of them (a text may be `NAME=MODEL`), or a mapping from names to models; `baseline` is
    the one that the others are compared to. `judge` (None: the baseline, without one the first model) has to give
    log-probabilities, which its gates are made of. `prompts` are as for `generate`, or the name of a shipped set
    (`harmless`, `medical`, `tiny`), or several places, `cai.PromptPlaces("medical", "xstest:FILE")`; `limit` of them
    are drawn from `seed`. Each is asked again under every `attack`, names of ways to get round a refusal (`base64`,
    `role-play`, `split+persona`), and with `turns` each is the goal of a dialogue of so many turns, led by fixed
    scripts or by the model `attacker`. `tenets` is a file of a constitution's sentences with scenarios
    (`draft_tenets`), each of which is examined. `pairs` of models are judged: `all`, those with the `baseline`, or so
    few that n models take about n log n comparisons a prompt (`budget`). `examine` names examinations with shipped
    questions (`sycophancy`, `consistency`), `heldout` a file of texts for perplexities and divergences from the
    baseline, `bertscore` a model that compares answers with the prompts' references, `harness` tasks of lm-eval
    (`ifeval`, `mmlu`; needs `cai[harness]`), which are run once all models are closed. `out` is a directory (None:
    `evaluations/NAME`); with `format` it is written there as a table and a figure for a `paper`, or as logs that
    inspect_ai's viewer opens (`inspect`). The other options, among them how answers are sampled (`temperature`,
    `top_p`, `top_k`, `min_p`, `repetition_penalty`, `stop`, `max_tokens`, `thinking`, `thinking_budget`) and judged
    (`judge_principles`, `judge_orders`, `judge_by`, `judge_reasoning`, `judge_thinking`, `judge_calibration`), whether
    the judge is tested first (`judge_check`, `strict`), how models are opened (`device`, `dtype`, `concurrency`,
    `timeout`, `engine_option`, `template_option`, and on Ray with `cluster`, `replicas`, `gpus_per_replica`),
    `constitution`, `prompts_dir`, `fresh`, `retry_failed` and `progress`, are as for `generate`.

    Returns what was measured, by model and by pair: `result.measurement("breaks any principle", "base").value` is a
    share in [0, 1] of `count` prompts, with the interval's ends `low` and `high`. The same call again goes on, also
    with more models or prompts. Raises as `generate` does.
    """
    return EvaluateCall(checked(evaluate, locals())).run()


def register_measure(
    name: str,
    of_answer: Callable[[Answer], bool | float | None],
    *,
    about: str,
    unit: Literal["share", "number"] = "share",
    better: Literal["high", "low"] | None = None,
    drawn: bool = False,
) -> None:
    """Measure something more in every evaluation of this process: in the table, in evaluation.json, in the picture.

    `of_answer` takes an answer (`answer.response`, `answer.messages`, `answer.tags`) and says yes or no, or a number,
    or None where the measure does not apply. `about` says in a phrase what it is, `better` which values are, `drawn`
    whether the picture has it, which has shares only. The same name again replaces the measure. Raises UsageError when
    cai has a measure of that name.
    """
    register(Measure(name, each(of_answer), about, unit, better, drawn))


class EvaluateCall(AsynchronousCall[Evaluation]):
    """A call of `evaluate`."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(progress=options.pop("progress"))
        self._options = options

    def plan(self) -> Plan:
        """Return what would be measured."""
        with self._planned() as plan:
            named = plan.settings.prompts or (plan.constitution.prompts,)
            told = {"prompts": ", ".join(map(str, named)), "out": str(plan.out)}
            return Plan(plan.recorded() | told, plan.prompts.remarks)

    async def work(self, watch: Watch) -> Evaluation:
        """Measure."""
        from cai.evaluate.run import evaluate as measure  # noqa: PLC0415  (numpy)

        with ExitStack() as stack:
            plan = await in_thread(partial(stack.enter_context, self._planned()))
            for line in plan.prompts.remarks if plan.settings.prompts else ():
                watch.say(line)
            if plan.settings.judge is None:
                which = "the baseline" if plan.baseline is not None else "the first model"
                watch.say(f"judged by {plan.judge}, {which}; choose with judge=")
            result = await measure(plan, watch)
        if result == "interrupted":
            raise InterruptedWork
        return result

    @contextmanager
    def _planned(self) -> "Iterator[EvaluatePlan]":
        from cai.evaluate.plan import plan_evaluate  # noqa: PLC0415

        options = dict(self._options)
        with lent_places(options.pop("prompts")) as sources:
            baseline = options.pop("baseline")
            options |= {
                name: tuple(options[name])
                for name in ("attack", "engine_option", "examine", "format", "harness", "stop")
            }
            models, judge = labelled_models(options.pop("models")), optional_judge(options.pop("judge"))
            base = None if baseline is None else labelled_model(baseline)
            attacker = optional_model(options.pop("attacker"))
            specs = (*(one.spec for one in models), None if base is None else base.spec, judge)
            heldout, bertscore = options["heldout"], options["bertscore"]
            options["heldout"] = None if heldout is None else DataSource.parse(str(heldout))
            options["bertscore"] = None if bertscore is None else ModelSpec.checkpoint(str(bertscore))
            settings = EvaluateSettings(
                models=models,
                constitution=str(options.pop("constitution")),
                baseline=base,
                judge=judge,
                attacker=attacker,
                tenets=optional_path(options.pop("tenets")),
                cluster=take_cluster(options, specs),
                prompts=sources,
                prompts_dir=existing_directory(options.pop("prompts_dir"), "prompts_dir"),
                out=optional_directory(options.pop("out"), "out"),
                engine=take(EngineSettings, options),
                judging=take_judging(options),
                checking=take(CheckSettings, options),
                usefulness=take(UsefulnessSettings, options),
                **take_writing(options),
                **options,
            )
            plan = plan_evaluate(settings)
            require_log_probabilities(plan.judge, "the measurement", "judge to another model")
            yield plan
