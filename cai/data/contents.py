"""What a turn says: text, or parts of it as multimodal data and servers write them (`[{"type": "text", "text": …}]`).

Parts of text are joined by line breaks. Pictures, sounds, and what tools are asked and answer cannot be kept: a row
with them is refused, because without them its conversation would be another one.
"""

import reprlib
from collections.abc import Mapping
from typing import Any

from cai.data.rows import BadRowError, check_text

TOOLS = ("tool", "function", "ipython")
"""Roles of turns that tools answer in."""

_BETWEEN_PARTS = "\n"


def read_content(turn: Mapping[str, Any], name: str) -> str:
    """Return what a turn, called `name` in messages, says; raises BadRowError where that is not text alone."""
    if turn.get("role") in TOOLS:
        raise BadRowError(f"{name} is a tool's, and cai keeps conversations of text alone")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise BadRowError(f"{name} calls a tool, and cai keeps conversations of text alone")
    content = turn.get("content")
    if isinstance(content, str):
        return check_text(content)
    if not isinstance(content, list):
        raise BadRowError(f"the content of {name} is not a string but of type {type(content).__name__}")
    return _BETWEEN_PARTS.join(check_text(_text(part, name)) for part in content)


def _text(part: object, name: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if isinstance(part, dict) else None
    if kind != "text":
        raise BadRowError(f"{name} has a part that is no text ({reprlib.repr(kind if kind is not None else part)})")
    if not isinstance(text, str):
        raise BadRowError(f"{name} has a part of text without one")
    return text
