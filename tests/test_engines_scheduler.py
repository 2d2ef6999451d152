"""Continuous batching on token ids alone: what it does when memory is short, when nobody waits, and in which thread."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from cai.core.errors import ContextError, EngineGoneError
from cai.models.base import Sampling
from cai.models.local import kv_cache, prefill
from cai.models.local import scheduler as scheduling
from cai.models.local.engine import ModelThread
from cai.models.local.jobs import GenerationJob, Limits, ScoringJob
from cai.models.local.kv_cache import KVCache
from cai.models.local.prefix_cache import PrefixCache
from cai.models.local.sampling import stream
from cai.models.local.scheduler import Scheduler
from tests.small_model import small_model

_VOCABULARY = 60
_ROOMY = Limits(rows=64, cache_tokens=100_000, prefix_tokens=20_000, prefill_tokens=2000, pass_tokens=32)


class _Model:
    """A model that a test looks into: `before` sees the inputs of each call and may refuse it."""

    def __init__(self, before: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._model = small_model(transformers.LlamaConfig, _VOCABULARY, max_position_embeddings=512)
        self.before = before

    def __call__(self, **inputs: Any) -> Any:
        self.before(inputs)
        return self._model(**inputs)


def _is_step(inputs: dict[str, Any]) -> bool:
    return "logits_to_keep" not in inputs


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _opened(limits: Limits = _ROOMY) -> tuple[Scheduler, _Model]:
    model = _Model()
    return Scheduler(model, torch.device("cpu"), (), limits), model  # no end token: a row runs to its limit


def _prompt(number: int, length: int) -> list[int]:
    return [(number * 7 + place * 3) % _VOCABULARY for place in range(length)]


def _generation(number: int, length: int, limit: int) -> GenerationJob:
    return GenerationJob(_prompt(number, length), Sampling(), limit, stream(number))


def _scoring(number: int, length: int) -> ScoringJob:
    return ScoringJob(_prompt(number, length), [(3,), (4,), (5, 6)])


def _finished(scheduler: Scheduler, jobs: Sequence[GenerationJob | ScoringJob]) -> list[Any]:
    """Return the results of requests that are all queued before the first step."""
    for job in jobs:
        scheduler.submit(job)
    scheduler.run()
    return [job.future.result(timeout=0) for job in jobs]


def _generate(scheduler: Scheduler, shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the tokens of requests with these prompt lengths and limits."""
    jobs = [_generation(number, *shape) for number, shape in enumerate(shapes)]
    return [tokens for tokens, _ in _finished(scheduler, jobs)]


def _full_beside(scheduler: Scheduler, most: int, refusals: list[int]) -> Callable[[dict[str, Any]], None]:
    """Return a memory that holds `most` rows: those that run and those that are read beside them."""

    def check(inputs: dict[str, Any]) -> None:
        held = len(inputs["input_ids"]) + (0 if _is_step(inputs) else len(scheduler._rows))
        if held > most:
            refusals.append(held)
            raise torch.OutOfMemoryError("out of memory, says the test")

    return check


def test_a_prompt_that_does_not_fit_beside_running_rows_waits_until_they_leave() -> None:
    shapes = [(3 + 5 * (number % 6), 4 + number % 9) for number in range(24)]
    refusals: list[int] = []
    scheduler, model = _opened()
    model.before = _full_beside(scheduler, 4, refusals)
    assert _generate(scheduler, shapes) == _generate(_opened()[0], shapes)
    assert refusals
    model.before = _full_beside(scheduler, 0, refusals)
    with pytest.raises(ContextError, match="a prompt of 8 tokens does not fit in memory"):
        _generate(scheduler, [(8, 2)])


def test_a_choice_that_does_not_fit_beside_running_rows_waits_until_they_leave() -> None:
    refusals: list[int] = []
    scheduler, model = _opened()
    memory = _full_beside(scheduler, 4, refusals)
    running = [_generation(number, 5, 100 + 20 * number) for number in range(4)]
    late = [_scoring(number, 4 + number) for number in range(9)]
    last = _generation(9, 5, 10)
    coming: list[GenerationJob | ScoringJob] = [*late, last]

    def before(inputs: dict[str, Any]) -> None:
        memory(inputs)
        while coming and _is_step(inputs) and len(inputs["input_ids"]) == 4:
            scheduler.submit(coming.pop(0))

    model.before = before
    _finished(scheduler, running)
    assert refusals
    assert [len(job.future.result(timeout=0)[0]) for job in (*running, last)] == [100, 120, 140, 160, 10]
    model.before = lambda _: None
    for number, job in enumerate(late):
        [alone] = _finished(scheduler, [_scoring(number, 4 + number)])
        assert job.future.result(timeout=0) == pytest.approx(alone, rel=1e-4)


