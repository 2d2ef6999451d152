"""When a run is told from its rows: independent failures never end one, an engine that answers nothing always does."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.constitution import RevisionPlan
from cai.core.errors import ContextError, EngineGoneError, RequestError
from cai.core.records import Failure, Prompt, Provenance, Row
from cai.method.row import Generation, Judging
from cai.method.verdicts import FAILED
from cai.models.base import Choice, Completion, Request
from cai.models.meter import UsageCounter
from cai.pipeline.breaker import PROBES, SUSPICIOUS
from cai.pipeline.pipeline import ROWS_PER_SLOT, Pipeline
from tests.building import make_judge_configuration, make_method, make_prompt

PROVENANCE = Provenance("m", "m", "c", "c", "t", "t", "i", 0, 0)


class Memory:
    """A sink in memory that is finished with what it was given."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.failures: dict[str, Failure] = {}

    def is_finished(self, prompt_id: str) -> bool:
        failure = self.failures.get(prompt_id)
        return prompt_id in self.rows or (failure is not None and not failure.retryable)

    def commit(self, row: Row) -> None:
        self.rows[row.prompt.id] = row
        self.failures.pop(row.prompt.id, None)

    def fail(self, failure: Failure) -> None:
        self.failures[failure.id] = failure


class Ill:
    """An engine that fails at once where `fails(stage, asked)` says how, and takes its time over answers."""

    name = "ill"
    context_length = None

    def __init__(self, fails: Callable[[str, Request | None], RequestError | None], concurrency: int = 8) -> None:
        self.concurrency = concurrency
        self.asked = 0
        self.flying = 0
        self._fails = fails

    async def complete(self, request: Request) -> Completion:
        await self._pass({1: "response", 3: "critique", 5: "revision"}[len(request.messages)], request)
        return Completion(f"text {request.seed}", "stop", 1, 0, 1)

    async def choose(self, _request: Request, options: Sequence[str]) -> Choice:
        await self._pass("gate" if tuple(options) == ("Yes", "No") else "verdict", None)
        return Choice((0.9, 0.1), 1.0, 1, 0)

    async def _pass(self, stage: str, request: Request | None) -> None:
        self.asked += 1
        error = self._fails(stage, request)
        if error is not None:
            raise error
        for _ in range(5 + self.asked % 7):
            await asyncio.sleep(0)

    async def close(self) -> None:
        pass


def make_pipeline(engine: Ill, sink: Memory, *, samples: int = 2, gate: bool = True) -> Pipeline[Prompt]:
    judging = Judging(engine, make_judge_configuration(), UsageCounter())
    method = make_method(RevisionPlan(schedule="walk", rounds=1, gate=gate, form="continued"))
    generation = Generation(engine, method, samples, PROVENANCE, judging)
    return Pipeline(generation.row, sink, engine.concurrency, patience=0.0)


def run(engine: Ill, sink: Memory, count: int, **method: object) -> Pipeline[Prompt]:
    pipeline = make_pipeline(engine, sink, **method)  # type: ignore[arg-type]
    asyncio.run(pipeline.run(prompts(count)))
    return pipeline


def prompts(count: int) -> Iterator[Prompt]:
    return (make_prompt(f"question {number}", ordinal=number) for number in range(count))


def refusal(*, retryable: bool = False, kind: str = "http 400") -> RequestError:
    number = random.random()  # request ids differ every time
    return RequestError(f"the server answered 400: no (request id req_{number})", retryable=retryable, kind=kind)


