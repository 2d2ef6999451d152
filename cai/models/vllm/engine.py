"""A model in vLLM's asynchronous engine: continuous batching and prefix caching, in processes of its own.

A request goes to the engine the moment it is made and joins the running batch. Prompts that begin alike are read once:
the samples of one prompt, and each further request of a row, find the beginning in the prefix cache.

A per-request seed decides what is drawn, except on a CPU, where vLLM's engine dies of one: there it is left out, and
the engine's name says `unseeded`.
"""

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.models.conversation import ChatTokenizer
from cai.models.fields import log_probability
from cai.models.scoring import Spelling
from cai.models.token_engine import Drawing, Drawn, TokenEngine
from cai.models.vllm.loading import StartedVllm, open_model

_MOST_TOKENS = 128  # whose log-probabilities vLLM gives at once
_SPARE = 1.125  # requests held for each sequence that runs, so that a freed place finds work waiting


class VllmEngine(TokenEngine):
    """An engine that runs. Made by `open_vllm`."""

    def __init__(
        self, opened: StartedVllm, concurrency: int | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.name = opened.name
        self.concurrency = concurrency or math.ceil(opened.sequences * _SPARE)
        self.context_length: int | None = opened.context_length
        self._engine = opened.engine
        self._adapter = opened.adapter
        self._seeds = opened.seeds
        super().__init__(ChatTokenizer(opened.tokenizer, opened.context_length, opened.variables, say))
        self._numbers = itertools.count()

    async def _draw(self, drawing: Drawing) -> Drawn:
        sampling = drawing.sampling
        answer = await self._ask(
            drawing.prompt,
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k or 0,
                min_p=sampling.min_p,
                repetition_penalty=sampling.repetition_penalty,
                max_tokens=drawing.limit,
                seed=drawing.seed if self._seeds else None,
                stop=list(drawing.until),
                include_stop_str_in_output=bool(drawing.until),
                detokenize=bool(drawing.until),
                skip_special_tokens=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            ),
        )
        output = answer.outputs[0]
        if output.finish_reason not in ("stop", "length"):
            raise RequestError(f"vLLM ended the answer with {output.finish_reason}", retryable=True)
        tokens = list(output.token_ids)
        ended = output.finish_reason == "stop" and not isinstance(output.stop_reason, str)
        return Drawn(tokens[:-1] if ended else tokens, ended, len(tokens), answer.num_cached_tokens or 0)

    async def _score(self, prompt: list[int], spellings: Sequence[Spelling]) -> tuple[dict[Spelling, float], int]:
        """One request of one token for each beginning that paths share, and for each 128 tokens that follow one.

        The prompt itself is read only once.
        """
        nexts: dict[Spelling, dict[int, None]] = {}
        for spelling in spellings:
            for place, token in enumerate(spelling):
                nexts.setdefault(spelling[:place], {})[token] = None
        looks = [(path, some) for path, tokens in nexts.items() for some in _batched(tokens)]
        answers = await asyncio.gather(*(self._look(prompt, path, some) for path, some in looks))
        seen: dict[Spelling, dict[int, float]] = {path: {} for path in nexts}
        for (path, _), (found, _) in zip(looks, answers, strict=True):
            seen[path] |= found
        probabilities = {
            spelling: math.exp(sum(seen[spelling[:place]][token] for place, token in enumerate(spelling)))
            for spelling in spellings
        }
        return probabilities, answers[0][1]

    async def close(self) -> None:
        """End vLLM's processes; requests that wait get EngineGoneError."""
        await asyncio.to_thread(self._engine.shutdown)
        self._chat.tell_changes()

    async def add_adapter(self) -> None:
        """Load the adapter beside the base, if there is one; raises ModelError when they do not fit."""
        if self._adapter is None:
            return
        try:
            await self._engine.add_lora(self._adapter)
        except Exception as error:  # vLLM passes on whatever its worker raised
            raise ModelError(f"the adapter {self._adapter.path} does not fit its base: {_first_line(error)}") from error

    async def _look(self, prompt: list[int], path: Spelling, tokens: Iterable[int]) -> tuple[dict[int, float], int]:
        """Return the log-probability of each token behind the prompt and the path, and the prompt tokens cached."""
        wanted = list(tokens)
        answer = await self._ask(
            [*prompt, *path],
            SamplingParams(
                temperature=0.0,
                max_tokens=1,
                logprob_token_ids=wanted,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            ),
        )
        logprobs = answer.outputs[0].logprobs
        if not logprobs or not all(token in logprobs[0] for token in wanted):
            raise RequestError("vLLM ended a choice without log-probabilities", retryable=True)
        found = {token: log_probability(logprobs[0][token].logprob) for token in wanted}
        return found, answer.num_cached_tokens or 0

    async def _ask(self, prompt: list[int], parameters: SamplingParams) -> Any:
        """Return vLLM's final answer."""
        number = str(next(self._numbers))
        try:
            stream = self._engine.generate({"prompt_token_ids": prompt}, parameters, number, lora_request=self._adapter)
            answers = [answer async for answer in stream]
        except EngineDeadError as error:
            raise EngineGoneError("vLLM's engine died; what it said about that stands above") from error
        except EngineGenerateError as error:
            cause = error.__cause__ or error
            raise RequestError(f"vLLM failed at this request: {_first_line(cause)}", retryable=True) from error
        except (ValueError, VLLMValidationError) as error:
            raise RequestError(f"vLLM refuses this request: {_first_line(error)}", retryable=False) from error
        if not answers or not answers[-1].outputs:
            raise RequestError("vLLM ended without an answer", retryable=True)
        return answers[-1]


async def open_vllm(
    model: str,
    device: str,
    dtype: str,
    concurrency: int | None,
    options: tuple[str, ...] = (),
    variables: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> VllmEngine:
    """Open a directory, hub id or `BASE+ADAPTER`; raises ModelError in one sentence when that cannot be.

    `options` are `key=value` texts for vLLM's engine, see `vllm_options`; `variables` are for the chat template,
    and `say` tells a person of turns that it does not take.
    """
    opened = await asyncio.to_thread(open_model, model, device, dtype, options, variables or {})
    engine = VllmEngine(opened, concurrency, say)
    try:
        await engine.add_adapter()
    except BaseException:
        await engine.close()
        raise
    return engine


def _batched(tokens: Iterable[int]) -> Iterator[list[int]]:
    left = iter(tokens)
    while batch := list(itertools.islice(left, _MOST_TOKENS)):
        yield batch


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
