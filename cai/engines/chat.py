"""OpenAI's chat completions as bytes: what is asked, and what an answer says. It knows nothing of connections.

`max_tokens` and not `max_completion_tokens`: vLLM, SGLang, llama.cpp, Ollama and TGI all take the former.

A choice is asked as one token with its 20 most likely alternatives, at temperature 1 and top-p 1. Most servers report
log-probabilities before temperature and truncation, some after; at 1 both are the model's own numbers.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import orjson

from cai.engines.base import Choice, Completion, Request
from cai.errors import ModelError, RequestError
from cai.records import Message

_FINISH: dict[str, Literal["stop", "length"]] = {
    "stop": "stop",
    "eos_token": "stop",  # TGI
    "stop_sequence": "stop",  # TGI
    "length": "length",
}
_TOP_LOGPROBS = 20  # the most that OpenAI's interface and vLLM's default allow
_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": " "})  # how vocabularies spell white space
_RAW_LIMIT = 4_000
_OVERFLOW = re.compile(
    r"context[ _](length|size|window|limit)|exceed_context|max_model_len|maximum (allowed )?length"
    r"|prompt is too long|input is too long|inputs?` tokens",
    re.IGNORECASE,
)
_NO_LOGPROBS = (
    "the server gives no log-probabilities (top_logprobs), which choices and the judge are made of; "
    "vLLM, SGLang, llama.cpp's server and Ollama from 0.12.11 on give them"
)


def completion_body(model: str, request: Request) -> bytes:
    """Return the body that asks for the assistant's next turn."""
    sampling = request.sampling
    return orjson.dumps(
        {
            "model": model,
            "messages": request.messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": request.seed,
        }
    )


def choice_body(model: str, messages: Sequence[Message]) -> bytes:
    """Return the body that asks how likely each next token is."""
    return orjson.dumps(
        {
            "model": model,
            "messages": messages,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": _TOP_LOGPROBS,
        }
    )


def read_completion(raw: bytes) -> Completion:
    """Read the answer to `completion_body`; raises RequestError when it holds no text or ended abnormally."""
    answer = _parse(raw)
    try:
        choice = answer["choices"][0]
        text, reason = choice["message"]["content"], choice["finish_reason"]
    except (KeyError, IndexError, TypeError) as error:
        raise _unreadable(raw) from error
    if not isinstance(text, str):
        raise RequestError(f"the server answered without text (finish_reason {reason})", retryable=False, raw=clip(raw))
    finish = _FINISH.get(reason)
    if finish is None:
        raise RequestError(f"the answer ended with {reason}", retryable=reason == "abort", raw=clip(raw))
    prompt, cached, completion = _usage(answer)
    return Completion(text, finish, prompt, cached, completion)


def read_choice(raw: bytes, options: Sequence[str]) -> Choice:
    """Read the answer to `choice_body`.

    Raises ModelError when it holds no log-probabilities or when two options begin with the same token, and
    RequestError when it cannot be read.
    """
    answer = _parse(raw)
    try:
        content = (answer["choices"][0].get("logprobs") or {}).get("content")
        if not content or not content[0].get("top_logprobs"):
            raise ModelError(_NO_LOGPROBS)
        tokens = [(entry["token"], entry["logprob"]) for entry in content[0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _unreadable(raw) from error
    weights = weigh_options(tokens, options)
    mass = sum(weights)
    probabilities = tuple(w / mass for w in weights) if mass > 0 else (1 / len(options),) * len(options)
    prompt, cached, _ = _usage(answer)
    return Choice(probabilities, min(mass, 1.0), prompt, cached)


def weigh_options(tokens: Iterable[tuple[str, float]], options: Sequence[str]) -> list[float]:
    """Return the probability of each option from the likeliest next tokens and their log-probabilities.

    White space around a token and an option is ignored, so `A` and ` A` add up; a spelling listed twice counts once.
    An option that is itself a token counts only where it stands whole. A longer option is scored by its first token: a
    token that begins exactly one option counts for it. When more weight lies on beginnings that several options share,
    no choice between them was seen and ModelError says so.
    """
    spelled: dict[str, float] = {}
    for token, logprob in tokens:
        spelled[token] = max(logprob, spelled.get(token, -math.inf))
    whole = [option.strip() for option in options]
    pieces: dict[str, float] = {}
    for token, logprob in spelled.items():
        piece = token.translate(_SPACES).strip()
        pieces[piece] = pieces.get(piece, 0.0) + math.exp(logprob)
    pieces.pop("", None)
    weights = [pieces.pop(option, 0.0) for option in whole]
    longer = [index for index, weight in enumerate(weights) if weight == 0.0]
    shared, example = 0.0, ""
    for piece, weight in pieces.items():
        begun = [index for index in longer if whole[index].startswith(piece)]
        if len(begun) == 1:
            weights[begun[0]] += weight
        elif begun:
            shared, example = shared + weight, piece
    if shared > sum(weights):
        raise ModelError(f"the options {whole} begin with the same token {example!r}: a server cannot weigh them apart")
    return weights


def is_overflow(body: str) -> bool:
    """Return whether an error's text says that the request does not fit the model's context."""
    return _OVERFLOW.search(body) is not None


def clip(raw: bytes) -> str:
    """Return the beginning of an answer as text, for a failure's record."""
    return raw[:_RAW_LIMIT].decode(errors="replace")


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _unreadable(raw) from error
    if not isinstance(answer, dict):
        raise _unreadable(raw)
    return answer


def _unreadable(raw: bytes) -> RequestError:
    return RequestError("the server's answer is not a chat completion", retryable=True, raw=clip(raw))


def _usage(answer: dict[str, Any]) -> tuple[int, int, int]:
    """Return prompt, cached and completion tokens; 0 stands for what the server does not count."""
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return usage.get("prompt_tokens") or 0, details.get("cached_tokens") or 0, usage.get("completion_tokens") or 0
