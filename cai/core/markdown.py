"""Text that somebody else wrote, in a Markdown file: it reads as what it is and means nothing else.

A constitution's version may hold HTML, a principle's name a link, a file's name the bar that ends a cell. Every card
is written with these, and what is put between them is cai's own.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from cai.core.text import visible

_SPECIAL = re.compile(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^[#+-](?= ))")
_PLAIN = re.compile(r"[\w./:@#+%-]+( [\w./:@#+%-]+)*")


class Markdown(str):
    """Text that is Markdown already: what `escaped` and `code` return, or cai's own."""

    __slots__ = ()


def escaped(value: object) -> Markdown:
    """Return a value as one line of Markdown that means nothing but its text: no HTML, no link, no cell's end."""
    if isinstance(value, Markdown):
        return value
    line = " ".join(visible(str(value)).split())
    entities = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markdown(_SPECIAL.sub(r"\\\1", entities))


def code(value: object) -> Markdown:
    """Return a value in code's type, where it holds nothing that could end it."""
    text = str(value)
    return Markdown(f"`{text}`") if _PLAIN.fullmatch(text) else escaped(text)


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, one a row whatever the cells hold, and the empty line after it; none for no rows."""
    lines = [" | ".join(map(escaped, row)) for row in rows]
    if not lines:
        return []
    return [f"| {line} |" for line in (" | ".join(map(escaped, head)), " | ".join(["---"] * len(head)), *lines)] + [""]


def front_matter(value: dict[str, Any]) -> str:
    """Return what the hub reads at the head of a card."""
    return f"---\n{yaml.safe_dump(value, sort_keys=False)}---\n"
