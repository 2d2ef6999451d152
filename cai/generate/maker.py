"""Where rows are made: by models in this process, or by replicas of them on a cluster; to a run it is the same."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

from cai.cluster import Role, RowMaker, open_cluster
from cai.cluster.settings import ClusterSettings
from cai.core.errors import ModelError
from cai.core.records import Prompt, Provenance, Row
from cai.core.threads import in_thread
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.row import Generation, Judging
from cai.method.scoring import Scorer, Scoring
from cai.method.selectors import Selection
from cai.method.settings import RankingSettings
from cai.models.base import Engine
from cai.models.jury import JuryEngine, JurySpec, members_of, parse_judge
from cai.models.meter import UsageCounter
from cai.models.places import EngineInOrder, Places
from cai.models.remembering import Answers, RememberingEngine
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
    responders: tuple[ModelSpec, ...] = ()
    select: Selection | None = None

    @property
    def responses(self) -> int:
        """How many responses a prompt gets, of all models together."""
        return self.samples * (1 + len(self.responders))

    async def open(self, say: Callable[[str], None] | None = None) -> RowMaker[Prompt]:
        """Open the models in this process, each once: the judge is the model or the responder of its own spec.

        Raises ModelError, also where two models that answer have one name: nobody could tell who said what.
        """
        async with AsyncExitStack() as stack:
            opened: list[tuple[ModelSpec, OrderedEngine]] = []
            for spec in (self.model_spec, *self.responders, *members_of(self.judge_spec)):
                if all(spec != other for other, _ in opened):
                    engine = await open_closing(spec, self.engine, stack, say)
                    opened.append((spec, OrderedEngine(engine, Places(engine.concurrency))))
            judges = [next(one for spec, one in opened if spec == juror) for juror in members_of(self.judge_spec)]
            judge = judges[0]
            if isinstance(self.judge_spec, JurySpec):
                jury = JuryEngine([one.engine for one in judges])
                judge = OrderedEngine(jury, Places(jury.concurrency))
            answering = tuple(ordered for _, ordered in opened[: 1 + len(self.responders)])
            names = [ordered.engine.name for ordered in answering]
            for number, name in enumerate(names):
                if name in names[:number]:
                    raise ModelError(f"two models that answer are both called {name}; give each model once")
            reward = await in_thread(self._open_reward)
            return LocalMaker(self, answering, judge, stack.pop_all(), reward)

    def _open_reward(self) -> Scorer | None:
        """Open the reward model that selects, if one does; raises ModelError."""
        if self.select is None or self.select.reward_model is None:
            return None
        from cai.models.local.loading import torch_device  # noqa: PLC0415  (torch, which servers' clients do not need)
        from cai.models.reward_model import RewardModel  # noqa: PLC0415

        return RewardModel(self.select.reward_model, torch_device(self.engine.device))

    def revealed(self) -> "_RevealedSpec":
        """Return the spec for other machines, with the addresses as they were typed: pickle leaves secrets out."""
        return _RevealedSpec(self.model_spec.reveal(), self.judge_spec.reveal(), self)


@dataclass(frozen=True, slots=True)
class _RevealedSpec:
    """A spec that can be pickled with its addresses; whoever unpickles it opens the models."""

    model: str = field(repr=False)
    judge: str = field(repr=False)
    spec: GenerationSpec

    async def open(self) -> RowMaker[Prompt]:
        """Open the models there."""
        judge = parse_judge(self.judge)
        return await replace(self.spec, model_spec=ModelSpec.parse(self.model), judge_spec=judge).open()


class OrderedEngine(NamedTuple):
    """An engine with its places, in which rows are served in order."""

    engine: Engine
    places: Places


@dataclass(frozen=True, slots=True)
class LocalMaker:
    """Models of a spec that are open in this process: `answering` are the model and its responders."""

    spec: GenerationSpec
    answering: tuple[OrderedEngine, ...]
    judging: OrderedEngine
    stack: AsyncExitStack
    reward: Scorer | None = None
    rows: Iterator[int] = field(default_factory=count)
    """Rows in the order in which they begin, which is the order in which they are served."""

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self.answering[0].engine.name

    @property
    def responders(self) -> tuple[str, ...]:
        """The names of the models that answer beside it."""
        return tuple(ordered.engine.name for ordered in self.answering[1:])

    @property
    def judge(self) -> str:
        """The name of the model that judges."""
        return self.judging.engine.name

    @property
    def concurrency(self) -> int:
        """How many requests the models that answer can usefully hold at once, of those that hold most."""
        return max(ordered.engine.concurrency for ordered in self.answering)

    def engine(self, role: Role) -> Engine:
        """Return the judge, or the model that answers, which gates are put to."""
        return (self.judging if role == "judge" else self.answering[0]).engine

    async def make(
        self, prompt: Prompt, provenance: Provenance, tally: UsageCounter, answers: Answers | None = None
    ) -> Row:
        """Make a row here; what is among the answers is not asked for again, and what is asked for is kept there."""
        row, spec = next(self.rows), self.spec

        def of_row(ordered: OrderedEngine) -> Engine:
            engine = EngineInOrder(*ordered, row)
            return engine if answers is None else RememberingEngine(engine, answers, prompt.id)

        engine, *others = map(of_row, self.answering)
        judge = engine if self.judging is self.answering[0] else of_row(self.judging)
        judging = Judging(judge, spec.judge_configuration, tally, spec.ranking)
        scoring = None
        if spec.select is not None and spec.select.asks is not None:
            scoring = Scoring(spec.select.name, judge, spec.judge_configuration, tally, self.reward)
        generation = Generation(engine, spec.method, spec.samples, provenance, judging, tuple(others), scoring)
        served = {ordered.places for ordered in (*self.answering, self.judging)}
        for places in served:
            places.begin(row)
        try:
            return await generation.row(prompt)
        finally:
            for places in served:
                places.end(row)

    async def close(self) -> None:
        """Close the models."""
        await self.stack.aclose()


async def open_maker(
    spec: GenerationSpec, cluster: ClusterSettings, stack: AsyncExitStack, say: Callable[[str], None]
) -> RowMaker[Prompt]:
    """Open what makes the rows, which the stack closes; raises UsageError, ModelError among them.

    `say` tells a person what a server is waited for; replicas on a cluster tell nobody.
    """
    maker: RowMaker[Prompt]
    if cluster.cluster is None:
        maker = await spec.open(say)
    else:
        maker = await open_cluster(cluster.cluster, spec.revealed(), cluster.replicas, cluster.gpus_per_replica)
    stack.push_async_callback(maker.close)
    return maker