def test_what_a_refused_pass_allocated_is_gone_before_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    activations: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        activation = torch.zeros(1)
        activations.append(weakref.ref(activation))
        if len(inputs["input_ids"]) > 3:
            raise torch.OutOfMemoryError("out of memory, says the test")

    monkeypatch.setattr(prefill, "release", lambda _: alive.append(sum(ref() is not None for ref in activations)))
    scheduler, model = _opened()
    model.before = before
    _generate(scheduler, [(5, 6)] * 8)  # the prefill of 7 is refused, then the step with 4 rows
    assert len(alive) > 2
    assert set(alive) == {0}


def test_after_a_retreat_no_more_rows_are_read_than_the_new_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[int] = []

    class Narrow(KVCache):
        """A cache for 6 rows."""

        def reserve(self, count: int, longest: int) -> None:
            rows = len(self.starts) + count
            if rows > 6:
                refused.append(rows)
                raise torch.OutOfMemoryError("out of memory, says the test")
            super().reserve(count, longest)

    monkeypatch.setattr(scheduling, "KVCache", Narrow)
    scheduler, model = _opened()
    read: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if not _is_step(inputs):
            read.append(len(scheduler._rows) + len(inputs["input_ids"]))

    model.before = before
    shapes = [((2, 62, 142, 250)[number % 4], 5) for number in range(16)]  # each length is a group by itself
    found = _generate(scheduler, shapes)
    assert refused == [16, 8]
    assert max(read) == 4, "rows were read past the limit, which is half of those that did not fit"
    monkeypatch.undo()
    assert found == _generate(_opened()[0], shapes)


@pytest.mark.parametrize("when", ["reading", "stepping", "scoring"])
def test_what_is_kept_of_former_prompts_is_given_up_before_any_row(when: str) -> None:
    shapes = [(40 + number, 12) for number in range(8)]
    expected = _generate(_opened()[0], shapes)
    scheduler, model = _opened()
    store = scheduler._prefiller.prefix_cache
    assert _generate(scheduler, shapes) == expected
    refused: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if store.pools and _is_step(inputs) == (when == "stepping"):
            refused.append(sum(pool.nbytes for pool in store.pools))
            raise torch.OutOfMemoryError("out of memory, says the test")

    model.before = before
    if when == "scoring":
        [scored] = _finished(scheduler, [_scoring(0, 40)])
        assert sum(scored.values()) > 0
        model.before = lambda _: None
    assert _generate(scheduler, shapes) == expected
    assert scheduler._max_rows == _ROOMY.rows
    assert len(refused) == len(set(refused)) > 0, "each time it comes back, it is half as large"


def test_a_store_that_does_not_fit_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def store(self: PrefixCache, *_: Any) -> None:
        asked.append(1)
        raise torch.OutOfMemoryError("out of memory, says the test")

    expected = _generate(_opened()[0], [(40, 9)] * 6)
    monkeypatch.setattr(PrefixCache, "store", store)
    assert _generate(_opened()[0], [(40, 9)] * 6) == expected
    assert asked


@pytest.mark.parametrize(
    "words", ["DefaultCPUAllocator: can't allocate memory: you tried to allocate 9", "MPS backend out of memory (9 GB)"]
)
def test_devices_without_an_exception_of_their_own_run_out_of_memory_too(words: str) -> None:
    def before(inputs: dict[str, Any]) -> None:
        if len(inputs["input_ids"]) > 2:
            raise RuntimeError(words)

    scheduler, model = _opened()
    model.before = before
    shapes = [(5 + number, 6) for number in range(8)]
    assert _generate(scheduler, shapes) == _generate(_opened()[0], shapes)


def test_the_batch_grows_again_when_there_is_memory_again() -> None:
    most = 2
    sizes: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("out of memory, says the test")

    scheduler, model = _opened()
    model.before = before
    _generate(scheduler, [(5, 3)] * 8)
    assert max(sizes) > most
    most = 64
    sizes.clear()
    _generate(scheduler, [(5, 60)] * 16)
    assert max(sizes) > 3


def test_the_cache_that_is_allocated_stays_within_the_limit() -> None:
    allocated: list[int] = []
    rows: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if _is_step(inputs):
            shape = inputs["past_key_values"].layers[0].keys.shape
            allocated.append(shape[0] * shape[2])
            rows.append(len(inputs["input_ids"]))

    scheduler, model = _opened(replace(_ROOMY, cache_tokens=13_000))
    model.before = before
    _generate(scheduler, [(40, 24)] * 40 + [(400, 24)] * 20 + [(10, 100)] * 40)
    assert max(allocated) <= 13_000
    assert max(rows) == 32


