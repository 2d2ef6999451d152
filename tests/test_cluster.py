"""The pool without Ray: who gets a row, what happens when replicas are lost, and what crosses between processes."""

import asyncio
import pickle
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai import __version__
from cai.cluster import check_cluster, open_cluster
from cai.cluster.pool import FAILED_STARTS, LOSSES_A_ROW, LostError, Pool
from cai.cluster.replica import PackedError, Placement, Replica, ReplicaInfo, Role, RowResult
from cai.constitution import RevisionPlan
from cai.core.errors import (
    CaiError,
    ContextError,
    EngineGoneError,
    ModelError,
    RequestError,
    RowError,
    UsageError,
)
from cai.core.records import Failure, Prompt, Provenance, Row, Usage
from cai.generate.maker import GenerationSpec
from cai.method.templates import Templates
from cai.models import open_engine
from cai.models.base import Choice, Completion, Request
from cai.models.meter import UsageCounter
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.pipeline import Pipeline
from tests.building import make_judge_configuration, make_method, make_prompt
from tests.storage import user

PROVENANCE = Provenance("m", "m", "c", "c", "t", "t", "i", 0, 0)
USAGE = Usage(2, 30, 10, 5)
OPENED = ReplicaInfo("m", "j", 8)
DYING = 3
"""The concurrency of replicas that are lost once they are asked a question."""
Makes = Callable[[Prompt], Awaitable[Row | CaiError | LostError]]

SCRIPTED = ModelSpec.parse("scripted")


QUESTION = Request((user("A or B?"),))


async def good(prompt: Prompt) -> Row:
    await asyncio.sleep(0)
    return Row(prompt, (), (), USAGE, PROVENANCE)


@dataclass(eq=False)
class Actor:
    """A replica in memory, which answers as it is told to."""

    makes: Makes = good
    opened: ReplicaInfo | CaiError | LostError = OPENED
    version: str = __version__
    fits: bool = True
    flying: int = 0
    peak: int = 0
    asked: int = 0
    ended: list[str] = field(default_factory=list)

    async def place(self) -> Placement:
        if not self.fits:
            await asyncio.Event().wait()
        return Placement("there", self.version)

    async def open(self) -> ReplicaInfo | PackedError:
        await asyncio.sleep(0)
        if isinstance(self.opened, LostError):
            raise self.opened
        return PackedError.of(self.opened) if isinstance(self.opened, CaiError) else self.opened

    async def make(self, item: Prompt | Row, provenance: Provenance) -> RowResult:
        assert isinstance(item, Prompt)
        self.flying += 1
        self.peak = max(self.peak, self.flying)
        self.asked += 1
        try:
            result = await self.makes(item)
        finally:
            self.flying -= 1
        if isinstance(result, LostError):
            raise result
        return RowResult(result if isinstance(result, Row) else PackedError.of(result), USAGE)

    async def answer(
        self, role: Role, request: Request, options: Sequence[str] | None, juror: int | None = None
    ) -> Completion | Choice:
        self.asked += 1
        if isinstance(self.opened, ReplicaInfo) and self.opened.concurrency == DYING:
            raise LostError("its node died")
        if options is None:
            return Completion(role, "stop", 1, 0, 1)
        return Choice((0.75, 0.25), 1.0, 1, 0)

    async def close(self) -> None:
        self.ended.append("closed")

    def kill(self) -> None:
        self.ended.append("killed")


class Memory:
    """A sink in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.failures: list[Failure] = []

    def is_finished(self, prompt_id: str) -> bool:
        return False

    def commit(self, row: Row) -> None:
        self.rows.append(row)

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)


@dataclass
class Ended:
    """How a run over a pool ended."""

    sink: Memory
    started: list[Actor]
    tally: UsageCounter
    left: int
    error: Exception | None


async def _run(actors: list[Actor], replicas: int, rows: int, placing_seconds: float) -> Ended:
    """Hire the actors in turn, the last one's kind for ever after; carry rows through them."""
    started: list[Actor] = []
    left = 0

    def start() -> Actor:
        model = actors[min(len(started), len(actors) - 1)]
        started.append(Actor(model.makes, model.opened, model.version, model.fits))
        return started[-1]

    async def disconnect() -> None:
        nonlocal left
        left += 1

    pool = Pool(start, replicas, disconnect, placing_seconds)
    ended = Ended(Memory(), started, UsageCounter(), left, None)
    try:
        await pool.open()
        pipeline = Pipeline(
            lambda prompt: pool.make(prompt, PROVENANCE, ended.tally), ended.sink, concurrency=pool.concurrency
        )
        await pipeline.run(make_prompt(ordinal=number) for number in range(rows))
    except Exception as error:
        ended.error = error
    finally:
        await pool.close()
    ended.left = left
    return ended


