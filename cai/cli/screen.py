"""Tables, panels and coloured text for a person, through rich; what somebody else wrote goes in by `shown`.

See `terminal` for what becomes of it. rich takes a few control characters out without a word, and would read square
brackets as markup; here both stay to be seen.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from cai.cli.terminal import clean
from cai.core.redaction import hide_secrets
from cai.core.text import visible


def shown(text: str, style: str = "") -> Text:
    """Return somebody else's text for a panel or a table."""
    return Text(visible(hide_secrets(text)), style)


def assembled(*parts: str | tuple[str, str] | Text) -> Text:
    """Return somebody else's texts, each perhaps with a style, one after the other."""
    texts = (
        part if isinstance(part, Text) else shown(part) if isinstance(part, str) else shown(*part) for part in parts
    )
    return Text.assemble(*texts)


def options_table(settings: Mapping[str, Any]) -> Table:
    """Return settled options, a line each; what is not set is left out, and nothing is cut."""
    table = Table("option", Column("value", overflow="fold"), box=None, pad_edge=False)
    for name, value in sorted(settings.items()):
        if value not in (None, []):
            told = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            table.add_row(name.replace("_", "-"), shown(told))
    return table


class Screen(Console):
    """Standard output or standard error for tables, panels and sentences, in colours where it is a terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does, sentences cleaned before rich takes characters out of them."""
        super().print(*(clean(item) if isinstance(item, str) else item for item in objects), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does; no text that came by another way reaches the terminal as it was."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
