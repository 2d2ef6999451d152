"""Where rows are made: by models in this process, or by replicas of them on a cluster; to a run it is the same."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from cai.cluster import Maker, open_cluster
from cai.cluster.settings import ClusterSettings
from cai.core.records import Prompt, Provenance, Row
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.row import Generation, Judging
from cai.models.base import Engine
from cai.models.meter import UsageCounter
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.filling import open_closing


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a generation's models are opened and asked."""

    model_spec: ModelSpec
    judge_spec: ModelSpec
    engine: EngineSettings
    method: Method
    judge_configuration: JudgeConfiguration
    samples: int

    async def open(self, say: Callable[[str], None] | None = None) -> Maker:
        """Open the models in this process; the judge is the model itself where both have one spec."""
        async with AsyncExitStack() as stack:
            engine = await open_closing(self.model_spec, self.engine, stack, say)
            judge = engine
            if self.judge_spec != self.model_spec:
                judge = await open_closing(self.judge_spec, self.engine, stack, say)
            return _Here(self, engine, judge, stack.pop_all())

    def revealed(self) -> "_Travelling":
        """Return the recipe for other machines, with the addresses as they were typed: pickle leaves secrets behind."""
        return _Travelling(self.model_spec.reveal(), self.judge_spec.reveal(), self)


@dataclass(frozen=True, slots=True)
class _Travelling:
    """A recipe on its way to another machine; only there its models are connected to."""

    model: str = field(repr=False)
    judge: str = field(repr=False)
    recipe: Recipe

    async def open(self) -> Maker:
        """Open the models there."""
        judge = ModelSpec.parse(self.judge)
        return await replace(self.recipe, model_spec=ModelSpec.parse(self.model), judge_spec=judge).open()


@dataclass(frozen=True, slots=True)
class _Here:
    """A recipe with its models open in this process."""

    recipe: Recipe
    engine: Engine
    judging_engine: Engine
    stack: AsyncExitStack

    @property
    def model(self) -> str:
        return self.engine.name

    @property
    def judge(self) -> str:
        return self.judging_engine.name

    @property
    def concurrency(self) -> int:
        return self.engine.concurrency

    async def make(self, prompt: Prompt, provenance: Provenance, tally: UsageCounter) -> Row:
        judging = Judging(self.judging_engine, self.recipe.judge_configuration, tally)
        generation = Generation(self.engine, self.recipe.method, self.recipe.samples, provenance, judging)
        return await generation.row(prompt)

    async def close(self) -> None:
        await self.stack.aclose()


async def open_maker(
    recipe: Recipe, cluster: ClusterSettings, stack: AsyncExitStack, say: Callable[[str], None]
) -> Maker:
    """Open what makes the rows, which the stack closes; raises UsageError, ModelError among them.

    `say` tells a person what a server is waited for; replicas on a cluster tell nobody.
    """
    maker: Maker
    if cluster.cluster is None:
        maker = await recipe.open(say)
    else:
        maker = await open_cluster(cluster.cluster, recipe.revealed(), cluster.replicas, cluster.gpus_per_replica)
    stack.push_async_callback(maker.close)
    return maker