def run(actors: list[Actor], replicas: int = 2, rows: int = 100, placing_seconds: float = 60.0) -> Ended:
    ended = asyncio.run(asyncio.wait_for(_run(actors, replicas, rows, placing_seconds), 30))
    assert ended.left == 1
    assert all(actor.ended[-1] == "killed" for actor in ended.started)
    return ended


def test_rows_are_shared_out_and_each_arrives_once() -> None:
    ended = run([Actor()], replicas=3)
    assert ended.error is None
    assert sorted(row.prompt.ordinal for row in ended.sink.rows) == list(range(100))
    assert [actor.asked > 20 for actor in ended.started] == [True] * 3
    assert max(actor.peak for actor in ended.started) <= 9, "8 requests and an eighth more rows"
    assert ended.tally.usage == Usage(200, 3000, 1000, 500)
    assert all(actor.ended == ["closed", "killed"] for actor in ended.started)


@settings(max_examples=50, deadline=None)
@given(
    lifetimes=st.lists(st.integers(1, 30), max_size=6),
    replicas=st.integers(1, 4),
    concurrency=st.integers(1, 9),
    rows=st.integers(0, 80),
)
def test_whatever_dies_nothing_is_lost_or_doubled(
    lifetimes: list[int], replicas: int, concurrency: int, rows: int
) -> None:
    def mortal(rows_left: int) -> Actor:
        async def answer(prompt: Prompt) -> Row | LostError:
            nonlocal rows_left
            rows_left -= 1
            if rows_left < 0:
                return LostError("its node died")
            await asyncio.sleep(0)
            return await good(prompt)

        return Actor(answer, ReplicaInfo("m", "m", concurrency))

    immortal = Actor(opened=ReplicaInfo("m", "m", concurrency))
    ended = run([*map(mortal, lifetimes), immortal], replicas, rows)
    assert ended.error is None
    # A row that was in hand at five deaths is owed; nothing else is.
    done = [row.prompt.id for row in ended.sink.rows]
    owed = [failure.id for failure in ended.sink.failures]
    assert sorted(done + owed) == sorted(f"p{number}" for number in range(rows))
    assert not owed or len(lifetimes) >= LOSSES_A_ROW
    assert all(failure.retryable for failure in ended.sink.failures)


def test_single_questions_go_to_the_replicas_and_outlive_them() -> None:
    async def ask() -> tuple[list[Completion | Choice], tuple[str, str]]:
        started: list[Actor] = []

        def start() -> Actor:
            started.append(Actor(opened=ReplicaInfo("m", "j", DYING) if not started else OPENED))
            return started[-1]

        async def disconnect() -> None:
            pass

        pool = Pool(start, 2, disconnect)
        await pool.open()
        gate, judge = pool.engine("model"), pool.engine("judge")
        answers: list[Completion | Choice] = [await gate.complete(QUESTION)]
        answers += [await judge.choose(QUESTION, ("A", "B")) for _ in range(20)]
        await pool.close()
        assert started[0].asked == 1, "it died of its first question"
        return answers, (gate.name, judge.name)

    answers, names = asyncio.run(asyncio.wait_for(ask(), 30))
    assert answers == [Completion("model", "stop", 1, 0, 1), *[Choice((0.75, 0.25), 1.0, 1, 0)] * 20]
    assert names == ("m", "j")


@pytest.mark.parametrize("turns", range(6))
def test_a_pool_closes_while_it_lets_go_of_a_replica(turns: int) -> None:
    async def disconnect() -> None:
        pass

    async def close() -> None:
        pool = Pool(lambda: Actor(opened=ReplicaInfo("m", "j", DYING)), 1, disconnect)
        await pool.open()
        asking = asyncio.ensure_future(pool.engine("judge").complete(QUESTION))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait_for(pool.close(), 10)

    asyncio.run(close())


