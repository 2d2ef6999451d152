"""OpenAI's chat completions as bytes: what is asked, and what an answer says.

`max_tokens` and not `max_completion_tokens`: vLLM, SGLang, llama.cpp, Ollama and TGI all take the former.

A choice is asked as one token with its 20 most likely alternatives, at temperature 1 and top-p 1. Most servers report
log-probabilities before temperature and truncation, some after; at 1 both are the model's own numbers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson

from cai.core.errors import RequestError
from cai.core.records import Message
from cai.models.asking import NO_LOGPROBS, NO_TEXT, WITHOUT_LOGPROBS
from cai.models.base import Choice, Completion, Request
from cai.models.fields import DamagedError, count, first, log_probability, mapping, text
from cai.models.openai.attempts import AttemptError
from cai.models.openai.refusals import clip, error_inside, parse_answer

_FINISH: dict[str, Literal["stop", "length"]] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
}
"""What a server may call its limit; every other end of a text is `stop`, whatever it is called."""

_FILTERED = "content_filter"
_FAILED = frozenset({"error", "abort"})
_TOP_LOGPROBS = 20  # the most that OpenAI's interface and vLLM's default allow
_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": " "})  # how vocabularies spell white space
_BYTES_PER_TOKEN = 512  # the longest tokens of usual vocabularies, written as escapes
_BYTES_BESIDE = 1 << 18  # all else that an answer holds: its usage, 20 alternatives to a token
_ROUNDING = 1.02
"""How far rounding may carry the probabilities of all tokens together; beyond that they are none."""

_NO_LOGPROBS = (
    f"the server gives no log-probabilities (top_logprobs){WITHOUT_LOGPROBS}, or use one that does: "
    "vLLM, SGLang, llama.cpp's server, Ollama from 0.12.11 on"
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


def most_bytes(max_tokens: int) -> int:
    """Return how long the answer to a request for so many tokens may be."""
    return _BYTES_BESIDE + _BYTES_PER_TOKEN * max_tokens


class ErrorInsideError(ValueError):
    """An answer of status 200 is an error in truth, of the status `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(f"an error of status {status}")
        self.status = status


def read_completion(raw: bytes, max_tokens: int) -> Completion:
    """Read the answer to `completion_body`.

    Raises AttemptError when it cannot be read, ended in an error, or holds no text; ErrorInsideError when it is an
    error; RequestError when the server withholds the text. An answer with damaged or empty text is kept in the
    AttemptError.
    """
    answer, damaged = _parse(raw)
    choice = first(answer.get("choices"))
    message = mapping(choice).get("message")
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _unreadable(raw)
    reason = choice.get("finish_reason")
    reason = reason.lower() if isinstance(reason, str) else ""
    if reason == _FILTERED:
        raise RequestError("the server's filter withheld the answer", retryable=False, kind=_FILTERED, raw=clip(raw))
    if reason in _FAILED:
        raise AttemptError(f"the answer ended with {reason}", kind="server error", raw=clip(raw))
    said = text(message.get("content"))
    if said is None:
        ended = f" (finish_reason {reason[:40]})" if reason.isidentifier() else ""
        raise AttemptError(f"the server answered without text{ended}", kind=NO_TEXT, raw=clip(raw))
    prompt, cached, completion = _usage(answer)
    # An end without a known name is the limit's where all tokens were used.
    finish = _FINISH.get(reason, "length" if reason != "stop" and completion >= max_tokens else "stop")
    result = Completion(said, finish, prompt, cached, completion)
    if damaged:
        raise _unreadable(raw, result)
    if not said.strip():
        raise AttemptError("the server answered with an empty text", kind=NO_TEXT, raw=clip(raw), kept=result)
    return result


def read_choice(raw: bytes, options: Sequence[str]) -> Choice:
    """Read the answer to `choice_body`.

    Raises AttemptError when it cannot be read or holds no log-probabilities or impossible ones, ErrorInsideError when
    it is an error, RequestError when two options begin with the same token.
    """
    answer, damaged = _parse(raw)
    choice = first(answer.get("choices"))
    if not isinstance(choice, dict):
        raise _unreadable(raw)
    top = mapping(first(mapping(choice.get("logprobs")).get("content"))).get("top_logprobs")
    if not top:
        raise AttemptError(_NO_LOGPROBS, kind=NO_LOGPROBS, raw=clip(raw), refused=True)
    if not isinstance(top, list) or not all(isinstance(mapping(entry).get("token"), str) for entry in top):
        raise _unreadable(raw)
    weights = weigh_options([(entry["token"], log_probability(entry.get("logprob"))) for entry in top], options)
    mass = sum(weights)
    if not mass <= _ROUNDING:
        raise AttemptError("the server's log-probabilities are none", kind="unreadable answer", raw=clip(raw))
    probabilities = tuple(w / mass for w in weights) if mass > 0 else (1 / len(options),) * len(options)
    prompt, cached, _ = _usage(answer)
    result = Choice(probabilities, min(mass, 1.0), prompt, cached)
    if damaged:
        raise _unreadable(raw, result)
    return result


def weigh_options(tokens: Iterable[tuple[str, float]], options: Sequence[str]) -> list[float]:
    """Return the probability of each option from the likeliest next tokens and their log-probabilities.

    White space around a token and an option is ignored, so `A` and ` A` add up; a spelling listed twice counts once.
    An option that is itself a token counts only where it stands whole. A longer option is scored by its first token: a
    token that begins exactly one option counts for it. When more weight lies on beginnings that several options share,
    no choice between them was seen and RequestError says so. What is not a number makes the options that it counts for
    not a number.
    """
    spelled: dict[str, float] = {}
    for token, logprob in tokens:
        known = spelled.get(token, -math.inf)
        spelled[token] = known if known >= logprob or math.isnan(known) else logprob
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
        message = f"the options {whole} begin with the same token {example!r}: a server cannot weigh them apart"
        raise RequestError(message, retryable=False, kind="options alike")
    return weights


def _parse(raw: bytes) -> tuple[Mapping[str, Any], bool]:
    """Return the answer and whether its text is damaged; raises AttemptError or ErrorInsideError when it is none."""
    damaged = False
    try:
        answer = parse_answer(raw)
    except DamagedError as error:
        answer, damaged = error.kept, True
    except ValueError as error:
        raise _unreadable(raw) from error
    if not isinstance(answer, dict):
        raise _unreadable(raw)
    status = error_inside(answer)
    if status is not None:
        raise ErrorInsideError(status)
    return answer, damaged


def _unreadable(raw: bytes, kept: Completion | Choice | None = None) -> AttemptError:
    what = "is not a chat completion" if kept is None else "holds bytes or half characters that are no text"
    return AttemptError(f"the server's answer {what}", kind="unreadable answer", raw=clip(raw), kept=kept)


def _usage(answer: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return prompt, cached and completion tokens; 0 stands for what the server does not count."""
    usage = mapping(answer.get("usage"))
    prompt = count(usage.get("prompt_tokens"))
    cached = count(mapping(usage.get("prompt_tokens_details")).get("cached_tokens"))
    return prompt, min(cached, prompt), count(usage.get("completion_tokens"))
