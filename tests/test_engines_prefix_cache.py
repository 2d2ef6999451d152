"""What was read before is not read again and changes nothing: the store alone, then generation and choice with it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.models.base import Choice, Sampling
from cai.models.local.engine import ModelThread
from cai.models.local.jobs import GenerationJob, Limits, ScoringJob
from cai.models.local.kernels import share_heads
from cai.models.local.prefix_cache import BLOCK, PrefixCache
from cai.models.local.sampling import stream
from cai.models.local.scheduler import Scheduler
from cai.models.scoring import weigh
from tests.small_model import small_model

_VOCABULARY = 60
_HEADS, _SIZE = 2, 3
_CPU = torch.device("cpu")
_ROUNDING = 1e-4  # of the spread of a position's logits


def _states(tokens: Sequence[int], row: int, column: int) -> list[torch.Tensor]:
    """Return two layers' keys and values in which a row holds, from a column on, what depends on all tokens so far."""
    buffers = [torch.full((row + 2, _HEADS, column + len(tokens) + 5, _SIZE), -1.0) for _ in range(4)]
    for place in range(len(tokens)):
        value = hash(tuple(tokens[: place + 1])) % 1_000_003
        for number, buffer in enumerate(buffers):
            buffer[row, :, column + place] = value + torch.arange(_SIZE) / 8 + 1000 * number
    return buffers


_TEXTS = st.builds(
    # Few different tokens, in stretches, so that texts share beginnings of any length and differ in the middle.
    lambda pieces: [token for token, count in pieces for _ in range(count)],
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40)), min_size=1, max_size=5),
)


