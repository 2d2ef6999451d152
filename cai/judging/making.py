"""A judge that is open in a replica on a cluster, and judges the rows that come to it."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from cai.cluster import Role
from cai.core.records import Provenance, Row
from cai.method.judge import JudgeConfiguration
from cai.method.row import Judging
from cai.method.settings import RankingSettings
from cai.models.base import Engine
from cai.models.jury import parse_judge
from cai.models.meter import UsageCounter
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.filling import open_closing


@dataclass(frozen=True, slots=True)
class JudgingSpec:
    """How a judge is opened and asked: a `cai.cluster.MakerSpec`."""

    judge_spec: ModelSpec
    engine: EngineSettings
    judge_configuration: JudgeConfiguration
    ranking: RankingSettings

    async def open(self) -> "JudgingMaker":
        """Open the judge; raises ModelError."""
        async with AsyncExitStack() as stack:
            judge = await open_closing(self.judge_spec, self.engine, stack)
            return JudgingMaker(self, judge, stack.pop_all())

    def revealed(self) -> "_RevealedSpec":
        """Return the spec for other machines, with the addresses as they were typed: pickle leaves secrets out."""
        return _RevealedSpec(self.judge_spec.reveal(), self)


@dataclass(frozen=True, slots=True)
class _RevealedSpec:
    """A spec that can be pickled with its address; whoever unpickles it opens the judge."""

    judge: str = field(repr=False)
    spec: JudgingSpec

    async def open(self) -> "JudgingMaker":
        """Open the judge there."""
        return await replace(self.spec, judge_spec=parse_judge(self.judge)).open()


@dataclass(frozen=True, slots=True)
class JudgingMaker:
    """A judge, open; nobody answers beside it."""

    spec: JudgingSpec
    judging: Engine
    stack: AsyncExitStack

    @property
    def model(self) -> str:
        """The name of the judge."""
        return self.judging.name

    judge = model

    @property
    def concurrency(self) -> int:
        """How many requests the judge can usefully hold at once."""
        return self.judging.concurrency

    def engine(self, _role: Role) -> Engine:
        """Return the judge."""
        return self.judging

    async def make(self, item: Row, /, provenance: Provenance, tally: UsageCounter) -> Row:
        """Judge a row, whose provenance is kept but for the judge's; raises as `Judging.row`."""
        judging = Judging(self.judging, self.spec.judge_configuration, tally, self.spec.ranking)
        return await judging.row(replace(item, provenance=provenance))

    async def close(self) -> None:
        """Close the judge."""
        await self.stack.aclose()
