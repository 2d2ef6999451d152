"""What an answer of OpenAI's chat completions says, and how likely it makes each option.

A thought comes in a field of its own, which servers call differently, as a part of the content, or inside the text
between tags. Where the answer is the rest of a turn that was begun behind its thought, all of it is text, whatever the
server takes it for.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cai.core.errors import RequestError
from cai.models.asking import ALL_THOUGHT, NO_LOGPROBS, NO_TEXT, WITHOUT_LOGPROBS
from cai.models.base import Choice, Completion
from cai.models.fields import DamagedError, count, first, log_probability, mapping, text, thought
from cai.models.openai.attempts import AttemptError
from cai.models.openai.refusals import clip, error_inside, parse_answer
from cai.models.spelling import written
from cai.models.thinking import TAGS, split

_FINISH: dict[str, Literal["stop", "length"]] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
}
"""What a server may call its limit; every other end of a text is `stop`, whatever it is called."""

_FILTERED = "content_filter"
_FAILED = frozenset({"error", "abort"})
THOUGHTS = ("reasoning", "reasoning_content", "thinking")
"""What servers call a thought beside the text: vLLM, Ollama and OpenRouter; SGLang, llama.cpp and DeepSeek; others."""

_BEFORE, _BEHIND = "([*\"'`“", ")]*\"'`”.,:"
"""What an option may be dressed in; the same as in `spelling`."""

_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": " "})  # how vocabularies spell white space
_ROUNDING = 1.02
"""How far rounding may carry the probabilities of all tokens together; beyond that they are none."""

_NO_LOGPROBS = (
    f"the server gives no log-probabilities (top_logprobs){WITHOUT_LOGPROBS}, or use one that does: "
    "vLLM, SGLang, llama.cpp's server, Ollama from 0.12.11 on"
)


class ErrorInsideError(ValueError):
    """An answer of status 200 is an error in truth, of the status `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(f"an error of status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer to a question of ours says: its whole text, the part of it that is thought, whether it ended.

    A thought is `unopened` where its closing tag alone tells it.
    """

    text: str
    reasoning: str
    ended: bool
    prompt_tokens: int
    unopened: bool = False
    fingerprint: Any = None


def read_completion(raw: bytes, max_tokens: int, *, begun: bool = False) -> Completion:
    """Read the answer to `completion_body`; `begun` says that it is the rest of a turn.

    Raises AttemptError when it cannot be read, ended in an error, or holds no text; ErrorInsideError when it is an
    error; RequestError when the server withholds the text, or the thought that filled its limit. An answer with damaged
    or empty text is kept in the AttemptError. One that the limit ended within its thought is good, and has no text.
    """
    answer, damaged = _parse(raw)
    choice, message = _message(answer, raw)
    reason = choice.get("finish_reason")
    reason = reason.lower() if isinstance(reason, str) else ""
    if reason == _FILTERED:
        raise RequestError("the server's filter withheld the answer", retryable=False, kind=_FILTERED, raw=clip(raw))
    if reason in _FAILED:
        raise AttemptError(f"the answer ended with {reason}", kind="server error", raw=clip(raw))
    said, reasoning = apart(message, begun=begun)
    prompt, cached, completion = _usage(answer)
    # An end without a known name is the limit's where all tokens were used.
    finish = _FINISH.get(reason, "length" if reason != "stop" and completion >= max_tokens else "stop")
    if finish == "length" and not (said or "").strip():
        if reasoning and not damaged:
            return Completion("", finish, prompt, cached, completion, reasoning)
        _refuse_hidden(answer, completion)
    if said is None and not reasoning:
        ended = f" (finish_reason {reason[:40]})" if reason.isidentifier() else ""
        raise AttemptError(f"the server answered without text{ended}", kind=NO_TEXT, raw=clip(raw))
    result = Completion(said or "", finish, prompt, cached, completion, reasoning)
    if damaged:
        raise _unreadable(raw, result)
    if not result.text.strip():
        what = "a thought and no text: does its reasoning parser fit the model?" if reasoning else "an empty text"
        raise AttemptError(f"the server answered with {what}", kind=NO_TEXT, raw=clip(raw), kept=result)
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
    if not isinstance(top, list):
        raise _unreadable(raw)
    tokens: list[tuple[str, float]] = []
    for entry in top:
        token = entry.get("token") if isinstance(entry, dict) else None
        if not isinstance(token, str):
            raise _unreadable(raw)
        tokens.append((token, log_probability(entry.get("logprob"))))
    weights = weigh_options(tokens, options)
    mass = sum(weights)
    if not mass <= _ROUNDING:
        raise AttemptError("the server's log-probabilities are none", kind="unreadable answer", raw=clip(raw))
    probabilities = tuple(w / mass for w in weights) if mass > 0 else (1 / len(options),) * len(options)
    prompt, cached, _ = _usage(answer)
    result = Choice(probabilities, min(mass, 1.0), prompt, cached)
    if damaged:
        raise _unreadable(raw, result)
    return result


def begins_thought(raw: bytes) -> bool:
    """Return whether the one token of an answer to `choice_body` begins a thought, as far as the answer tells."""
    answer, _ = _parse(raw)
    choice = mapping(first(answer.get("choices")))
    likeliest = mapping(first(mapping(choice.get("logprobs")).get("content"))).get("token")
    first_token = likeliest.strip() if isinstance(likeliest, str) else ""
    tagged = bool(first_token) and any(tags.opening.startswith(first_token) for tags in TAGS if not tags.words)
    return tagged or bool(apart(mapping(choice.get("message")), begun=False)[1])


def read_said(raw: bytes) -> Said:
    """Read an answer of which only this is needed; raises AttemptError and ErrorInsideError as `read_completion`."""
    answer, _ = _parse(raw)
    choice, message = _message(answer, raw)
    beside = _beside(message)
    content = text(message.get("content")) or ""
    _, reasoning = apart(message, begun=False)
    ended = _FINISH.get(str(choice.get("finish_reason")).lower(), "stop") == "stop"
    unopened = bool(reasoning) and not beside and not split(content).reasoning
    return Said(beside + content, reasoning, ended, _usage(answer)[0], unopened, answer.get("system_fingerprint"))


def _message(answer: Mapping[str, Any], raw: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the first choice and its message; raises AttemptError when there is none."""
    choice = first(answer.get("choices"))
    message = mapping(choice).get("message")
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _unreadable(raw)
    return choice, message


def apart(message: Mapping[str, Any], *, begun: bool) -> tuple[str | None, str]:
    """Return the text of a message, None where it has none, and its thought."""
    said, reasoning = text(message.get("content")), _beside(message)
    if begun and not said and reasoning:
        return reasoning, ""
    if said is not None and not reasoning:
        reasoning, said, _ = split(said, False if begun else None)
    return said, reasoning


def _beside(message: Mapping[str, Any]) -> str:
    """Return the thought that stands beside a message's text."""
    for name in THOUGHTS:
        told = text(message[name]) if name in message else None
        if told:
            return told
    return thought(message.get("content"))


def _refuse_hidden(answer: Mapping[str, Any], tokens: int) -> None:
    """Raise RequestError where the limit ended a thought that the server keeps to itself."""
    details = mapping(mapping(answer.get("usage")).get("completion_tokens_details"))
    if count(details.get("reasoning_tokens")):
        message = f"{tokens:,} tokens were all thought, which the server does not show: raise --max-tokens"
        raise RequestError(message, retryable=False, kind=ALL_THOUGHT)


def weigh_options(tokens: Iterable[tuple[str, float]], options: Sequence[str]) -> list[float]:
    """Return the probability of each option from the likeliest next tokens and their log-probabilities.

    White space, brackets, quotes and stops around a token are ignored, and white space around an option: `A`, ` A`,
    `(A` and `A)` add up, and so do `No` and `no`. A bracket alone says nothing of what comes behind it. A spelling
    listed twice counts once.

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
    forms = {form.strip(): option for option, ways in zip(whole, written(options), strict=True) for form in ways}
    pieces: dict[str, float] = {}
    for token, logprob in spelled.items():
        piece = token.translate(_SPACES).strip()
        bare = piece.lstrip(_BEFORE).rstrip(_BEHIND)
        piece = forms[bare] if bare in forms and piece not in whole else piece
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