@given(capacity=st.integers(1, 12), texts=st.lists(_TEXTS, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_what_is_found_is_what_was_kept_and_what_was_used_last_is_found(capacity: int, texts: list[list[int]]) -> None:
    store = PrefixCache(capacity * BLOCK + 3)
    for number, text in enumerate(texts):
        row, column = number % 3, number % 7
        before = store.lookup(texts[number - 1])[0]
        known, missing = store.lookup(text)
        if missing is None:
            assert len(known) == len(text) // BLOCK
        if known:
            target = [torch.zeros_like(buffer) for buffer in _states(text, row, column)]
            store.load(known, target, row, column)
            end = column + len(known) * BLOCK
            for found, expected in zip(target, _states(text, row, column), strict=True):
                assert torch.equal(found[row, :, column:end], expected[row, :, column:end])
                assert not found[row, :, :column].any()
                assert not found[row, :, end:].any()
        store.store(text, _states(text, row, column), row, column)
        assert all(pool.shape[0] <= capacity for pool in store.pools)
        assert len(store.lookup(text)[0]) == min(len(text) // BLOCK, capacity)
        if len(before) + len(text) // BLOCK <= capacity:
            assert store.lookup(texts[number - 1])[0][: len(before)] == before, "there is room for the last two"


def test_the_end_of_what_was_used_least_recently_leaves_first() -> None:
    store = PrefixCache(4 * BLOCK)
    for text in ([1] * 4 * BLOCK, [2] * BLOCK):
        store.store(text, _states(text, 0, 0), 0, 0)
    assert len(store.lookup([1] * 4 * BLOCK)[0]) == 3
    assert len(store.lookup([2] * BLOCK)[0]) == 1


def test_a_store_of_nothing_keeps_nothing_and_makes_nobody_wait() -> None:
    store = PrefixCache(BLOCK - 1)
    store.store([1] * 40, _states([1] * 40, 0, 0), 0, 0)
    assert store.lookup([1] * 40) == ([], None)
    assert not store.pools
    assert not store.shrink()


def _model(*, grouped: bool = True) -> Any:
    model = small_model(transformers.LlamaConfig, _VOCABULARY, max_position_embeddings=1024)
    if grouped:
        share_heads(model)
    return model


def _thread(model: Any, prefix_tokens: int, *, answers: bool = True) -> ModelThread:
    limits = Limits(5, 100_000, prefix_tokens=prefix_tokens, prefill_tokens=2000, pass_tokens=32, answers=answers)
    return ModelThread(Scheduler(model, _CPU, (), limits))


def _text(number: int, length: int) -> list[int]:
    return [(number * 11 + place * (3 + number)) % _VOCABULARY for place in range(length)]


async def _write(thread: ModelThread, prompt: list[int], limit: int) -> GenerationJob:
    job = GenerationJob(prompt, Sampling(0.0), limit, stream(0))
    thread.submit(job)
    await asyncio.wrap_future(job.future)
    return job


async def _choose(thread: ModelThread, prompt: list[int], options: list[list[tuple[int, ...]]]) -> Choice:
    job = ScoringJob(prompt, [spelling for spellings in options for spelling in spellings])
    thread.submit(job)
    choice = weigh(options, await asyncio.wrap_future(job.future), len(prompt))
    return replace(choice, cached_tokens=job.cached)


async def _chain(thread: ModelThread, row: int) -> list[GenerationJob]:
    """Three turns, each behind the one before; all rows share an opening, and pairs of rows share a prompt."""
    context = _text(0, 50) + _text(1 + row // 2, 20 + row // 2)
    turns = []
    for turn in range(3):
        turns.append(await _write(thread, context, 12 + 5 * (row % 4)))
        context = context + turns[-1].tokens + _text(50 + turn, 9)
    return turns


async def _chains(thread: ModelThread, rows: int) -> list[GenerationJob]:
    return [job for turns in await asyncio.gather(*(_chain(thread, row) for row in range(rows))) for job in turns]


def _alone(model: Any, job: GenerationJob) -> list[int]:
    """Return what `generate` writes for a request all by itself."""
    with torch.inference_mode():
        written = model.generate(
            torch.tensor([job.prompt]),
            attention_mask=torch.ones((1, len(job.prompt)), dtype=torch.long),
            do_sample=False,
            max_new_tokens=job.limit,
            eos_token_id=None,
            pad_token_id=0,
        )
    tokens: list[int] = written[0, len(job.prompt) :].tolist()
    return tokens


def _lead(model: Any, tokens: Sequence[int], over: int) -> float:
    """Return by how much the likeliest token behind `tokens` leads over another, as a share of the logits' spread."""
    with torch.inference_mode():
        logits = model(torch.tensor([list(tokens)])).logits[0, -1]
    return float((logits.max() - logits[over]) / (logits.max() - logits.min()))


@pytest.mark.parametrize("prefix_tokens", [20_000, 7 * BLOCK, 0], ids=["roomy", "evicting", "none"])
@pytest.mark.slow
def test_greedy_texts_are_those_of_generate_one_by_one_up_to_ties(prefix_tokens: int) -> None:
    torch.set_num_threads(1)
    model = _model(grouped=False)
    thread = _thread(_model(), prefix_tokens)
    jobs = asyncio.run(_chains(thread, 12)) + asyncio.run(_chains(thread, 4))
    thread.close()
    for job in jobs:
        expected = _alone(model, job)
        assert len(job.tokens) == len(expected)
        parted = next((i for i, pair in enumerate(zip(job.tokens, expected, strict=True)) if len(set(pair)) > 1), None)
        if parted is not None:  # from here on both go their own ways, so this is all that can be compared
            assert _lead(model, job.prompt + expected[:parted], job.tokens[parted]) < _ROUNDING
    cached = [job.cached for job in jobs]
    assert all(0 <= job.cached < len(job.prompt) for job in jobs)
    if prefix_tokens == 20_000:
        # Second and third turns begin with all of the turn before but its last token: whole blocks of it are known.
        assert all(job.cached >= len(job.prompt) - 9 - 1 - BLOCK - 32 for job in jobs[1:36:3] + jobs[2:36:3])
        assert sum(cached) > 0.6 * sum(len(job.prompt) for job in jobs)
    else:
        assert (sum(cached) > 0) == (prefix_tokens > 0)


def test_texts_that_begin_alike_are_read_once_even_when_they_come_together() -> None:
    torch.set_num_threads(1)
    read: list[int] = []
    model = _model()

    def counting(**inputs: Any) -> Any:
        if "logits_to_keep" in inputs:
            read.append(inputs["input_ids"].numel())
        return model(**inputs)

    thread = _thread(counting, 20_000)

    async def main() -> list[GenerationJob]:
        return list(await asyncio.gather(*(_write(thread, [*_text(1, 100), token], 3) for token in range(4))))

    jobs = asyncio.run(main())
    thread.close()
    assert sum(read) == 101 + 3 * 5  # six blocks are known to the other three
    assert sorted(job.cached for job in jobs) == [0, 96, 96, 96]


def test_a_sliding_window_is_respected_behind_a_known_beginning() -> None:
    torch.set_num_threads(1)
    model = small_model(transformers.MistralConfig, _VOCABULARY, max_position_embeddings=1024, sliding_window=8)
    thread = _thread(model, 20_000)
    jobs = asyncio.run(_chains(thread, 6))
    thread.close()
    assert sum(job.cached for job in jobs) > 0
    assert [job.tokens for job in jobs] == [_alone(model, job) for job in jobs]


def test_choices_are_the_same_behind_a_known_beginning_and_read_their_prompt_once() -> None:
    torch.set_num_threads(1)
    model = _model()
    options: list[list[tuple[int, ...]]] = [[(3,), (4, 5)], [(6, 7, 8)], [(9, 10), (3, 11)]]
    prompts = [_text(number // 2, 30 + 17 * number) for number in range(9)]

    async def main(thread: ModelThread) -> list[Choice]:
        together = await asyncio.gather(*(_choose(thread, prompt, options) for prompt in prompts[:6]))
        return [*together, *[await _choose(thread, prompt, options) for prompt in prompts]]

    plain, reusing = _thread(model, 0), _thread(model, 20_000)
    expected, found = asyncio.run(main(plain)), asyncio.run(main(reusing))
    plain.close()
    reusing.close()
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-4)
        assert one.mass == pytest.approx(other.mass, rel=1e-4)
        assert other.cached_tokens == 0
    for prompt, choice in zip(prompts[:6], found[6:], strict=False):  # each was chosen under before
        assert choice.cached_tokens >= len(prompt) - 2 * BLOCK


@pytest.mark.parametrize(("answers", "known"), [(True, 64), (False, 32)])
def test_answers_are_kept_where_somebody_may_go_on_from_them(answers: bool, known: int) -> None:
    torch.set_num_threads(1)
    thread = _thread(_model(), 20_000, answers=answers)

    async def main() -> int:
        first = await _write(thread, _text(1, 40), 40)
        return (await _write(thread, [*first.context, 1, 2], 1)).cached

    assert asyncio.run(main()) == known
    thread.close()
