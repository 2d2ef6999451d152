"""`judge_bench`: what judges are worth, on answers of which it is known which is better."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cai.api.given import (
    Data,
    Models,
    data_sources,
    existing_directory,
    labelled_judge,
    labelled_models,
    optional_directory,
    take_judging,
)
from cai.api.options import Count, Positive, Seed, ThinkingMode, checked, take
from cai.api.working import AsynchronousCall, InterruptedWork, Plan
from cai.core.errors import UsageError
from cai.core.threads import in_thread
from cai.judge_bench.results import JudgeBench
from cai.judge_bench.settings import BenchSettings, JudgeVariant
from cai.models.settings import EngineSettings
from cai.pipeline.watch import Watch

if TYPE_CHECKING:
    from cai.judge_bench.plan import BenchPlan


def judge_bench(
    data: Data,
    *,
    judge: Models,
    constitution: str | Path,
    variant: Sequence[JudgeVariant] = ("plain",),
    split: str | None = None,
    shape: str | None = None,
    limit: Count | None = None,
    calibrate: bool = False,
    seed: Seed = 0,
    max_tokens: Count = 512,
    judge_principles: Count = 1,
    judge_orders: Literal["both", "one"] = "both",
    judge_by: Literal["logprobs", "text"] = "logprobs",
    judge_reasoning: bool = False,
    judge_thinking: ThinkingMode = "off",
    judge_calibration: str | Path | None = None,
    thinking_budget: Count | None = None,
    device: str = "auto",
    dtype: str = "auto",
    concurrency: Count | None = None,
    timeout: Positive = 600.0,
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    prompts_dir: str | Path | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> JudgeBench:
    """Measure judges on pairs of which it is known which answer is better.

    `data` is a file or a dataset of pairs as after `cai judge bench`, `judge` a model, a list of them (a text may be
    `NAME=MODEL`), or a mapping from names to models. Every judge is asked in each `variant`: `plain`, `averaged` under
    all principles that apply, `reasoning` with reasons first, `gates` and `rubric` about each answer by itself, which
    gets a score. `split` and `shape` say which part and which layout of
    the data is meant, `limit` of its pairs are drawn from `seed`. With `calibrate` how sure each judge may be is
    fitted on one half, tested on the other, and written to `calibration.json`. `out` is a directory (None:
    `judge-benches/NAME`). The other options, `constitution`, `judge_principles`, `judge_orders`, `judge_by`,
    `judge_reasoning`, `judge_thinking`, `judge_calibration`, `thinking_budget`, `max_tokens`, how models are opened
    (`device`, `dtype`, `concurrency`, `timeout`, `engine_option`, `template_option`), `prompts_dir`, `fresh`,
    `retry_failed` and `progress`, are as for `judge`.

    Returns what was measured: `result.of("tiny").accuracy.interval` has a share in [0, 1] with the ends of its 95 %
    interval, `result.pairs` the judges side by side, `result.problems` what makes one unfit. The same call again goes
    on, also with more judges or a larger limit. Raises as `generate` does.
    """
    return JudgeBenchCall(checked(judge_bench, locals())).run()


class JudgeBenchCall(AsynchronousCall[JudgeBench]):
    """A call of `judge_bench`."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(progress=options.pop("progress"))
        self._options = options

    def plan(self) -> Plan:
        """Return what would be measured."""
        plan = self._planned()
        return Plan(plan.recorded() | {"out": str(plan.out)}, plan.remarks)

    async def work(self, watch: Watch) -> JudgeBench:
        """Measure."""
        from cai.judge_bench.run import bench_judges  # noqa: PLC0415

        plan = await in_thread(partial(self._planned))
        for line in plan.remarks:
            watch.say(line)
        result = await bench_judges(plan, watch)
        if result == "interrupted":
            raise InterruptedWork
        return result

    def _planned(self) -> "BenchPlan":
        from cai.judge_bench.plan import plan_bench  # noqa: PLC0415  (Arrow)

        options = dict(self._options)
        sources = data_sources(options.pop("data"))
        if len(sources) > 1:
            raise UsageError("judge_bench takes one dataset; bench several one after the other")
        options |= {name: tuple(options[name]) for name in ("engine_option", "variant")}
        return plan_bench(
            BenchSettings(
                data=sources[0],
                judge=labelled_models(options.pop("judge"), labelled_judge),
                constitution=str(options.pop("constitution")),
                prompts_dir=existing_directory(options.pop("prompts_dir"), "prompts_dir"),
                out=optional_directory(options.pop("out"), "out"),
                engine=take(EngineSettings, options),
                judging=take_judging(options),
                **options,
            )
        )
