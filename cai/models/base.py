"""What every engine is: something that answers a conversation, and says how likely given answers are.

Engines know nothing of constitutions, principles or judges. Batching, retries and back-pressure live inside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cai.core.records import Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens; the Constitutional AI paper samples at temperature 1 throughout (2212.08073, section 3.2).

    `max_tokens` are those of the text. `top_k` None, `min_p` 0 and `repetition_penalty` 1 change nothing. A text ends
    before the first of the `stop` texts. A backend that lacks one of the last four refuses it when it is opened.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()


ThinkingMode = Literal["off", "on", "auto"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """Whether a model thinks before it answers; `auto` leaves that to the model's own default.

    `budget` are tokens of thought beside those of the text; None: both share the text's. A model that can only think
    does so in every mode.
    """

    mode: ThinkingMode = "auto"
    budget: int | None = None


NOT_THINKING = Thinking("off")


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that ends with the user's turn, to be continued; `seed` alone decides what is drawn.

    `prefill` is how the assistant's text begins: the model goes on behind it, and behind its thought if it has one.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    seed: int = 0
    thinking: Thinking = Thinking()
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """The assistant's next turn: `text` behind the request's prefill; `length` means the token limit ended it.

    `reasoning` is what the model thought before it, never a part of the text. A thought that the limit ended leaves an
    empty text. `completion_tokens` count both.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """How likely each option is as the assistant's next turn.

    `probabilities` follow the order of the options and sum to 1; `mass` in [0, 1] is what they weighed together before
    normalising, all spellings of an option (`A`, ` A`) added up. A small mass means the model wanted to say something
    else. `reasoning` is what it thought before. A choice looks at one token, and more only behind a thought.
    """

    probabilities: tuple[float, ...]
    mass: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int = 1
    reasoning: str = ""


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

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Return how likely each option is as all that follows the request's prefill, by log-probability.

        Only a thought is drawn, as the request's sampling says. Raises as `complete`; a backend that gives no
        log-probabilities fails every such request.
        """

    async def close(self) -> None:
        """Release what the engine holds; it answers no more."""


def jurors_of(engine: Engine) -> tuple[Engine, ...]:
    """Return the engines that a jury (`cai.models.jury`) is made of, whatever stands around it; none of others."""
    jurors: tuple[Engine, ...] = getattr(engine, "jurors", ())
    return jurors


class ForwardingEngine:
    """What an engine around another one is called and can hold: what the other is and can."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def around(self, engine: Engine) -> Engine:
        """Return an engine like this one around a juror; to be said by every class that a jury may be inside of."""
        raise NotImplementedError(f"{type(self).__name__} cannot be around the jurors of {engine.name}")

    @property
    def jurors(self) -> tuple[Engine, ...]:
        """The other engine's jurors, each with the same around it."""
        jurors = jurors_of(self._engine)
        return tuple(map(self.around, jurors)) if jurors else ()

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
