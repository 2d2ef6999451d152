"""An evaluation's rows, made by a model and the judge that are open: in this process, or in each replica on a cluster.

What is to be made is a row already, as far as it is there: without a trace the model answers its prompt, with one only
the gates on its response are asked, and of two the judge says which is better. `model` of a trace is the model's label.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from cai.cluster import Pool, Role, RowMaker, open_cluster
from cai.cluster.settings import ClusterSettings
from cai.core.machine import release_memory
from cai.core.records import Prompt, Provenance, Row, Trace, Usage
from cai.core.threads import in_thread
from cai.evaluate.answering import Answering
from cai.evaluate.attacking import Attacks
from cai.evaluate.comparing import Comparing
from cai.evaluate.records import Answer
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.models.base import Engine
from cai.models.jury import parse_judge
from cai.models.meter import UsageCounter
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.filling import open_closing


def owed(prompt: Prompt, provenance: Provenance, *answers: tuple[str, Answer]) -> Row:
    """Return a row to be made, with what is there of it: answers with their model's label."""
    traces = tuple(
        Trace(place, 0, answer.response, (), answer.response, answer.truncated, None, label)
        for place, (label, answer) in enumerate(answers)
    )
    return Row(prompt, traces, (), Usage(), provenance)


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """How a model and the judge are opened and asked: a `cai.cluster.MakerSpec`."""

    model_spec: ModelSpec
    judge_spec: ModelSpec
    engine: EngineSettings
    method: Method
    judge_configuration: JudgeConfiguration
    attacks: tuple[str, ...]
    """The names of the attacks, because what they do cannot be pickled."""

    async def open(self) -> "EvaluationMaker":
        """Open both, each once; raises ModelError."""
        async with AsyncExitStack() as stack:
            judge = await open_closing(self.judge_spec, self.engine, stack)
            same = self.model_spec == self.judge_spec
            model = judge if same else await open_closing(self.model_spec, self.engine, stack)
            return self.beside(model, judge, stack.pop_all())

    def beside(self, model: Engine, judge: Engine, stack: AsyncExitStack) -> "EvaluationMaker":
        """Return what makes rows with both, which are open; the stack closes them."""
        return EvaluationMaker(self, Attacks.parse(self.attacks, self.method.templates.language), model, judge, stack)

    def revealed(self) -> "_RevealedSpec":
        """Return the spec for other machines, with the addresses as they were typed: pickle leaves secrets out."""
        return _RevealedSpec(self.model_spec.reveal(), self.judge_spec.reveal(), self)


@dataclass(frozen=True, slots=True)
class _RevealedSpec:
    """A spec that can be pickled with its addresses; whoever unpickles it opens the models."""

    model: str = field(repr=False)
    judge: str = field(repr=False)
    spec: EvaluationSpec

    async def open(self) -> "EvaluationMaker":
        """Open the models there."""
        model, judge = ModelSpec.parse(self.model), parse_judge(self.judge)
        return await replace(self.spec, model_spec=model, judge_spec=judge).open()


@dataclass(frozen=True, slots=True)
class EvaluationMaker:
    """A model and the judge, open; `stack` closes what was opened for them."""

    spec: EvaluationSpec
    attacks: Attacks
    answering: Engine
    judging: Engine
    stack: AsyncExitStack

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self.answering.name

    @property
    def judge(self) -> str:
        """The name of the judge."""
        return self.judging.name

    @property
    def concurrency(self) -> int:
        """How many requests the model that answers can usefully hold at once."""
        return self.answering.concurrency

    def engine(self, role: Role) -> Engine:
        """Return the model that answers, or the judge."""
        return self.answering if role == "model" else self.judging

    async def make(self, item: Row, /, provenance: Provenance, tally: UsageCounter) -> Row:
        """Make a row of what is there of it; raises as `Answering` and `Comparing` do."""
        spec, prompt = self.spec, item.prompt
        if len(item.traces) > 1:
            a, b = item.traces
            labels = str(a.model), str(b.model)
            comparing = Comparing(self.judging, spec.judge_configuration, labels, (a, b), provenance, tally)
            return await comparing.row(prompt)
        known = item.traces[0] if item.traces else None
        answering = Answering(self.answering, self.judging, spec.method, provenance, tally, self.attacks)
        return await answering.row(prompt, known)

    async def close(self) -> None:
        """Close what was opened."""
        await self.stack.aclose()


Open = Callable[[ModelSpec, AsyncExitStack], Awaitable[Engine]]
"""Opens a model, which the stack closes."""


class Here:
    """The models of an evaluation in this process: the judge all the time, and one model after the other beside it."""

    def __init__(self, spec: Callable[[ModelSpec], EvaluationSpec], judge: ModelSpec, open_model: Open) -> None:
        """`spec` says how a model is asked."""
        self._spec, self._judge_spec, self._open = spec, judge, open_model
        self._stack, self._of_model = AsyncExitStack(), AsyncExitStack()
        self._judge: Engine | None = None

    async def judge(self) -> Engine:
        """Return the judge, open; raises ModelError."""
        self._judge = self._judge or await self._open(self._judge_spec, self._stack)
        return self._judge

    async def maker(self, model: ModelSpec) -> RowMaker[Row]:
        """Return a model and the judge, and close the model before; raises ModelError."""
        judge = await self.judge()
        await self._of_model.aclose()
        engine = judge if model == self._judge_spec else await self._open(model, self._of_model)
        return self._spec(model).beside(engine, judge, AsyncExitStack())

    async def judging(self) -> RowMaker[Row]:
        """Return what makes rows of two answers, without any model beside the judge."""
        judge = await self.judge()
        await self._of_model.aclose()
        return self._spec(self._judge_spec).beside(judge, judge, AsyncExitStack())

    async def close(self) -> None:
        """Close all, and give back the memory that they had, which other processes may need."""
        self._judge = None
        await self._of_model.aclose()
        await self._stack.aclose()
        await in_thread(release_memory)


class Elsewhere:
    """The same by replicas on a cluster, each with one model and the judge; a pool of them for one model at a time."""

    def __init__(self, spec: Callable[[ModelSpec], EvaluationSpec], first: ModelSpec, cluster: ClusterSettings) -> None:
        """`first` is the model that is opened with the judge before anything is asked."""
        self._spec, self._first, self._cluster = spec, first, cluster
        self._pool: Pool | None = None
        self._model: ModelSpec | None = None

    async def judge(self) -> Engine:
        """Return the judge of the replicas that are open; raises UsageError, ModelError among them."""
        return (await self.maker(self._model or self._first)).engine("judge")

    async def maker(self, model: ModelSpec) -> RowMaker[Row]:
        """Return replicas of a model and the judge, and close those of the model before; raises as `judge` does."""
        if self._pool is None or model != self._model:
            await self.close()
            settings, spec = self._cluster, self._spec(model).revealed()
            self._pool = await open_cluster(str(settings.cluster), spec, settings.replicas, settings.gpus_per_replica)
            self._model = model
        return self._pool

    async def judging(self) -> RowMaker[Row]:
        """Return what makes rows of two answers: the replicas that are open, whichever model they have."""
        return await self.maker(self._model or self._first)

    async def close(self) -> None:
        """Close the replicas."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
