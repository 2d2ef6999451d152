"""A model in this process, through transformers: CPU, CUDA or Metal.

Requests become steps of tokens (`token_engine.py`) on the event loop's thread; `scheduler.py` does the rest in another.
A request's tokens depend on its messages, sampling and seed alone, up to rounding: neighbours in a batch, and whether a
prompt's beginning came from the prefix cache, change the last bits of the logits, which matters only where two tokens
are tied.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import torch

from cai.core.errors import EngineGoneError
from cai.core.machine import free_memory
from cai.models.base import Completion, Request
from cai.models.conversation import ChatTokenizer
from cai.models.local.jobs import GenerationJob, Limits, ScoringJob
from cai.models.local.loading import Loaded, load
from cai.models.local.sampling import stream
from cai.models.local.scheduler import Scheduler
from cai.models.scoring import Spelling
from cai.models.streaming import Heard
from cai.models.token_engine import Drawing, Drawn, TokenEngine

_ROWS = {"cuda": 256}
_DEFAULT_ROWS = 64
_PREFILL_TOKENS = {"cuda": 32_768}
_DEFAULT_PREFILL_TOKENS = 8_192
_PASS_TOKENS = {"cuda": 1_024}
_DEFAULT_PASS_TOKENS = 32
_PREFIX_SHARE = 0.25  # of the cache, for what was read and written before, but no more than
_PREFIX_TOKENS = 512  # a row: its next request comes soon, and what it shares with others is kept once
_HOST_CACHE_BYTES = 4 << 30  # at most
_HOST_SHARE = 0.5  # of the free memory, for the weights and all that is kept beside them
_MOVING = 1.25  # times the caches: what is taken while a cache is moved into a larger one
_REACH = 1_024  # tokens that a row is expected to take: fewer rows run at once where the cache does not hold so many
_CUDA_CACHE_SHARE = 0.6  # of what is free once the weights are loaded; the rest is for activations and moving the cache


class ModelThread:
    """Runs a scheduler in a thread that is there while there is work.

    When nothing is left it ends, and with it the OpenMP threads that computed for it; the next request starts another.
    Were they left, OpenMP would count more threads than cores in a process that computes elsewhere too, as a trainer
    does whose judge is a model beside it, and put them to sleep between any two operations.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: GenerationJob | ScoringJob) -> None:
        """Queue `job`; raises EngineGoneError after `close` or after the model broke."""
        with self._lock:
            self._scheduler.submit(job)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="cai-model", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system allows no more of them
                    self._scheduler.end(EngineGoneError(f"the model has no thread to run in: {error}"))
                    self._scheduler.run()
                    return
                self._thread = thread

    def close(self) -> None:
        """Fail what waits and what runs with EngineGoneError, and wait for the thread to end."""
        self._scheduler.end(EngineGoneError("the engine was closed"))
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            self._scheduler.run()
            with self._lock:
                if self._scheduler.idle:
                    self._thread = None
                    return


