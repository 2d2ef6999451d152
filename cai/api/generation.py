"""`generate` and `judge`: what fills run directories."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cai.api.given import (
    Model,
    Prompts,
    data_source,
    existing_directory,
    lent_prompts,
    model_spec,
    new_run,
    optional_judge,
    require_log_probabilities,
    several_models,
    take_cluster,
    take_judging,
)
from cai.api.options import (
    Count,
    MinP,
    NotNegative,
    Positive,
    Rounds,
    Samples,
    Seed,
    ThinkingMode,
    TopP,
    checked,
    take,
)
from cai.api.runs import RunDirectory as Run
from cai.api.working import AsynchronousCall, InterruptedWork, Plan
from cai.core.settings import plain
from cai.core.threads import finished, in_thread
from cai.generate.plan import GeneratePlan, plan_generate
from cai.generate.run import estimate_generate
from cai.generate.run import generate as fill_run
from cai.generate.settings import GenerateSettings
from cai.judging.plan import JudgePlan, plan_judge
from cai.judging.run import judge_again
from cai.judging.settings import RejudgeSettings
from cai.method.selectors import Selection
from cai.method.settings import CheckSettings, RankingSettings, take_writing
from cai.models import check_engine_options
from cai.models.settings import EngineSettings
from cai.pipeline.filling import Summary
from cai.pipeline.watch import Watch
from cai.rundir.origin import location


def generate(
    *,
    constitution: str | Path,
    model: Model = "tiny",
    responders: Sequence[Model] = (),
    judge: Model | None = None,
    prompts: Prompts | None = None,
    prompt_column: str | None = None,
    split: str | None = None,
    limit: Count | None = None,
    shuffle: bool = False,
    seed: Seed = 0,
    samples: Samples = 2,
    schedule: Literal["walk", "sample"] | None = None,
    rounds: Rounds | None = None,
    gate: bool | None = None,
    form: Literal["auto", "anew", "continued"] | None = None,
    few_shot: bool = False,
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
    judge_principles: Count = 1,
    judge_orders: Literal["both", "one"] = "both",
    judge_by: Literal["logprobs", "text"] = "logprobs",
    judge_reasoning: bool = False,
    judge_thinking: ThinkingMode = "off",
    judge_calibration: str | Path | None = None,
    rank: bool = False,
    rank_budget: Count | None = None,
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
    prompts_dir: str | Path | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    all_revisions: bool = False,
    select: str | None = None,
    progress: bool = True,
) -> Run:
    """Answer, critique, revise and judge: prompts in, a run directory with SFT and preference data out.

    The same call again goes on where it was stopped; a run that was made with other settings is refused with a RunError
    that names them, unless `fresh` discards it. A prompt that fails is in `Run.failures` with its cause.

    `constitution` is a YAML file or the name of a shipped one. `model` answers, `responders` answer every prompt beside
    it, and `judge` judges (None: `model`): each is a name as after `--model`, an engine, or a plain or async function
    from a list of messages to a text. A function gives no log-probabilities, so it wants `gate=False`, and as a judge
    `judge_by="text"`. `prompts` (None: the constitution's) are a place (`prompt_column` and `split` as for a file or a
    dataset), or an iterable of texts, conversations and rows; `limit` of them are used, with `shuffle` in an order
    drawn from `seed`, which decides everything else that is drawn too.

    A prompt gets `samples` responses of `max_tokens` tokens at most, drawn at `temperature` and `top_p`, and where the
    backend has them by `top_k`, `min_p`, `repetition_penalty` and `stop`, texts to end before; critiques and revisions
    at `revise_temperature` and `revise_top_p` (None: the same). `schedule` and `rounds` say under which principles they
    are revised, `gate` whether a principle is asked for first, `form` how a revision is asked for, `few_shot` whether
    exemplars precede a critique; None is what the constitution says. Pairs are judged under `judge_principles`
    principles, in `judge_orders`, `judge_by` probabilities or text, with `judge_reasoning` first, as sure as the file
    `judge_calibration` says. With `rank` every
    answer of a prompt is compared with every other, in `rank_budget` comparisons at most (None: all). Before the first
    row the judge is tested, for a minute at most, on pairs whose better answer is known (`judge_check`); an unfit one
    is told of, and with `strict` refused.

    A model that can think does so before its responses as `thinking` says (`off`, `on`, `auto`: its own default),
    before critiques and revisions as `critique_thinking` (None: the same), before gates and judgements as
    `judge_thinking`, for `thinking_budget` tokens at most (None: they count among `max_tokens`). Thoughts are kept in
    the rows, and in no dataset unless `Run.export` is asked for them.

    `device` and `dtype` are for models in this process, `timeout` (seconds) for servers, `concurrency` is the number of
    requests at once, `engine_option` has vLLM's own as `KEY=VALUE`, `template_option` variables of the models' chat
    templates (`reasoning_effort=low`); `cluster`, `replicas` and `gpus_per_replica` make the rows on Ray.
    `prompts_dir` holds request templates of your own. `out` is a directory or a URL (None: `runs/NAME`).
    With `retry_failed` what failed for good is asked again; with `all_revisions` every round's revision is exported;
    `select` (`judge`, `gates`, `rubric`, `reward:DIRECTORY` or `random`) chooses one answer a prompt for SFT, among all
    its responses and revisions. `progress=False` draws nothing.

    Raises UsageError before any work is done; EngineGoneError or StoreError when it had to stop, with everything kept
    that was finished; KeyboardInterrupt after Ctrl-C, as `cai.api.working` says.
    """
    return GenerateCall(checked(generate, locals())).run()


def judge(
    data: str | Path | Run,
    *,
    constitution: str | Path | None = None,
    judge: Model | None = None,
    quality: str | None = None,
    split: str | None = None,
    shape: str | None = None,
    seed: Seed = 0,
    max_tokens: Count = 512,
    judge_principles: Count = 1,
    judge_orders: Literal["both", "one"] = "both",
    judge_by: Literal["logprobs", "text"] = "logprobs",
    judge_reasoning: bool = False,
    judge_thinking: ThinkingMode = "off",
    judge_calibration: str | Path | None = None,
    rank: bool = False,
    rank_budget: Count | None = None,
    judge_check: bool = True,
    strict: bool = False,
    thinking_budget: Count | None = None,
    device: str = "auto",
    dtype: str = "auto",
    concurrency: Count | None = None,
    timeout: Positive = 600.0,
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    cluster: str | None = None,
    replicas: Count | None = None,
    gpus_per_replica: NotNegative | None = None,
    prompts_dir: str | Path | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> Run:
    """Judge the answers of a run again, or those of a file or dataset; return a run of them with new verdicts.

    `data` stays as it is; of a dataset every row of two answers or more becomes one, and its labels are not looked at
    (`split` and `shape` as for `check`). `constitution` and `judge` are by default a run's own, and have to be given
    for a dataset; so has a judge that was a Python object. With `quality` (`default`, `strict` or a YAML file) the
    judge reads the texts as these filters clean them, and they are exported so; the rows keep what was written.
    `max_tokens` limits what the judge writes before it decides. `out` is by default the run's directory with
    `-judged-NAME` behind it, or, of a dataset, such a one in `runs/`. `seed`, `judge_principles`, `judge_orders`,
    `judge_by`, `judge_reasoning`, `judge_thinking`, `judge_calibration`, `rank`, `rank_budget`, `judge_check`,
    `strict`, `thinking_budget`, `device`, `dtype`, `concurrency`, `timeout`, `engine_option`, `template_option`,
    `cluster`, `replicas`, `gpus_per_replica`, `prompts_dir`, `fresh`, `retry_failed`, `progress` and the errors are as
    for `generate`.
    """
    return JudgeCall(checked(_JUDGE, locals())).run()


_JUDGE = judge  # the function has a parameter of its name


class _Filling(AsynchronousCall[Run]):
    """What the two have in common: a summary, exports, and a run."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(progress=options.pop("progress"))
        self._options = options

    async def work(self, watch: Watch) -> Run:
        """Fill the run and export it."""
        summary, options = await self.fill(watch)
        run = Run(summary.out, summary)
        await finished(in_thread(partial(run.export, **options)))
        if summary.status == "interrupted":
            raise InterruptedWork
        return run

    @abstractmethod
    async def fill(self, watch: Watch) -> tuple[Summary, dict[str, Any]]:
        """Fill the run; return how that ended, and how it is exported."""


