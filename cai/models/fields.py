"""Values out of what a server says, each read by one rule, so that nothing unchecked is passed on.

A server may say anything: lists for mappings, numbers as words, numbers that are none. What cannot be what it should be
is missing here: no mapping, no text, 0 tokens counted, a log-probability that is not a number.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import orjson

_MOST_TOKENS = 2**31 - 1
"""The most tokens that are believed of one answer: any sum of such counts fits 64 bits."""

_ROUNDING = 1e-4
"""How far above 0 rounding may carry a log-probability."""

_NOTHING = -1e9
"""A log-probability below which an integer may be too long for a float; vLLM writes minus infinity as -9999."""


class DamagedError(ValueError):
    """An answer holds half characters or bytes that are no text; `kept` is the answer with U+FFFD in their places."""

    def __init__(self, kept: Any) -> None:
        super().__init__("the answer holds bytes or half characters that are no text")
        self.kept = kept


def parse(raw: bytes) -> Any:
    """Return the JSON in `raw`, NaN and infinities too, which Python's servers write.

    Raises DamagedError where only its text is damaged, ValueError where it is none.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = raw.decode(errors="replace")
        try:
            answer = json.loads(text)
            kept = _mend(answer)
        except (ValueError, RecursionError):
            raise error from None
        if kept == answer and text.encode(errors="replace") == raw:
            return answer
        raise DamagedError(kept) from error


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping; what is none is an empty one."""
    return value if isinstance(value, dict) else {}


def first(value: Any) -> Any:
    """Return the first item of a list, None where there is none."""
    return value[0] if isinstance(value, list) and value else None


def text(content: Any) -> str | None:
    """Return a message's text, of all its text parts if it comes in parts; None where it has none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    said = [part if isinstance(part, str) else mapping(part).get("text") for part in content if not _is_thought(part)]
    parts = [part for part in said if isinstance(part, str)]
    return "".join(parts) if parts else None


def thought(content: Any) -> str:
    """Return what the parts of a message's content say that are thought (Mistral's), empty where there are none."""
    if not isinstance(content, list):
        return ""
    told = (text(part.get("thinking")) or text(part.get("text")) for part in content if _is_thought(part))
    return "".join(part for part in told if part)


def count(value: Any) -> int:
    """Return a count of tokens: a whole number, be it written `10.0`; anything else is 0, which is not counted."""
    if type(value) is not int:  # True is none
        value = int(value) if isinstance(value, float) and value.is_integer() else 0
    return value if 0 <= value <= _MOST_TOKENS else 0


def log_probability(value: Any) -> float:
    """Return a log-probability, at most 0; minus infinity is one, in words too, and anything else is not a number."""
    if value in ("-inf", "-Infinity"):
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _ROUNDING:
        return math.nan
    return min(float(value), 0.0) if value > _NOTHING else -math.inf


def _is_thought(part: Any) -> bool:
    return mapping(part).get("type") in ("thinking", "reasoning")


def _mend(value: Any) -> Any:
    """Return the value with U+FFFD for every half of a surrogate pair in its texts."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mend(item) for item in value]
    if isinstance(value, dict):
        return {_mend(name): _mend(item) for name, item in value.items()}
    return value
