"""Responses drawn from the policy as it is now, by the project's own engine: continuous batching over a KV cache.

The engine reads the weights that are trained, not a copy: nothing has to be handed over, and what is drawn cannot be
an older policy's. It lives for one step's responses, so that no cache outlasts the weights that filled it. A response
depends on its prompt and its seed alone. The trainer computes the log-probabilities of what was drawn itself.

It draws in the trainer's own thread. Another would bring OpenMP threads of its own, more of them than cores in all,
which OpenMP then puts to sleep between any two operations.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from cai.models.base import Sampling
from cai.models.local.engine import limits_of
from cai.models.local.jobs import GenerationJob
from cai.models.local.loading import Loaded, cache_bytes_of
from cai.models.local.sampling import stream
from cai.models.local.scheduler import Scheduler


class Rollouts:
    """Draws from `model`, a causal language model without wrappers; `ends` are the tokens that end a response.

    `autocast` is the context of the trainer's own passes, so that the policy that draws is the one that is trained.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        ends: Collection[int],
        sampling: Sampling,
        autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Raise ModelError for a model whose layers keep a state in place of a cache."""
        self._sampling = sampling
        self._autocast = autocast
        name = model.config.name_or_path or "the policy"
        with autocast():
            cache_bytes = cache_bytes_of(name, model, device)
        self._loaded = Loaded(
            name=name,
            model=model,
            tokenizer=None,
            device=device,
            context_length=None,
            end_tokens=frozenset(ends),
            cache_bytes=cache_bytes,
            weight_bytes=0,
        )

    def draw(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[list[int]]:
        """Return a response to each prompt, as token ids, with the token that ended it where one came.

        Raises what the engine raises, such as ContextError when memory is too short for one response.
        """
        loaded = self._loaded
        limits = replace(limits_of(loaded, None), answers=False)  # nobody goes on from a response
        scheduler = Scheduler(loaded.model, loaded.device, loaded.end_tokens, limits)
        sampling = self._sampling
        jobs = [
            GenerationJob(prompt, sampling, sampling.max_tokens, stream(seed))
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        for job in jobs:
            scheduler.submit(job)
        training = loaded.model.training
        loaded.model.eval()
        try:
            with self._autocast():
                scheduler.run()
        finally:
            loaded.model.train(training)
        return [job.future.result()[0] for job in jobs]