class GenerateCall(_Filling):
    """A call of `generate`."""

    def plan(self) -> Plan:
        """Return what would be done, and an estimate of what it takes."""
        with self._planned() as plan:
            estimate = estimate_generate(plan)
            revising = plan.settings.revising.resolved(plan.settings.sampling, plan.settings.thinking.thinking)
            settings = plain(plan.settings) | plan.method.plan.model_dump(mode="json") | asdict(revising)
            judge = plan.settings.judge or plan.settings.model
            told = {"prompts": str(plan.source), "out": location(plan.out), "judge": str(judge)}
            return Plan(settings | told, plan.prompts.remarks, estimate)

    async def fill(self, watch: Watch) -> tuple[Summary, dict[str, Any]]:
        """Generate."""
        with ExitStack() as stack:
            plan = await in_thread(partial(stack.enter_context, self._planned()))
            for line in plan.prompts.remarks:
                watch.say(line)
            if plan.settings.model.kind == "tiny":
                watch.say("using the embedded miniature, which knows only its micro-world; choose another with model=")
            return await fill_run(plan, watch), {"all_revisions": plan.settings.all_revisions}

    @contextmanager
    def _planned(self) -> Iterator[GeneratePlan]:
        options = dict(self._options)
        with lent_prompts(options.pop("prompts")) as source:
            model, judge = model_spec(options.pop("model")), optional_judge(options.pop("judge"))
            responders = tuple(map(model_spec, several_models(options.pop("responders"), "responders")))
            cluster = take_cluster(options, (model, *responders, judge))
            select = options.pop("select")
            settings = GenerateSettings(
                select=None if select is None else Selection.parse(str(select)),
                constitution=str(options.pop("constitution")),
                model=model,
                responders=responders,
                judge=judge,
                prompts=source,
                cluster=cluster,
                out=new_run(options.pop("out")),
                **_common(options),
            )
            check_engine_options(
                (model, *responders, judge or model),
                settings.engine.engine_option,
                settings.engine.template_option,
            )
            plan = plan_generate(settings)
            if plan.method.plan.gate and plan.method.plan.rounds:
                for spec in (model, *responders):
                    require_log_probabilities(spec, "the gate", "gate=False")
            if settings.judging.judge_by == "logprobs":
                require_log_probabilities(judge or model, "the judge", 'judge_by="text"')
            if settings.select is not None and settings.select.asks == "judge":
                require_log_probabilities(judge or model, f"select={select!r}", 'select="judge"')
            yield plan


