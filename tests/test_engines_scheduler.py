"""The thread in front of a model, on token ids alone: what it does when memory is short, and when nobody waits."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from cai.core.errors import ContextError
from cai.models.base import Sampling
from cai.models.local import prefill
from cai.models.local import scheduler as scheduling
from cai.models.local.jobs import GenerationJob, Limits, ScoringJob
from cai.models.local.kv_cache import KVCache
from cai.models.local.prefix_cache import PrefixCache
from cai.models.local.sampling import stream
from cai.models.local.scheduler import Scheduler
from cai.models.scoring import Spelling
from tests.small_model import small_model

_VOCABULARY = 60
_ROOMY = Limits(rows=64, cache_tokens=100_000, prefix_tokens=20_000, prefill_tokens=2000, pass_tokens=32)


class _Model:
    """A model that a test looks into: `before` sees the inputs of each call and may refuse it.

    It answers nothing before `gate` is set, so that a test can fill the queue first.
    """

    def __init__(self, before: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._model = small_model(transformers.LlamaConfig, _VOCABULARY, max_position_embeddings=512)
        self.before = before
        self.gate = threading.Event()

    def __call__(self, **inputs: Any) -> Any:
        assert self.gate.wait(timeout=60)
        self.before(inputs)
        return self._model(**inputs)


def _is_step(inputs: dict[str, Any]) -> bool:
    return "logits_to_keep" not in inputs


Open = Callable[..., tuple[Scheduler, _Model]]


@pytest.fixture
def opened() -> Iterator[Open]:
    torch.set_num_threads(1)
    schedulers: list[Scheduler] = []

    def open_one(limits: Limits = _ROOMY) -> tuple[Scheduler, _Model]:
        model = _Model()
        schedulers.append(Scheduler(model, torch.device("cpu"), (), limits))  # no end token: a row runs to its limit
        return schedulers[-1], model

    yield open_one
    for scheduler in schedulers:
        scheduler.close()


def _prompt(number: int, length: int) -> list[int]:
    return [(number * 7 + place * 3) % _VOCABULARY for place in range(length)]


def _generation(number: int, length: int, limit: int, loop: asyncio.AbstractEventLoop | None = None) -> GenerationJob:
    loop = loop or asyncio.get_running_loop()
    return GenerationJob(_prompt(number, length), loop.create_future(), loop, Sampling(), limit, stream(number))


def _scoring(number: int, length: int) -> ScoringJob:
    loop = asyncio.get_running_loop()
    return ScoringJob(_prompt(number, length), loop.create_future(), loop, [(3,), (4,), (5, 6)])


def _generate(scheduler: Scheduler, model: _Model, shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the tokens of requests with these prompt lengths and limits, all of them queued before the first step."""

    async def main() -> list[list[int]]:
        model.gate.clear()
        jobs = [_generation(number, *shape) for number, shape in enumerate(shapes)]
        for job in jobs:
            scheduler.submit(job)
        model.gate.set()
        return [tokens for tokens, _ in await asyncio.gather(*(job.future for job in jobs))]

    return asyncio.run(main())


def _full_beside(scheduler: Scheduler, most: int, refusals: list[int]) -> Callable[[dict[str, Any]], None]:
    """Return a memory that holds `most` rows: those that run and those that are read beside them."""

    def check(inputs: dict[str, Any]) -> None:
        held = len(inputs["input_ids"]) + (0 if _is_step(inputs) else len(scheduler._rows))
        if held > most:
            refusals.append(held)
            raise torch.OutOfMemoryError("out of memory, says the test")

    return check


def test_a_prompt_that_does_not_fit_beside_running_rows_waits_until_they_leave(opened: Open) -> None:
    shapes = [(3 + 5 * (number % 6), 4 + number % 9) for number in range(24)]
    refusals: list[int] = []
    scheduler, model = opened()
    model.before = _full_beside(scheduler, 4, refusals)
    assert _generate(scheduler, model, shapes) == _generate(*opened(), shapes)
    assert refusals
    model.before = _full_beside(scheduler, 0, refusals)
    with pytest.raises(ContextError, match="a prompt of 8 tokens does not fit in memory"):
        _generate(scheduler, model, [(8, 2)])


def test_a_choice_that_does_not_fit_beside_running_rows_waits_until_they_leave(opened: Open) -> None:
    refusals: list[int] = []
    scheduler, model = opened()

    async def main() -> list[Any]:
        full, loop = asyncio.Event(), asyncio.get_running_loop()
        memory = _full_beside(scheduler, 4, refusals)

        def before(inputs: dict[str, Any]) -> None:
            memory(inputs)
            if _is_step(inputs) and len(inputs["input_ids"]) == 4:
                loop.call_soon_threadsafe(full.set)

        model.before = before
        running = [_generation(number, 5, 100 + 20 * number) for number in range(4)]
        for job in running:
            scheduler.submit(job)
        model.gate.set()
        await full.wait()
        late = [_scoring(number, 4 + number) for number in range(9)]
        for choice in late:
            scheduler.submit(choice)
        scheduler.submit(last := _generation(9, 5, 10))
        return await asyncio.gather(*(job.future for job in (*running, *late, last)))

    results = asyncio.run(main())
    assert refusals
    assert [len(tokens) for tokens, _ in (*results[:4], results[-1])] == [100, 120, 140, 160, 10]
    model.before = lambda _: None

    async def alone() -> list[dict[Spelling, float]]:
        choices = []
        for number in range(9):
            scheduler.submit(job := _scoring(number, 4 + number))
            choices.append(await job.future)
        return choices

    for choice, expected in zip(results[4:-1], asyncio.run(alone()), strict=True):
        assert choice == pytest.approx(expected, rel=1e-4)


