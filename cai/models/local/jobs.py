"""What the scheduler is given: jobs, with prompts as token ids, and the limits of what it does and keeps at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cai.models.base import Sampling
from cai.models.scoring import Spelling


@dataclass(slots=True, eq=False)
class Job:
    """A prompt that waits for its result; `future` may be waited for in any thread, all else is the scheduler's."""

    prompt: list[int]
    future: Future[Any] = field(default_factory=Future, init=False)
    computed: int = field(default=0, init=False)

    def note_prefill(self, known: int) -> None:
        """Note a pass that computed the prompt, and what follows it, but for the first `known` tokens."""
        self.computed = max(self.computed, len(self.prompt) - max(0, known))

    @property
    def cached(self) -> int:
        """Tokens of the prompt that came from the prefix cache and were never computed for this job."""
        return len(self.prompt) - self.computed


@dataclass(slots=True, eq=False)
class GenerationJob(Job):
    """Tokens to draw, `limit` at most, numbers from `stream`; resolves to (tokens, ended by an end token).

    They end, too, where `until` says so of those that there are; it is asked after each, in the scheduler's thread.
    """

    sampling: Sampling
    limit: int
    stream: np.random.Generator
    until: Callable[[list[int]], bool] | None = None
    tokens: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    @property
    def context(self) -> list[int]:
        """What has to pass through the model before the next token can be drawn."""
        return self.prompt + self.tokens

    @property
    def reach(self) -> int:
        """Tokens that this row occupies in the end."""
        return len(self.prompt) + self.limit

    def uniform(self) -> float:
        """Return the number in [0, 1) that decides the next token: the same one when a step has to be done again."""
        if self.sampling.temperature <= 0:
            return 0.0
        if len(self.numbers) == len(self.tokens):
            self.numbers.append(self.stream.random(dtype=np.float32))
        return self.numbers[-1]


@dataclass(slots=True, eq=False)
class ScoringJob(Job):
    """Paths of tokens to weigh; resolves to the probability of each."""

    spellings: Sequence[Spelling]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done and kept at once.

    `rows` are decoded together, with `cache_tokens` in their KV cache; `prefix_tokens` fit the prefix cache, of prompts
    and, where somebody may go on from them, of `answers`. A forward pass prefills `prefill_tokens`; `pass_tokens` take
    about as long as a pass takes for itself.
    """

    rows: int
    cache_tokens: int
    prefix_tokens: int
    prefill_tokens: int
    pass_tokens: int
    answers: bool = True
