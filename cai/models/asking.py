"""Asking a model stage by stage, as a row's chain of requests does, and telling at which stage a chain stopped.

A text that stays away is asked for again a bounded number of times, each time under another seed derived from its own:
so a model that now and then says nothing costs a request and no row, and the same run asks the same again. All else
that may pass an engine has asked again already. A thought that filled the limit would fill it again.
"""

from collections.abc import Sequence
from dataclasses import replace

from cai.core.errors import ContextError, RequestError, RowError
from cai.core.identity import derive_seed
from cai.core.records import CRITIQUE, RESPONSE, REVISION
from cai.models.base import Choice, Completion, Engine, Request

ATTEMPTS = 5
"""How often a text is asked for. Where one answer in a hundred is empty, one in 10¹⁰ texts is lost; of one in five, one
in three thousand."""

NO_TEXT = "no text"
"""The kind of a failure in which the model had nothing to say."""

ALL_THOUGHT = "all thought"
"""The kind of a failure in which the token limit ended a thought before any text."""

NO_LOGPROBS = "no log-probabilities"
"""The kind of a failure in which a model was to choose and gives no log-probabilities."""

WITHOUT_LOGPROBS = (
    ", which gates and verdicts are made of: leave the gate out (--no-gate) and judge by text (--judge-by text)"
)
"""How a sentence ends that says so."""


class Asker:
    """One chain of requests; `answered` are the stages at which at least one was answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answered: set[str] = set()

    @property
    def answered(self) -> frozenset[str]:
        """The stages at which at least one request was answered."""
        return frozenset(self._answered)

    async def write(self, stage: str, request: Request) -> Completion:
        """Return the next turn, stripped and not empty; raises RowError, and EngineGoneError as the engine does."""
        for attempt in range(ATTEMPTS):
            asked = replace(request, seed=derive_seed(request.seed, "again", attempt)) if attempt else request
            try:
                completion = await self._engine.complete(asked)
            except RequestError as error:
                if error.kind != NO_TEXT:
                    raise self._failure(stage, error) from error
                silence = str(error), error.raw
            else:
                text = completion.text.strip()
                if text:
                    self._answered.add(stage)
                    return completion if text == completion.text else replace(completion, text=text)
                if completion.reasoning and completion.finish_reason == "length":
                    raise self._failure(stage, _all_thought(stage, request, completion))
                silence = f"the model returned an empty {stage}", completion.text
        message, raw = silence
        raise self._failure(stage, RequestError(message, retryable=False, kind=NO_TEXT, raw=raw))

    async def choose(self, stage: str, request: Request, options: Sequence[str]) -> Choice:
        """Return how likely each option is; raises as `write` does."""
        try:
            choice = await self._engine.choose(request, options)
        except RequestError as error:
            raise self._failure(stage, error) from error
        self._answered.add(stage)
        return choice

    def _failure(self, stage: str, error: RequestError) -> RowError:
        # What does not fit is the conversation's own fault: without a kind it tells nothing of the engine.
        kind = "" if isinstance(error, ContextError) else error.kind
        return RowError(
            str(error),
            stage=stage,
            retryable=error.retryable,
            kind=kind,
            raw=error.raw,
            answered=self.answered,
        )


_THINKING = {RESPONSE: "--thinking", CRITIQUE: "--critique-thinking", REVISION: "--critique-thinking"}
"""The option that says whether a stage thinks; of all others it is the judge's."""


def _all_thought(stage: str, request: Request, completion: Completion) -> RequestError:
    """Return the failure of a text that never began, with what to do."""
    thinking = request.thinking
    if thinking.mode == "off":
        remedy = f"the model can only think: {'give it' if thinking.budget is None else 'raise'} --thinking-budget"
    else:
        limit = "--max-tokens" if thinking.budget is None else "--thinking-budget or --max-tokens"
        remedy = f"raise {limit}, or turn it off with {_THINKING.get(stage, '--judge-thinking')} off"
    message = f"{completion.completion_tokens:,} tokens of the {stage} were all thought: {remedy}"
    return RequestError(message, retryable=False, kind=ALL_THOUGHT, raw=completion.reasoning)
