"""What a server says where it gives no answer: a status with some text, or an error inside an answer of status 200.

Both are read alike. A refusal that speaks of a rate limit or of too much work is a BusyError, whatever its status; one
that says that the request does not fit the model is a ContextError; a status of 400 or more that is the server's own
fault, its gateway's or a refusal to this request may pass: an AttemptError.
"""

import re
from collections.abc import Mapping
from typing import Any

from cai.core.errors import ContextError, RequestError
from cai.core.redaction import hide_secrets
from cai.models.fields import first, mapping, parse
from cai.models.openai.attempts import AttemptError, BusyError

_BUSY = frozenset({429, 503, 529})
_OF_THE_REQUEST = frozenset({400, 413, 415, 422})
"""Statuses that speak of the request itself, and will of the same request tomorrow."""

_PASSING = frozenset({408, 409, 425})
_WHY = {
    401: "the key is refused: set OPENAI_API_KEY",
    403: "the key is refused: set OPENAI_API_KEY",
    404: "it serves no {model!r} there",
}
_OPTIONS = {
    "top_k": "--top-k",
    "min_p": "--min-p",
    "repetition_penalty": "--repetition-penalty",
    "repeat_penalty": "--repetition-penalty",
}
"""The options behind fields that not every server knows."""

_OVERFLOWING = frozenset({400, 413, 422})
_BUSY_WORDS = re.compile(r"rate[ _-]?limit|too many requests|overloaded|throttl", re.IGNORECASE)
_OVERFLOW = re.compile(
    r"context[ _](length|size|window|limit)|exceed_context|max_model_len|maximum (allowed )?length"
    r"|prompt is too long|input is too long|inputs?` tokens",
    re.IGNORECASE,
)
_QUOTED = 300
_RAW_LIMIT = 4_000


def refusal(status: int, raw: bytes, *, host: str, model: str, wait: float | None = None) -> RequestError:
    """Return what a server's refusal means.

    `wait` is what it asks for in seconds. A server at fault (5xx) that speaks of the context is not believed at once.
    """
    said, marks = _complaint(raw)
    what, whole = f"{host} answered {status}", clip(raw)
    if is_overflow(marks) and status in _OVERFLOWING:
        return ContextError("the request does not fit the model's context", raw=whole)
    if status in _BUSY or _BUSY_WORDS.search(marks):
        return BusyError(_join(what, said), raw=whole, wait=wait)
    if status >= 500:
        return AttemptError(_join(what, said), kind="server error", raw=whole)
    why = _WHY.get(status, _refused_field(marks))
    return AttemptError(
        _join(_join(what, why.format(model=model)), said),
        kind=f"http {status}",
        retryable=status not in _OF_THE_REQUEST,
        raw=whole,
        refused=status not in _PASSING,
    )


def _refused_field(marks: str) -> str:
    """Return what follows from a field that a refusal speaks of."""
    if "logprobs" in marks:
        return "it refuses top_logprobs, which choices are made of"
    option = next((option for name, option in _OPTIONS.items() if name in marks), None)
    return f"it does not draw tokens so: leave {option} out" if option else ""


def error_inside(answer: Mapping[str, Any]) -> int | None:
    """Return the status that an answer of status 200 means when it is an error in truth; None when it is none.

    It is one when it holds an `error`, or says something (`message`, `detail`) where the choices should be.
    """
    error = _error(answer)
    if error is None and ("choices" in answer or not _words(answer)):
        return None
    for holder in (mapping(error), answer):
        for name in ("code", "status", "status_code"):
            status = _status(holder.get(name))
            if status is not None:
                return status
    return 500


def parse_answer(raw: bytes) -> Any:
    """Return the JSON of an answer, or of the event of a stream that nobody asked for; raises as `parse` does."""
    event = _event(raw)
    return parse(raw) if event is None else event


def is_overflow(body: str) -> bool:
    """Return whether an error's text says that the request does not fit the model's context."""
    return _OVERFLOW.search(body) is not None


def clip(raw: bytes) -> str:
    """Return the beginning of an answer as text, for a failure's record; no secret's beginning ends it."""
    return hide_secrets(raw[: 2 * _RAW_LIMIT].decode(errors="replace"))[:_RAW_LIMIT]


def _event(raw: bytes) -> Any:
    """Return the first error among the events of a stream, None where `raw` is no stream or holds none."""
    if not raw.startswith((b"data:", b"event:", b":")):
        return None
    for line in raw.splitlines():
        if line.startswith(b"data:"):
            try:
                event = mapping(parse(line[5:]))
            except ValueError:
                continue
            if error_inside(event) is not None:
                return event
    return None


def _complaint(raw: bytes) -> tuple[str, str]:
    """Return the server's own words on one line, and all by which its error may be known.

    The rest of an error may repeat the request, and what a prompt speaks of says nothing about the server.
    """
    try:
        answer = mapping(parse_answer(raw))
    except ValueError:
        answer = {}
    error = _error(answer)
    said = error if isinstance(error, str) else _words(mapping(error)) or _words(answer)
    marks = [str(holder.get(name, "")) for holder in (mapping(error), answer) for name in ("type", "code", "status")]
    said = said or clip(raw)
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in said).split())
    return (line if len(line) <= _QUOTED else f"{line[:_QUOTED]}…"), " ".join([said, *marks])


def _error(answer: Mapping[str, Any]) -> Any:
    """Return what an answer calls its error, or its choice's; of several the first; None where there is none."""
    choice = mapping(first(answer.get("choices")))
    error = answer.get("error") or answer.get("errors") or choice.get("error") or None
    return first(error) if isinstance(error, list) else error


def _words(holder: Mapping[str, Any]) -> str:
    """Return what a mapping says, in whichever of the usual places."""
    for name in ("message", "detail", "msg", "type"):
        said = holder.get(name)
        said = mapping(first(said)).get("msg") if isinstance(said, list) else said
        if isinstance(said, str) and said:
            return said
    return ""


def _status(code: Any) -> int | None:
    """Return a status of 400 to 599 that was given as a number or in digits."""
    if isinstance(code, str) and code.isascii() and code.isdecimal() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else None


def _join(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def told(host: str, error: AttemptError, how: str) -> RequestError:
    """Return what a request fails with whose last attempt ended so at a host, which is named."""
    if error.kind == "server error" and is_overflow(str(error)):  # said again and again, so it is believed
        return ContextError("the request does not fit the model's context", raw=error.raw)
    said = str(error) if host in str(error) else f"{host}: {error}"
    return RequestError(f"{said}, {how}", retryable=error.retryable, kind=error.kind, raw=error.raw)