def test_one_that_is_lost_is_replaced_and_its_rows_go_to_others() -> None:
    async def dies(prompt: Prompt) -> Row | LostError:
        return LostError("its node died") if prompt.ordinal >= 20 else await good(prompt)

    ended = run([Actor(), Actor(dies), Actor()])
    assert ended.error is None
    assert len(ended.sink.rows) == 100
    assert len(ended.started) == 3
    assert ended.started[2].asked > 10


def test_a_row_that_kills_whoever_makes_it_is_owed_and_harms_no_other() -> None:
    async def poisoned(prompt: Prompt) -> Row | LostError:
        await asyncio.sleep(0)
        return LostError("out of memory") if prompt.ordinal == 50 else await good(prompt)

    ended = run([Actor(poisoned, ReplicaInfo("m", "m", 1))])
    assert ended.error is None
    assert len(ended.sink.rows) == 99
    assert [(failure.id, failure.retryable) for failure in ended.sink.failures] == [("p50", True)]
    assert len(ended.started) == 2 + LOSSES_A_ROW


def test_errors_arrive_as_they_were_raised() -> None:
    async def sometimes(prompt: Prompt) -> Row | CaiError:
        if prompt.ordinal == 5:
            return RowError("the model returned an empty response", stage="response", raw="??")
        if prompt.ordinal == 6:
            return RequestError("timed out", retryable=True, raw="504")
        if prompt.ordinal == 7:
            return ContextError("too long")
        return await good(prompt)

    ended = run([Actor(sometimes)])
    assert [(f.id, f.stage, f.cause, f.raw, f.retryable) for f in sorted(ended.sink.failures, key=lambda f: f.id)] == [
        ("p5", "response", "the model returned an empty response", "??", False),
        ("p6", "request", "timed out", "504", True),
        ("p7", "request", "too long", "", False),
    ]
    assert ended.tally.usage.requests == 200, "failed rows took tokens, too"


@pytest.mark.parametrize(
    "error",
    [
        RowError("no", stage="critique", retryable=True, raw="raw"),
        RequestError("no", retryable=True, kind="http 400", raw="raw"),
        ContextError("no", raw="raw"),
        EngineGoneError("no"),
        ModelError("no"),
    ],
)
def test_every_error_survives_the_way(error: CaiError) -> None:
    there = pickle.loads(pickle.dumps(PackedError.of(error))).unpack()
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


def test_an_engine_that_is_gone_everywhere_ends_the_run_in_one_sentence() -> None:
    async def goes(prompt: Prompt) -> Row | CaiError:
        return EngineGoneError("http://a does not answer") if prompt.ordinal >= 30 else await good(prompt)

    unreachable = Actor(opened=ModelError("http://a cannot be reached"))
    ended = run([Actor(goes), Actor(goes), unreachable])
    assert isinstance(ended.error, EngineGoneError)
    assert str(ended.error) == "no replica is left: node there: http://a cannot be reached"
    assert 0 < len(ended.sink.rows) <= 30
    assert ended.sink.failures == [], "what was in flight is owed"


def test_an_engine_that_is_gone_on_one_replica_is_opened_anew() -> None:
    async def goes(prompt: Prompt) -> Row | CaiError:
        return EngineGoneError("the engine core died") if prompt.ordinal >= 30 else await good(prompt)

    ended = run([Actor(goes), Actor()])
    assert ended.error is None
    assert len(ended.sink.rows) == 100


def test_replicas_that_never_finish_a_row_end_the_run() -> None:
    async def dies(_: Prompt) -> LostError:
        return LostError("no GPU memory")

    ended = run([Actor(dies)])
    assert isinstance(ended.error, EngineGoneError)
    assert "no GPU memory" in str(ended.error)
    assert ended.sink.rows == []
    ended = run([Actor(opened=LostError("the process was killed"))], replicas=2)
    assert isinstance(ended.error, EngineGoneError)
    assert "the process was killed" in str(ended.error)
    assert len(ended.started) == 2 * FAILED_STARTS


def test_a_model_that_cannot_be_opened_on_a_node_ends_the_run_with_the_node_s_name() -> None:
    ended = run([Actor(), Actor(opened=ModelError("no such directory: /models/x"))], rows=10_000)
    assert isinstance(ended.error, ModelError)
    assert str(ended.error) == "node there: no such directory: /models/x"