def test_who_leaves_in_the_moment_of_the_result_is_nobody_who_waits() -> None:
    class Leaving(Future[Any]):
        """Somebody who gives up just when there is a result."""

        def set_result(self, result: Any) -> None:
            assert self.cancel()
            super().set_result(result)

    scheduler, _ = _opened()
    leaving = [_generation(number, 4, 1) for number in range(3)]
    for job in leaving:
        job.future = Leaving()
        scheduler.submit(job)
    assert [len(tokens) for tokens in _generate(scheduler, [(4, 3)] * 4)] == [3] * 4
    assert all(job.future.cancelled() for job in leaving)


def test_what_breaks_the_model_reaches_those_who_wait_and_nobody_comes_after_that() -> None:
    def before(inputs: dict[str, Any]) -> None:
        if _is_step(inputs):
            raise ValueError("a bad weight, says the test")

    scheduler, model = _opened()
    model.before = before
    with pytest.raises(EngineGoneError, match="the model broke: ValueError: a bad weight"):
        _generate(scheduler, [(4, 3)] * 4)
    with pytest.raises(EngineGoneError, match="a bad weight"):
        scheduler.submit(_generation(0, 4, 3))
    assert scheduler.idle


def test_a_model_thread_ends_with_its_work_and_comes_again_with_the_next() -> None:
    scheduler, model = _opened()
    computing: set[threading.Thread] = set()
    model.before = lambda _: computing.add(threading.current_thread())
    thread = ModelThread(scheduler)
    for number in range(3):
        thread.submit(job := _generation(number, 4, 3))
        assert len(job.future.result(timeout=60)[0]) == 3
        for former in computing:
            former.join(timeout=60)
            assert not former.is_alive()
    assert len(computing) == 3
    assert threading.current_thread() not in computing
    thread.close()
    with pytest.raises(EngineGoneError, match="the engine was closed"):
        thread.submit(_generation(9, 4, 3))


def test_where_no_thread_can_be_started_that_is_said_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = ModelThread(_opened()[0])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    thread.submit(job := _generation(0, 4, 3))
    with pytest.raises(EngineGoneError, match="the model has no thread to run in: can't start new thread"):
        job.future.result(timeout=0)
    monkeypatch.undo()
    with pytest.raises(EngineGoneError, match="no thread"):
        thread.submit(_generation(1, 4, 3))
    thread.close()


def test_a_cache_that_was_dropped_is_gone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[weakref.ref[torch.Tensor]] = []
    made = kv_cache._zeros

    def noted(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        buffer = made(like, shape)
        buffers.append(weakref.ref(buffer))
        return buffer

    def alive() -> int:
        return sum(buffer() is not None for buffer in buffers)

    refused: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if _is_step(inputs) and len(inputs["input_ids"]) > 4:
            refused.append(alive())
            raise torch.OutOfMemoryError("out of memory, says the test")

    monkeypatch.setattr(kv_cache, "_zeros", noted)
    given_back: list[int] = []
    monkeypatch.setattr(prefill, "release", lambda _: given_back.append(alive()))
    scheduler, model = _opened()
    model.before = before
    gc.disable()
    try:
        _finished(scheduler, [*(_generation(number, 5, 6) for number in range(8)), _scoring(0, 7)])
    finally:
        gc.enable()
    assert alive() == 0
    assert min(refused) > 0
    assert set(given_back) == {0}


def test_closing_fails_what_waits_and_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, model = _opened(replace(_ROOMY, rows=2))
    running, leave = threading.Event(), threading.Event()

    def before(inputs: dict[str, Any]) -> None:
        if _is_step(inputs):
            running.set()
            assert leave.wait(timeout=60)

    model.before = before
    ended, end = threading.Event(), scheduler.end

    def told(error: EngineGoneError) -> None:
        end(error)
        ended.set()

    monkeypatch.setattr(scheduler, "end", told)
    thread = ModelThread(scheduler)
    jobs = [_generation(number, 4, 30) for number in range(4)]
    for job in jobs:
        thread.submit(job)
    assert running.wait(timeout=60)
    closing = threading.Thread(target=thread.close)
    closing.start()
    assert ended.wait(timeout=60)
    leave.set()
    closing.join(timeout=60)
    assert all(isinstance(job.future.exception(timeout=0), EngineGoneError) for job in jobs)


def test_requests_of_an_event_loop_are_done_in_whatever_order_they_come() -> None:
    thread = ModelThread(_opened()[0])

    async def ask(number: int) -> int:
        for _ in range(number):
            await asyncio.sleep(0)
        job = _generation(number, 4, 1 + number % 5)
        thread.submit(job)
        tokens, _ = await asyncio.wrap_future(job.future)
        return len(tokens)

    async def main() -> list[int]:
        return await asyncio.gather(*(ask(number) for number in range(40)))

    assert asyncio.run(main()) == [1 + number % 5 for number in range(40)]
    thread.close()
