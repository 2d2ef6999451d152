"""What is asked of a server, as bytes: OpenAI's chat completions, and what one server is told beside the common fields.

`max_tokens` and not `max_completion_tokens`: vLLM, SGLang, llama.cpp, Ollama and TGI all take the former.

A choice is asked as one token with its 20 most likely alternatives, at temperature 1 and top-p 1. Most servers report
log-probabilities before temperature and truncation, some after; at 1 both are the model's own numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from cai.models.base import Request
from cai.models.openai.kinds import UNKNOWN, Fields, ServerKind, sampling_fields

_TOP_LOGPROBS = 20  # the most that OpenAI's interface and vLLM's default allow
_BYTES_PER_TOKEN = 512  # the longest tokens of usual vocabularies, written as escapes
_BYTES_BESIDE = 1 << 18  # all else that an answer holds: its usage, 20 alternatives to a token


@dataclass(frozen=True, slots=True)
class Manner:
    """How one server is asked: `fields` beside the common ones, and how the assistant's `turn` begins, if it does.

    `text` is the part of that turn which the server says again, None where it does not. `room` are the tokens that a
    thought may have beside the text.
    """

    host: str = ""
    kind: ServerKind = UNKNOWN
    fields: Fields = field(default_factory=dict)
    turn: Mapping[str, Any] | None = None
    text: str | None = None
    room: int = 0

    @property
    def begun(self) -> bool:
        """Whether the answer is the rest of a turn."""
        return self.turn is not None


PLAIN = Manner()


def completion_body(model: str, request: Request, manner: Manner = PLAIN) -> bytes:
    """Return the body that asks for the assistant's next turn; raises RequestError for what the server lacks."""
    sampling = request.sampling
    return orjson.dumps(
        {
            "model": model,
            "messages": _messages(request, manner),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens + manner.room,
            "seed": request.seed,
            **sampling_fields(sampling, manner.kind, manner.host),
            **manner.fields,
        }
    )


def choice_body(model: str, request: Request, manner: Manner = PLAIN) -> bytes:
    """Return the body that asks how likely each next token is."""
    return orjson.dumps(
        {
            "model": model,
            "messages": _messages(request, manner),
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": _TOP_LOGPROBS,
            **manner.fields,
        }
    )


def most_bytes(max_tokens: int) -> int:
    """Return how long the answer to a request for so many tokens may be; some servers say a thought twice."""
    return _BYTES_BESIDE + 2 * _BYTES_PER_TOKEN * max_tokens


def _messages(request: Request, manner: Manner) -> tuple[Mapping[str, Any], ...]:
    return request.messages if manner.turn is None else (*request.messages, manner.turn)