@given(
    rate=st.floats(0.0, 0.2),
    seed=st.integers(0, 2**32),
    concurrency=st.sampled_from([1, 4, 32, 288]),
    count=st.integers(1, 100),
    retryable=st.booleans(),
    gate=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_failures_that_are_independent_never_end_a_run(
    rate: float, seed: int, concurrency: int, count: int, retryable: bool, gate: bool
) -> None:
    draws = random.Random(seed)
    engine = Ill(lambda _stage, _: refusal(retryable=retryable) if draws.random() < rate else None, concurrency)
    sink = Memory()
    pipeline = run(engine, sink, count, gate=gate)
    assert len(sink.rows) + len(sink.failures) == count == pipeline.progress.done + pipeline.progress.failed


@given(
    stage=st.sampled_from(["response", "gate", "critique", "revision", "verdict"]),
    count=st.sampled_from([1, 3, 60, 1_000]),
    concurrency=st.sampled_from([1, 8, 64]),
    retryable=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_stage_that_is_never_answered_ends_the_run_soon_and_leaves_every_row_owed(
    stage: str, count: int, concurrency: int, retryable: bool
) -> None:
    engine = Ill(lambda at, _: refusal(retryable=retryable) if at == stage else None, concurrency)
    sink = Memory()
    with pytest.raises(EngineGoneError, match=r"still owed: the server answered 400: no \(request id") as caught:
        run(engine, sink, count)
    assert f"at the {stage}" in str(caught.value)
    assert not sink.rows
    assert not sink.failures
    rows = min(count, concurrency * ROWS_PER_SLOT * 2 + SUSPICIOUS) + PROBES
    of_a_row = 2 * (1 + 3 * 2) + 2 * 3
    assert engine.asked <= rows * of_a_row


@pytest.mark.parametrize("concurrency", [1, 8, 64])
@pytest.mark.parametrize("kind", ["http 401", "timeout"])
def test_a_key_that_is_revoked_half_way_ends_the_run_with_the_rest_owed(concurrency: int, kind: str) -> None:
    revoked = 2_000
    engine = Ill(lambda _stage, _: refusal(kind=kind) if engine.asked > revoked else None, concurrency)
    sink = Memory()
    with pytest.raises(EngineGoneError, match="still owed"):
        run(engine, sink, 5_000)
    assert sink.rows
    assert not sink.failures
    assert all(not row.failed for row in sink.rows.values())


def test_the_last_rows_before_the_end_are_owed_too_when_the_engine_is_gone_by_then() -> None:
    engine = Ill(lambda _stage, _: refusal() if engine.asked > 900 else None, concurrency=4)
    sink = Memory()
    with pytest.raises(EngineGoneError):
        run(engine, sink, 46)  # twenty requests each
    assert 30 <= len(sink.rows) < 46  # how many are half made then depends on how they interleave
    assert not sink.failures


@pytest.mark.parametrize("place", [0, 150, 240])
@pytest.mark.parametrize("concurrency", [1, 16, 288])
def test_prompts_that_are_refused_one_after_another_end_no_run_that_answers_others(
    place: int, concurrency: int
) -> None:
    refused = {f"question {number}" for number in range(place, place + 60)}

    def fails(_stage: str, request: Request | None) -> RequestError | None:
        return refusal() if request is not None and request.messages[0]["content"] in refused else None

    sink = Memory()
    engine = Ill(fails, concurrency)
    if place == 0 and concurrency < 60:  # nothing was ever answered: who could know?
        with pytest.raises(EngineGoneError):
            run(engine, sink, 300)
        assert not sink.failures
        return
    run(engine, sink, 300)
    assert len(sink.rows) == 240
    assert {failure.ordinal for failure in sink.failures.values()} == set(range(place, place + 60))


def test_failures_are_recorded_beside_rows_that_succeeded_and_rows_of_before_tell_as_well() -> None:
    def fails(_stage: str, request: Request | None) -> RequestError | None:
        return refusal() if request is not None and request.messages[0]["content"] in lost else None

    sink = Memory()
    lost = {"question 57", "question 58", "question 59"}
    run(Ill(fails), sink, 57)
    assert len(sink.rows) == 57
    run(Ill(fails), sink, 60)  # the same again with three more prompts, each of which is refused
    assert set(sink.failures) == {"p57", "p58", "p59"}


def test_rows_that_are_refused_for_different_reasons_are_their_own() -> None:
    def fails(_stage: str, request: Request | None) -> RequestError:
        assert request is not None
        return refusal(kind="http 400" if request.messages[0]["content"] == "question 0" else "http 422")

    sink = Memory()
    run(Ill(fails), sink, 2)
    assert set(sink.failures) == {"p0", "p1"}


def test_prompts_that_do_not_fit_say_nothing_of_the_engine() -> None:
    sink = Memory()
    engine = Ill(lambda _stage, _: ContextError("the request does not fit the model's context"))
    run(engine, sink, 100)
    assert len(sink.failures) == 100
    assert engine.asked == 200  # and are asked once


def test_a_judge_that_fails_now_and_then_costs_verdicts_and_no_row() -> None:
    draws = random.Random(0)
    sink = Memory()
    run(Ill(lambda stage, _: refusal() if stage == "verdict" and draws.random() < 0.6 else None), sink, 200)
    assert len(sink.rows) == 200
    failed = [verdict for row in sink.rows.values() for verdict in row.verdicts if verdict.abstained == FAILED]
    assert failed
    assert len(failed) == sum(len(row.failed) for row in sink.rows.values())