def test_a_node_that_comes_in_without_the_model_is_not_used_again_and_the_others_go_on() -> None:
    async def dies(prompt: Prompt) -> Row | LostError:
        return LostError("its node died") if prompt.ordinal >= 20 else await good(prompt)

    ended = run([Actor(), Actor(dies), Actor(opened=ModelError("no such directory"))])
    assert ended.error is None
    assert len(ended.sink.rows) == 100


def test_all_replicas_have_the_same_models_and_the_same_cai() -> None:
    ended = run([Actor(), Actor(opened=ReplicaInfo("other", "m", 8))], rows=10_000)
    assert isinstance(ended.error, ModelError)
    assert "other" in str(ended.error)
    ended = run([Actor(version="0.0.1")])
    assert isinstance(ended.error, ModelError)
    assert "0.0.1" in str(ended.error)


def test_no_room_anywhere_is_told_and_no_room_for_one_is_waited_for() -> None:
    ended = run([Actor(fits=False)], placing_seconds=0.01)
    assert isinstance(ended.error, EngineGoneError)
    assert "no room" in str(ended.error)
    ended = run([Actor(), Actor(fits=False)], rows=300, placing_seconds=0.001)
    assert ended.error is None
    assert len(ended.sink.rows) == 300


def test_a_bug_ends_the_run_instead_of_leaving_it_to_wait() -> None:
    async def buggy(_: Prompt) -> Row:
        raise ZeroDivisionError

    assert isinstance(run([Actor(buggy)]).error, ZeroDivisionError)


def test_the_spec_is_pickled_and_a_replica_makes_the_same_row_as_the_driver() -> None:
    plan = RevisionPlan(schedule="walk", rounds=1, gate=True)
    spec = GenerationSpec(SCRIPTED, SCRIPTED, EngineSettings(), make_method(plan), make_judge_configuration(), 2)

    async def there() -> RowResult:
        replica, default = Replica(), await open_engine(SCRIPTED)
        assert (await replica.place()).version == __version__
        opened = await replica.open(pickle.loads(pickle.dumps(spec.revealed())), "/nowhere", {})
        assert opened == ReplicaInfo("scripted", "scripted", 64)
        outcome = await replica.make(make_prompt(), PROVENANCE)
        assert await replica.answer("judge", QUESTION, ("A", "B")) == await default.choose(QUESTION, ("A", "B"))
        assert await replica.answer("model", QUESTION, None) == await default.complete(QUESTION)
        await replica.close()
        assert isinstance(await replica.answer("judge", QUESTION, None), PackedError)
        gone = await replica.make(make_prompt(), PROVENANCE)
        assert isinstance(gone.result, PackedError)
        assert isinstance(gone.result.unpack(), EngineGoneError)
        return pickle.loads(pickle.dumps(outcome))  # type: ignore[no-any-return]

    async def here() -> Row:
        maker = await spec.open()
        return await maker.make(make_prompt(), PROVENANCE, UsageCounter())

    assert asyncio.run(there()).result == asyncio.run(here())


def test_templates_travel_without_their_files() -> None:
    templates = Templates.load("ko")
    there = pickle.loads(pickle.dumps(templates))
    assert there.fingerprint == templates.fingerprint
    assert there.judge_decide() == templates.judge_decide()
    principle = make_judge_configuration().constitution.principles[0]
    assert there.critique(principle) == templates.critique(principle)


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "somewhere", "10.0.0.1", "", ":6379", "host:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--cluster"):
        check_cluster(address)


@pytest.mark.parametrize("address", ["auto", "local", "10.0.0.1:6379", "head.cluster:6379"])
def test_an_address_is_taken(address: str) -> None:
    check_cluster(address)


def test_without_ray_one_sentence_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "cai.cluster.ray_cluster", raising=False)
    plan = RevisionPlan(schedule="walk", rounds=1, gate=True)
    spec = GenerationSpec(SCRIPTED, SCRIPTED, EngineSettings(), make_method(plan), make_judge_configuration(), 1)
    with pytest.raises(UsageError, match=r"pip install 'cai\[ray\]'"):
        asyncio.run(open_cluster("auto", spec, 1, 0))