class JudgeCall(_Filling):
    """A call of `judge`."""

    def plan(self) -> Plan:
        """Return what would be done."""
        return Plan(self._plan().recorded())

    async def fill(self, watch: Watch) -> tuple[Summary, dict[str, Any]]:
        """Judge."""
        plan = await in_thread(self._plan)
        return await judge_again(plan, watch), {"quality": plan.settings.quality or "default"}

    def _plan(self) -> JudgePlan:
        options = dict(self._options)
        constitution, judge = options.pop("constitution"), optional_judge(options.pop("judge"))
        settings = RejudgeSettings(
            data=data_source(options.pop("data")),
            constitution=None if constitution is None else str(constitution),
            judge=judge,
            cluster=take_cluster(options, (judge,)),
            out=new_run(options.pop("out")),
            **_common(options),
        )
        plan = plan_judge(settings)
        check_engine_options((plan.judge,), settings.engine.engine_option, settings.engine.template_option)
        if settings.judging.judge_by == "logprobs":
            require_log_probabilities(plan.judge, "the judge", 'judge_by="text"')
        return plan


def _common(options: dict[str, Any]) -> Mapping[str, Any]:
    """Return the options as settings have them, from what is left of a call's."""
    options["prompts_dir"] = existing_directory(options["prompts_dir"], "prompts_dir")
    options |= {name: tuple(options[name]) for name in ("engine_option", "stop") if name in options}
    groups = {
        "engine": take(EngineSettings, options),
        "judging": take_judging(options),
        "ranking": take(RankingSettings, options),
        "checking": take(CheckSettings, options),
    }
    return {**groups, **(take_writing(options) if "thinking" in options else {}), **options}
