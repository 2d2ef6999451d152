"""What every engine is: something that answers a conversation, and says how likely given answers are.

Engines know nothing of constitutions, principles or judges. Batching, retries and back-pressure live inside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from cai.core.records import Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens; the Constitutional AI paper samples at temperature 1 throughout (2212.08073, section 3.2)."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that ends with the user's turn, to be continued; `seed` alone decides what is drawn."""

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """The assistant's next turn; `length` means the token limit ended it."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Choice:
    """How likely each option is as the assistant's next turn.

    `probabilities` follow the order of the options and sum to 1; `mass` in [0, 1] is what they weighed together before
    normalising, all spellings of an option (`A`, ` A`) added up. A small mass means the model wanted to say something
    else.
    """

    probabilities: tuple[float, ...]
    mass: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: ClassVar[int] = 1
    """A choice looks at one token."""


class Engine(Protocol):
    """A model that is open and answers; one class a backend, async only."""

    @property
    def name(self) -> str:
        """What provenance records: backend, model and revision or weights hash."""

    @property
    def concurrency(self) -> int:
        """How many requests this engine can usefully hold at once."""

    @property
    def context_length(self) -> int | None:
        """Prompt and completion tokens that fit together, or None when the backend does not tell."""

    async def complete(self, request: Request) -> Completion:
        """Return the assistant's next turn.

        Raises RequestError when this request failed, EngineGoneError when nobody can be asked any more.
        """

    async def choose(self, messages: tuple[Message, ...], options: Sequence[str]) -> Choice:
        """Return how likely each option is as the whole next turn, by log-probability, generating one token at most.

        Raises as `complete`; a backend that gives no log-probabilities fails every such request.
        """

    async def close(self) -> None:
        """Release what the engine holds; it answers no more."""


class ForwardingEngine:
    """What an engine around another one is called and can hold: what the other is and can."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        """The other engine's name."""
        return self._engine.name

    @property
    def concurrency(self) -> int:
        """The other engine's concurrency."""
        return self._engine.concurrency

    @property
    def context_length(self) -> int | None:
        """The other engine's context length."""
        return self._engine.context_length
