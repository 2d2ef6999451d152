"""Continuous batching: keeps a model busy with whatever requests are waiting, until none are.

Requests join the running batch as they arrive and leave it when they are done; none waits for a stage or for the
slowest neighbour. Every few decoding steps the waiting choices are scored (one forward pass each, so they go first) and
waiting generations are admitted; `prefill.py` prefills both. Requests are token ids; no text is known here. The thread
that calls `run` does it all; others may queue requests meanwhile.

When memory runs out, the prefix cache goes first. Then what is admitted is halved; what does not fit alone waits until
running rows are done, and fails by itself when none run. When memory runs out for the running batch, its rows are
preempted: they are queued again, half as many run at once, and their KV cache is computed again from the tokens that
they already have. Any other error of the model ends the engine.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from cai.core.errors import ContextError, EngineError, EngineGoneError
from cai.models.local.jobs import GenerationJob, Job, Limits, ScoringJob
from cai.models.local.kv_cache import KVCache, footprint
from cai.models.local.memory import memory_error
from cai.models.local.prefill import Prefill, Prefiller
from cai.models.local.sampling import Draws, draw_tokens, penalize
from cai.models.scoring import Spelling, paths

_ADMIT_EVERY = 4  # decoding steps between two admissions
_GROW_EVERY = 64  # decoding steps until one row more is tried after memory ran out

_Job = TypeVar("_Job", GenerationJob, ScoringJob)


class Scheduler:
    """The queue and what empties it; `model` is a causal language model of transformers in evaluation mode."""

    def __init__(self, model: Any, device: torch.device, end_tokens: Iterable[int], limits: Limits) -> None:
        self._model = model
        self._device = device
        self._end_tokens = frozenset(end_tokens)
        self._limits = limits
        self._max_rows = limits.rows  # fewer after memory ran out
        self._full_at = math.inf  # running rows beside which a request did not fit: none is tried until fewer run
        self._generations: deque[GenerationJob] = deque()
        self._scorings: deque[ScoringJob] = deque()
        self._rows: list[GenerationJob] = []
        self._open: set[Job] = set()  # submitted and not settled: all of them must be told when the engine ends
        self._prefiller = Prefiller(model, device, limits)
        self._cache = KVCache()
        self._draws: Draws | None = None  # of the rows
        self._ended: EngineGoneError | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not (self._rows or self._generations or self._scorings)

    def submit(self, job: GenerationJob | ScoringJob) -> None:
        """Queue `job`; raises EngineGoneError after `end` or after the model broke."""
        if self._ended is not None:
            raise self._ended
        self._open.add(job)
        if isinstance(job, ScoringJob):
            self._scorings.append(job)
        else:
            self._generations.append(job)

    def end(self, error: EngineGoneError) -> None:
        """Let `run` fail what waits and what runs, and let nothing come after that."""
        self._ended = self._ended or error

    def run(self) -> None:
        """Work until nothing is left; what goes wrong is told to those who wait."""
        try:
            with torch.inference_mode():
                self._serve()
        except Exception as error:  # whatever broke the model must reach those who wait for it
            self.end(EngineGoneError(f"the model broke: {type(error).__name__}: {error}"))
        self._cache = KVCache()  # the old one keeps its buffers, though nothing is in it
        if self._ended is not None:
            for held in (self._rows, self._generations, self._scorings):
                held.clear()
            for job in list(self._open):
                self._fail(job, self._ended)

    def _serve(self) -> None:
        steps = 0
        while self._ended is None and not self.idle:
            if not self._rows:
                self._cache = KVCache()
            if not self._rows or (steps % _ADMIT_EVERY == 0 and len(self._rows) < self._full_at):
                self._full_at = math.inf
                self._score()
                if len(self._rows) < self._full_at:
                    self._admit()
            if self._rows and memory_error(self._step) is not None:
                self._preempt()
            steps += 1
            if steps % _GROW_EVERY == 0:
                self._max_rows = min(self._max_rows + 1, self._limits.rows)

    def _score(self) -> None:
        jobs = [job for job in _drain(self._scorings) if not self._dropped(job)]
        wanted = [Prefill(job, [*job.prompt, *path], len(path) + 1) for job in jobs for path in paths(job.spellings)]
        seen: dict[Job, dict[Spelling, float]] = {job: {} for job in jobs}
        left = self._prefill_all(
            wanted, lambda rows: self._score_paths(rows, seen), lambda _: len(self._rows) < self._full_at
        )
        for scored in jobs:
            if len(seen[scored]) == len(scored.spellings):
                self._resolve(scored, seen[scored])
        postponed = {row.job for row in left}
        self._scorings.extendleft(job for job in reversed(jobs) if job in postponed)

    def _score_paths(self, rows: Sequence[Prefill[ScoringJob]], seen: dict[Job, dict[Spelling, float]]) -> None:
        """Prefill each prompt and the path behind it; note the probability of the spellings that run along the path."""
        cache = KVCache(slack=False)
        cache.reserve(len(rows), max(len(row.tokens) for row in rows))
        logprobs = torch.log_softmax(self._prefiller.run(rows, cache).float(), -1)
        found: list[tuple[ScoringJob, Spelling]] = []
        places: list[tuple[int, int, int]] = []  # row, column and token of every factor, spelling after spelling
        for number, row in enumerate(rows):
            path = tuple(row.tokens[len(row.job.prompt) :])
            for spelling in row.job.spellings:
                if spelling[:-1] == path[: len(spelling) - 1]:
                    found.append((row.job, spelling))
                    first = logprobs.shape[1] - row.kept
                    places += [(number, first + i, token) for i, token in enumerate(spelling)]
        factors = iter(logprobs[tuple(torch.tensor(places, device=self._device).T)].tolist())
        for job, spelling in found:
            seen[job][spelling] = math.exp(sum(islice(factors, len(spelling))))

    def _admit(self) -> None:
        """Admit waiting generations, in order, while they fit beside the rows that run."""
        wanted = [Prefill(job, job.context) for job in self._admissible()]
        if not (wanted and self._has_room(wanted)):
            return
        left = self._prefill_all(wanted, self._prefill, lambda rows: len(self._rows) + len(rows) <= self._max_rows)
        # What is left was admitted when memory seemed to hold more rows.
        self._generations.extendleft(row.job for row in reversed(left))

    def _admissible(self) -> list[GenerationJob]:
        """Return the generations next in the queue that the limits allow beside the rows that run."""
        taken: list[GenerationJob] = []
        reach = max((row.reach for row in self._rows), default=0)
        while self._generations:
            job = self._generations[0]
            reach = max(reach, job.reach)
            count = len(self._rows) + len(taken) + 1
            if count > 1 and (count > self._max_rows or footprint(count, reach) > self._limits.cache_tokens):
                break
            self._generations.popleft()
            if not self._dropped(job):
                taken.append(job)
        return taken

    def _prefill(self, rows: Sequence[Prefill[GenerationJob]]) -> None:
        if not self._has_room(rows):  # it had, unless memory ran out since
            return
        jobs = [row.job for row in rows]
        tokens = self._draw(self._prefiller.run(rows, self._cache)[:, -1], self._draws_of(jobs), jobs)
        self._cache.admit([len(row.tokens) for row in rows])
        first = len(self._rows)
        self._rows += jobs
        self._draws = None
        self._take(first, tokens)

    def _has_room(self, rows: Sequence[Prefill[GenerationJob]]) -> bool:
        """Make room for `rows` in the cache; without memory for it they are preempted with those that run."""
        if memory_error(lambda: self._cache.reserve(len(rows), max(len(row.tokens) for row in rows))) is None:
            return True
        self._rows += [row.job for row in rows]
        self._preempt()
        return False

    def _step(self) -> None:
        """Decode: draw one token for every row."""
        inputs = self._cache.decode_inputs()
        last = torch.tensor([[row.tokens[-1]] for row in self._rows], device=self._device)
        logits = self._model(input_ids=last, use_cache=True, **inputs).logits[:, -1]
        self._draws = self._draws or self._draws_of(self._rows)
        tokens = self._draw(logits, self._draws, self._rows)
        self._cache.advance()
        self._take(0, tokens)

    def _draws_of(self, jobs: Sequence[GenerationJob]) -> Draws:
        return Draws.of([job.sampling for job in jobs], self._device)

    def _draw(self, logits: Tensor, draws: Draws, jobs: Sequence[GenerationJob]) -> list[int]:
        uniforms = torch.tensor([job.uniform() for job in jobs], dtype=torch.float32, device=self._device)
        penalties = [(row, job) for row, job in enumerate(jobs) if job.sampling.repetition_penalty != 1]
        if penalties:
            logits = logits.float()
            for row, job in penalties:
                penalize(logits[row], set(job.context), job.sampling.repetition_penalty)
        tokens: list[int] = draw_tokens(logits, draws, uniforms).tolist()
        return tokens

    def _take(self, first: int, tokens: list[int]) -> None:
        """Give the rows from `first` on their tokens, and let those go that are done or no longer wanted."""
        for index in range(len(tokens) - 1, -1, -1):  # backwards: a row that leaves is replaced by the last
            row = self._rows[first + index]
            row.tokens.append(tokens[index])
            ended = tokens[index] in self._end_tokens
            halted = row.until is not None and not ended and row.until(row.tokens)
            if ended or halted or len(row.tokens) >= row.limit or row.future.cancelled():
                self._leave(first + index)
                self._resolve(row, (row.tokens, ended))

    def _leave(self, index: int) -> None:
        """Let a row go; all its tokens are in the cache but the last."""
        if self._limits.answers:
            self._prefiller.store(self._rows[index].context[:-1], self._cache, index)
        self._cache.remove(index)
        self._rows[index] = self._rows[-1]
        self._rows.pop()
        self._draws = None

    def _prefill_all(
        self,
        rows: Sequence[Prefill[_Job]],
        work: Callable[[Sequence[Prefill[_Job]]], None],
        fits: Callable[[Sequence[Prefill[_Job]]], bool],
    ) -> list[Prefill[_Job]]:
        """Do `work` for `rows`, group by group while it `fits`; return the rows for which it did not."""
        left: list[Prefill[_Job]] = []
        for groups in self._prefiller.waves(rows):
            waiting = deque(groups)
            while waiting and fits(waiting[0]):
                waiting.extendleft(reversed(self._attempt(waiting.popleft(), work)))
            left += [row for group in waiting for row in group]
        return left

    def _attempt(
        self, rows: list[Prefill[_Job]], work: Callable[[Sequence[Prefill[_Job]]], None]
    ) -> list[list[Prefill[_Job]]]:
        """Do `work` for `rows`; return what is left of it when memory runs out: its halves, or a row that must wait.

        The prefix cache is given up first, and then all is tried again. A row that does not fit alone
        waits for running rows to be done; when none run, it fails and nothing is left.
        """
        said = memory_error(lambda: work(rows))
        if said is None:
            return []
        if not self._rows:
            self._cache = KVCache()  # what was made of the old one is too large
        if self._prefiller.shrink():
            return [rows]
        if len(rows) > 1:
            middle = len(rows) // 2
            return [rows[:middle], rows[middle:]]
        if self._rows:
            self._max_rows = self._full_at = len(self._rows)
            return [rows]
        job = rows[0].job
        self._fail(job, ContextError(f"a prompt of {len(job.prompt)} tokens does not fit in memory", raw=said))
        return []

    def _preempt(self) -> None:
        """Give the caches back and queue the rows again, half as many at once for now if only rows held memory."""
        rows, self._rows, self._cache, self._draws = self._rows, [], KVCache(), None
        if not self._prefiller.shrink():
            if len(rows) == 1:
                self._fail(rows[0], ContextError("the answer outgrew the memory"))
                return
            self._max_rows = max(1, len(rows) // 2)
        self._generations.extendleft(reversed(rows))

    def _dropped(self, job: Job) -> bool:
        """Return whether nobody waits for `job` any more, and forget it then."""
        if job.future.cancelled():
            self._open.discard(job)
            return True
        return False

    def _resolve(self, job: Job, result: Any) -> None:
        self._open.discard(job)
        _settle(job.future.set_result, result)

    def _fail(self, job: Job, error: EngineError) -> None:
        self._open.discard(job)
        _settle(job.future.set_exception, error)


def _drain(queue: deque[ScoringJob]) -> Iterator[ScoringJob]:
    while queue:
        yield queue.popleft()


def _settle(settle: Callable[[Any], None], value: Any) -> None:
    with suppress(InvalidStateError):  # cancelled this moment: nobody waits any more
        settle(value)
