"""`draft_tenets`: a constitution's principles as testable sentences with scenarios, drafted by a model."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai.api.given import Model, existing_directory, model_spec, optional_path
from cai.api.options import Count, MinP, NotNegative, Positive, Seed, ThinkingMode, TopP, checked, take
from cai.api.working import AsynchronousCall, InterruptedWork, Plan
from cai.core.threads import in_thread
from cai.method.settings import take_writing
from cai.models.settings import EngineSettings
from cai.pipeline.watch import Watch
from cai.tenets.run import DraftedTenets
from cai.tenets.settings import TenetsSettings

if TYPE_CHECKING:
    from cai.tenets.plan import TenetsPlan


def draft_tenets(
    constitution: str | Path,
    *,
    model: Model,
    scenarios: Count = 10,
    seed: Seed = 0,
    temperature: NotNegative = 1.0,
    top_p: TopP = 1.0,
    top_k: Count | None = None,
    min_p: MinP = 0.0,
    repetition_penalty: Positive = 1.0,
    stop: Sequence[str] = (),
    thinking: ThinkingMode = "auto",
    thinking_budget: Count | None = None,
    max_tokens: Count = 1024,
    device: str = "auto",
    dtype: str = "auto",
    concurrency: Count | None = None,
    timeout: Positive = 600.0,
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    prompts_dir: str | Path | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> DraftedTenets:
    """Let a model split each principle of a constitution into tenets, and draft `scenarios` for each, into a YAML file.

    `out` is the file (None: `NAME-tenets.yaml`). What is in it stays as it is: principles that have tenets there keep
    them, tenets without scenarios get some; so people may write some of it themselves. The other options,
    `constitution`, `model`, `seed`, how texts are drawn (`temperature`, `top_p`, `top_k`, `min_p`,
    `repetition_penalty`, `stop`, `max_tokens`, `thinking`, `thinking_budget`), how the model is opened (`device`,
    `dtype`, `concurrency`, `timeout`, `engine_option`, `template_option`), `prompts_dir` and `progress`, are as for
    `generate`.

    Returns how many `tenets` and `scenarios` the file has, how many are new, and what was left out, by cause.
    `evaluate(…, tenets=result.out)` examines models with it. The same call again goes on. Raises as `generate` does.
    """
    return DraftTenetsCall(checked(draft_tenets, locals())).run()


class DraftTenetsCall(AsynchronousCall[DraftedTenets]):
    """A call of `draft_tenets`."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(progress=options.pop("progress"))
        self._options = options

    def plan(self) -> Plan:
        """Return what would be drafted."""
        return Plan(self._planned().recorded())

    async def work(self, watch: Watch) -> DraftedTenets:
        """Draft."""
        from cai.tenets.run import draft_tenets as draft  # noqa: PLC0415

        result = await draft(await in_thread(partial(self._planned)), watch)
        if result == "interrupted":
            raise InterruptedWork
        return result

    def _planned(self) -> "TenetsPlan":
        from cai.tenets.plan import plan_tenets  # noqa: PLC0415

        options = dict(self._options)
        options |= {name: tuple(options[name]) for name in ("engine_option", "stop")}
        return plan_tenets(
            TenetsSettings(
                constitution=str(options.pop("constitution")),
                model=model_spec(options.pop("model")),
                prompts_dir=existing_directory(options.pop("prompts_dir"), "prompts_dir"),
                out=optional_path(options.pop("out")),
                engine=take(EngineSettings, options),
                **take_writing(options),
                **options,
            )
        )
