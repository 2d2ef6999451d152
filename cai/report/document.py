"""What a report is made of before it is HTML: sections of blocks, plain text throughout, and the rows behind numbers.

Everything here is text that the template escapes; only a `Picture` holds markup, which `drawing.py` made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from markupsafe import Markup

from cai.core.redaction import hide_secrets, redact
from cai.core.text import visible


class RowText(str):
    """A text of a row: shown as it is, without known secrets; addresses in it stay as they are, as `cai show` does."""

    __slots__ = ()


def readable(value: object) -> str:
    """Return what may be shown of a value: no secret, and control characters to be seen; not escaped yet."""
    text = str(value)
    return visible(hide_secrets(text) if isinstance(value, RowText) else redact(text))


@dataclass(frozen=True, slots=True)
class Cell:
    """A text in a table or a list; `rows` is the anchor of the rows that its number comes from, None for none."""

    text: str
    rows: str | None = None
    kind: str = ""
    """`number` is set right, `code` in code's type."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or some; `kind` is `note` for small print, `warning` for what must not be overlooked."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column names the rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Listing:
    """Sentences, one below the other, each perhaps with rows."""

    items: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing and what it shows, in words."""

    svg: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class ShownText:
    """One text of an example under its label; `more` says how much was not shown, empty for nothing."""

    label: str
    text: RowText
    more: str = ""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row to be read."""

    title: str
    turns: Sequence[ShownText]
    command: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to be typed."""

    lines: Sequence[str]


Block: TypeAlias = Paragraph | Heading | Table | Listing | Picture | ShownRow | Commands


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under a heading; `anchor` is where the contents lead."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class LinkedRows:
    """The rows behind some numbers: where they are linked, their tally's name, and how to list all of them."""

    anchor: str
    name: str
    count: str
    ids: Sequence[str]
    more: str
    command: str


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A whole report; `words` are the template's own, by name."""

    language: str
    title: str
    subtitle: str
    sections: Sequence[Section]
    rows: Sequence[LinkedRows]
    words: dict[str, str]
    told: Sequence[str] = ()
    """The lines of a comparison, for whoever reads no page."""