def test_what_a_refused_pass_allocated_is_gone_before_memory_is_given_back(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        activation = torch.zeros(1)
        activations.append(weakref.ref(activation))
        if len(inputs["input_ids"]) > 3:
            raise torch.OutOfMemoryError("out of memory, says the test")

    monkeypatch.setattr(prefill, "release", lambda _: alive.append(sum(ref() is not None for ref in activations)))
    scheduler, model = opened()
    model.before = before
    _generate(scheduler, model, [(5, 6)] * 8)  # the prefill of 7 is refused, then the step with 4 rows
    assert len(alive) > 2
    assert set(alive) == {0}


def test_after_a_retreat_no_more_rows_are_read_than_the_new_limit(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    scheduler, model = opened()
    read: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if not _is_step(inputs):
            read.append(len(scheduler._rows) + len(inputs["input_ids"]))

    model.before = before
    shapes = [((2, 62, 142, 250)[number % 4], 5) for number in range(16)]  # each length is a group by itself
    found = _generate(scheduler, model, shapes)
    assert refused == [16, 8]
    assert max(read) == 4, "rows were read past the limit, which is half of those that did not fit"
    monkeypatch.undo()
    assert found == _generate(*opened(), shapes)


@pytest.mark.parametrize("when", ["reading", "stepping", "scoring"])
def test_what_is_kept_of_former_prompts_is_given_up_before_any_row(opened: Open, when: str) -> None:
    shapes = [(40 + number, 12) for number in range(8)]
    expected = _generate(*opened(), shapes)
    scheduler, model = opened()
    store = scheduler._prefiller.prefix_cache
    assert _generate(scheduler, model, shapes) == expected
    refused: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if store.pools and _is_step(inputs) == (when == "stepping"):
            refused.append(sum(pool.nbytes for pool in store.pools))
            raise torch.OutOfMemoryError("out of memory, says the test")

    model.before = before
    if when == "scoring":

        async def score() -> dict[Spelling, float]:
            scheduler.submit(job := _scoring(0, 40))
            choice: dict[Spelling, float] = await job.future
            return choice

        assert sum(asyncio.run(score()).values()) > 0
        model.before = lambda _: None
    assert _generate(scheduler, model, shapes) == expected
    assert scheduler._max_rows == _ROOMY.rows
    assert len(refused) == len(set(refused)) > 0, "each time it comes back, it is half as large"


def test_a_store_that_does_not_fit_is_done_without(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def store(self: PrefixCache, *_: Any) -> None:
        asked.append(1)
        raise torch.OutOfMemoryError("out of memory, says the test")

    expected = _generate(*opened(), [(40, 9)] * 6)
    monkeypatch.setattr(PrefixCache, "store", store)
    assert _generate(*opened(), [(40, 9)] * 6) == expected
    assert asked


@pytest.mark.parametrize(
    "words", ["DefaultCPUAllocator: can't allocate memory: you tried to allocate 9", "MPS backend out of memory (9 GB)"]
)
def test_devices_without_an_exception_of_their_own_run_out_of_memory_too(opened: Open, words: str) -> None:
    def before(inputs: dict[str, Any]) -> None:
        if len(inputs["input_ids"]) > 2:
            raise RuntimeError(words)

    scheduler, model = opened()
    model.before = before
    shapes = [(5 + number, 6) for number in range(8)]
    assert _generate(scheduler, model, shapes) == _generate(*opened(), shapes)


def test_the_batch_grows_again_when_there_is_memory_again(opened: Open) -> None:
    most = 2
    sizes: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("out of memory, says the test")

    scheduler, model = opened()
    model.before = before
    _generate(scheduler, model, [(5, 3)] * 8)
    assert max(sizes) > most
    most = 64
    sizes.clear()
    _generate(scheduler, model, [(5, 60)] * 16)
    assert max(sizes) > 3


def test_the_cache_that_is_allocated_stays_within_the_limit(opened: Open) -> None:
    allocated: list[int] = []
    rows: list[int] = []

    def before(inputs: dict[str, Any]) -> None:
        if _is_step(inputs):
            shape = inputs["past_key_values"].layers[0].keys.shape
            allocated.append(shape[0] * shape[2])
            rows.append(len(inputs["input_ids"]))

    scheduler, model = opened(replace(_ROOMY, cache_tokens=13_000))
    model.before = before
    _generate(scheduler, model, [(40, 24)] * 40 + [(400, 24)] * 20 + [(10, 100)] * 40)
    assert max(allocated) <= 13_000
    assert max(rows) == 32


def test_a_loop_that_closes_meanwhile_is_nobody_who_waits(opened: Open) -> None:
    class Closing(asyncio.SelectorEventLoop):
        """A loop that another thread closes in the very moment that it is called."""

        def call_soon_threadsafe(self, *arguments: Any, **settings: Any) -> Any:  # type: ignore[override]
            self.close()
            return super().call_soon_threadsafe(*arguments, **settings)

    scheduler, model = opened()
    for number in range(3):
        scheduler.submit(_generation(number, 4, 1, Closing()))
    model.gate.set()
    assert [len(tokens) for tokens in _generate(scheduler, model, [(4, 3)] * 4)] == [3] * 4
