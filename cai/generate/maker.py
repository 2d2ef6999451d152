"""Where rows are made: by models in this process, or by replicas of them on a cluster; to a run it is the same."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count

from cai.cluster import RowMaker, open_cluster
from cai.cluster.settings import ClusterSettings
from cai.core.records import Prompt, Provenance, Row
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.row import Generation, Judging
from cai.method.settings import RankingSettings
from cai.models.base import Engine
from cai.models.meter import UsageCounter
from cai.models.places import EngineInOrder, Places
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.filling import open_closing


@dataclass(frozen=True, slots=True)
class GenerationSpec:
    """How a generation's models are opened and asked: a `cai.cluster.MakerSpec`."""

    model_spec: ModelSpec
    judge_spec: ModelSpec
    engine: EngineSettings
    method: Method
    judge_configuration: JudgeConfiguration
    samples: int
    ranking: RankingSettings = RankingSettings()

    async def open(self, say: Callable[[str], None] | None = None) -> RowMaker:
        """Open the models in this process; the judge is the model itself where both have one spec."""
        async with AsyncExitStack() as stack:
            engine = await open_closing(self.model_spec, self.engine, stack, say)
            judge = engine
            if self.judge_spec != self.model_spec:
                judge = await open_closing(self.judge_spec, self.engine, stack, say)
            places = Places(engine.concurrency)
            judging_places = places if judge is engine else Places(judge.concurrency)
            return LocalMaker(self, engine, judge, stack.pop_all(), places, judging_places)

    def revealed(self) -> "_RevealedSpec":
        """Return the spec for other machines, with the addresses as they were typed: pickle leaves secrets out."""
        return _RevealedSpec(self.model_spec.reveal(), self.judge_spec.reveal(), self)


@dataclass(frozen=True, slots=True)
class _RevealedSpec:
    """A spec that can be pickled with its addresses; whoever unpickles it opens the models."""

    model: str = field(repr=False)
    judge: str = field(repr=False)
    spec: GenerationSpec

    async def open(self) -> RowMaker:
        """Open the models there."""
        judge = ModelSpec.parse(self.judge)
        return await replace(self.spec, model_spec=ModelSpec.parse(self.model), judge_spec=judge).open()


@dataclass(frozen=True, slots=True)
class LocalMaker:
    """Models of a spec that are open in this process."""

    spec: GenerationSpec
    engine: Engine
    judging_engine: Engine
    stack: AsyncExitStack
    places: Places
    judging_places: Places
    rows: Iterator[int] = field(default_factory=count)
    """Rows in the order in which they begin, which is the order in which they are served."""

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self.engine.name

    @property
    def judge(self) -> str:
        """The name of the model that judges."""
        return self.judging_engine.name

    @property
    def concurrency(self) -> int:
        """How many requests the model can usefully hold at once."""
        return self.engine.concurrency

    async def make(self, prompt: Prompt, provenance: Provenance, tally: UsageCounter) -> Row:
        """Make a row here."""
        row = next(self.rows)
        judge = EngineInOrder(self.judging_engine, self.judging_places, row)
        judging = Judging(judge, self.spec.judge_configuration, tally, self.spec.ranking)
        engine = EngineInOrder(self.engine, self.places, row)
        generation = Generation(engine, self.spec.method, self.spec.samples, provenance, judging)
        with self.places.row(row), self.judging_places.row(row):
            return await generation.row(prompt)

    async def close(self) -> None:
        """Close the models."""
        await self.stack.aclose()


async def open_maker(
    spec: GenerationSpec, cluster: ClusterSettings, stack: AsyncExitStack, say: Callable[[str], None]
) -> RowMaker:
    """Open what makes the rows, which the stack closes; raises UsageError, ModelError among them.

    `say` tells a person what a server is waited for; replicas on a cluster tell nobody.
    """
    maker: RowMaker
    if cluster.cluster is None:
        maker = await spec.open(say)
    else:
        maker = await open_cluster(cluster.cluster, spec.revealed(), cluster.replicas, cluster.gpus_per_replica)
    stack.push_async_callback(maker.close)
    return maker