class TransformersEngine(TokenEngine):
    """An open checkpoint. Made by `open_transformers`; `limits` are for tests and unusual machines."""

    def __init__(
        self,
        loaded: Loaded,
        concurrency: int | None = None,
        limits: Limits | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.name = loaded.name
        limits = limits or limits_of(loaded, concurrency)
        self.concurrency = concurrency or limits.rows
        self.context_length = loaded.context_length
        super().__init__(ChatTokenizer(loaded.tokenizer, loaded.context_length, loaded.variables, say))
        self._thread = ModelThread(Scheduler(loaded.model, loaded.device, loaded.end_tokens, limits))
        self._cache_bytes = (limits.cache_tokens + limits.prefix_tokens) * loaded.cache_bytes

    def describe(self) -> str:
        """Return how much the engine does at once, and what it may take for that, as a sentence for a person."""
        taken = f"{self._cache_bytes / 1e9:.1f} GB" if self._cache_bytes >= 5e7 else "little memory"
        return f"{self.name}: {self.concurrency} requests at once, up to {taken} for their caches"

    async def stream(self, request: Request, heard: Heard) -> Completion:
        """Return the assistant's next turn, and let its text be heard after each token."""
        return await self._complete(request, heard)

    async def _draw(self, drawing: Drawing) -> Drawn:
        until = partial(self._chat.ends_in, texts=drawing.until) if drawing.until else None
        if drawing.heard is not None:
            until = partial(_tell, asyncio.get_running_loop(), drawing.heard, until)
        job = GenerationJob(drawing.prompt, drawing.sampling, drawing.limit, stream(drawing.seed), until)
        self._thread.submit(job)
        tokens, ended = await asyncio.wrap_future(job.future)
        return Drawn(tokens[:-1] if ended else tokens, ended, len(tokens), job.cached)

    async def _score(self, prompt: list[int], spellings: Sequence[Spelling]) -> tuple[dict[Spelling, float], int]:
        job = ScoringJob(prompt, spellings)
        self._thread.submit(job)
        return await asyncio.wrap_future(job.future), job.cached

    async def close(self) -> None:
        """Stop the thread; requests that wait get EngineGoneError."""
        await asyncio.to_thread(self._thread.close)
        self._chat.tell_changes()


def _tell(
    loop: asyncio.AbstractEventLoop,
    heard: Callable[[list[int]], None],
    until: Callable[[list[int]], bool] | None,
    tokens: list[int],
) -> bool:
    """Tell the loop's thread of the tokens so far, and say whether they are all."""
    with suppress(RuntimeError):  # the loop is closed, perhaps this moment: nobody listens any more
        loop.call_soon_threadsafe(heard, list(tokens))
    return until is not None and until(tokens)


async def open_transformers(
    model: str,
    device: str,
    dtype: str,
    concurrency: int | None,
    variables: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> TransformersEngine:
    """Open a directory or hub id; raises ModelError in one sentence when that cannot be.

    `variables` are for its chat template; `say` tells a person of turns that it does not take.
    """
    # In a thread that ends: its OpenMP threads end with it. Were they left, OpenMP would count more threads than cores
    # and put them to sleep between any two operations, which takes half as long again on a small model.
    loader = ThreadPoolExecutor(1, thread_name_prefix="cai-load")
    try:
        loaded = await asyncio.get_running_loop().run_in_executor(loader, load, model, device, dtype, variables)
    finally:
        loader.shutdown(wait=False)
    return TransformersEngine(loaded, concurrency, say=say)


def limits_of(loaded: Loaded, rows: int | None) -> Limits:
    """Return what the device's memory allows; a number of rows that a person asked for stays."""
    kind = loaded.device.type
    if kind == "cuda":
        # What torch holds in reserve is free, too: after a training step that is most of the device.
        reserve = torch.cuda.memory_reserved(loaded.device) - torch.cuda.memory_allocated(loaded.device)
        room = int((torch.cuda.mem_get_info(loaded.device)[0] + reserve) * _CUDA_CACHE_SHARE)
    else:
        room = _host_room(loaded.weight_bytes, free_memory(), asked=rows is not None)
    tokens = room // max(1, loaded.cache_bytes)
    rows = rows or max(1, min(_ROWS.get(kind, _DEFAULT_ROWS), tokens // _REACH))
    prefixes = min(int(tokens * _PREFIX_SHARE), rows * _PREFIX_TOKENS)
    return Limits(
        rows=rows,
        cache_tokens=tokens - prefixes,
        prefix_tokens=prefixes,
        prefill_tokens=_PREFILL_TOKENS.get(kind, _DEFAULT_PREFILL_TOKENS),
        pass_tokens=_PASS_TOKENS.get(kind, _DEFAULT_PASS_TOKENS),
    )


def _host_room(weights: int, free: int | None, *, asked: bool) -> int:
    """Return the bytes for caches in the host's memory, of which `free` are left beside the `weights`.

    With the weights they stay below half of what was free before, unless a person asked for so many rows.
    """
    if asked or free is None:
        return _HOST_CACHE_BYTES
    return max(0, min(_HOST_CACHE_BYTES, int(((free + weights) * _HOST_SHARE - weights) / _MOVING)))
