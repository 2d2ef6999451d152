"""The rules that make a row a prompt.

Nothing is guessed: a string is the user's one turn, whatever it looks like; a list is a conversation of {role, content}
that ends with the user.
"""

import math
import reprlib
from decimal import Decimal
from typing import Any, NamedTuple, cast

from cai.core.records import Criterion, Message
from cai.data.columns import REFERENCE, PromptColumns
from cai.data.contents import TOOLS, read_content
from cai.data.rows import BadRowError, BrokenRow, RawRow, broken, check_text, text_of
from cai.data.rubrics import read_rubric

BROKEN = "broken row "
"""How the id of a row that is no prompt begins; no prompt's own id may, or a broken row would stand for a good one."""

_ROLES = ("system", "user", "assistant")
_EXACT = 2**53
"""Beyond it a float is no whole number that anybody wrote."""


class Draft(NamedTuple):
    """A prompt without its ordinal; `id` is the user's own or None."""

    place: str
    id: str | None
    messages: tuple[Message, ...]
    tags: tuple[str, ...]
    rubric: tuple[Criterion, ...] = ()
    references: tuple[str, ...] = ()


def parse(row: RawRow | BrokenRow, columns: PromptColumns) -> Draft | BrokenRow:
    """Return the prompt in a row, or why it is none."""
    if isinstance(row, BrokenRow):
        return row
    values = row.values
    try:
        messages = _messages(columns.value(values))
        name, tags = read_identifier(values.get("id")), read_tags(values.get("tags"))
        return Draft(row.place, name, messages, tags, read_rubric(values), read_references(values.get(REFERENCE)))
    except BadRowError as error:
        return broken(row.place, str(error), text_of(values.get(columns.main)))


def _messages(value: object) -> tuple[Message, ...]:
    if isinstance(value, str):
        if not value or value.isspace():
            raise BadRowError("the prompt is empty")
        return ({"role": "user", "content": check_text(value)},)
    if value is None:
        raise BadRowError("the row has no prompt")
    if not isinstance(value, list):
        raise BadRowError(f"the prompt is neither a string nor a list of messages, but of type {type(value).__name__}")
    if not value:
        raise BadRowError("the conversation is empty")
    messages = tuple([_message(turn, number) for number, turn in enumerate(value, start=1)])
    last = messages[-1]
    if last["role"] != "user":
        raise BadRowError(f"the conversation must end with a user's turn; it ends with role {last['role']!r}")
    if not last["content"] or last["content"].isspace():
        raise BadRowError("the user's last turn is empty")
    return messages


def _message(turn: object, number: int) -> Message:
    """Check one turn of a conversation; keys other than role and content are no part of the prompt."""
    if not isinstance(turn, dict):
        raise BadRowError(f"message {number} is not an object with role and content")
    fields = cast("dict[str, Any]", turn)
    role = fields.get("role")
    if role not in _ROLES and role not in TOOLS:
        raise BadRowError(f"message {number} has role {reprlib.repr(role)}; allowed are {', '.join(_ROLES)}")
    return {"role": role, "content": read_content(fields, f"message {number}")}


def read_identifier(value: object) -> str | None:
    """Return a row's own id; whole numbers that pandas made floats for want of a missing value are whole again."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if value.startswith(BROKEN):
            raise BadRowError(f"the id begins with {BROKEN!r}, which names rows that are none")
        return check_text(value)
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value) and -_EXACT < value < _EXACT:
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadRowError(f"the id is neither a string nor a whole number, but {reprlib.repr(value)}")


def read_tags(value: object) -> tuple[str, ...]:
    """Return a row's tags: a list of strings, or a string in which commas part them."""
    if value is None:
        return ()
    if isinstance(value, str):
        if value.lstrip().startswith(("[", "{")):
            raise BadRowError(f"the tags are a list written as text, {reprlib.repr(value)}; part them by commas alone")
        return tuple(tag for part in check_text(value).split(",") if (tag := part.strip()))
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise BadRowError(f"the tags are neither a string nor a list of strings, but {reprlib.repr(value)}")
    return tuple(map(check_text, value))


def readable_tags(value: object) -> tuple[str, ...]:
    """Return a row's tags as `read_tags` does, or none where it refuses: for who looks at rows as they are."""
    try:
        return read_tags(list(value) if isinstance(value, tuple) else value)
    except BadRowError:
        return ()


def read_references(value: object) -> tuple[str, ...]:
    """Return the right answers that a row gives: a text, or a list of texts, each once and none of them empty."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadRowError(f"the reference is neither a text nor a list of texts, but {reprlib.repr(value)}")
    return tuple(dict.fromkeys(check_text(one.strip()) for one in found if one.strip()))
