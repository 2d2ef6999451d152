"""Text that somebody else wrote, made fit to be shown on a terminal or in a log; `markdown` is for files.

Prompts, answers, constitutions, file names and servers' errors may hold characters that a terminal obeys (some let it
write to the clipboard), that turn the direction of writing, or that nobody sees. Data files keep what they were given.
"""

import re
import unicodedata
from functools import lru_cache

_JOINERS = "\u200c\u200d"
"""Between letters of Persian and between the parts of an emoji: they change how text looks, and hide none."""

_PERHAPS = re.compile(r"[^\n\t\x20-\x7e]")


def visible(text: str) -> str:
    """Return text with every control character as the escape that Python writes it with, newline and tab aside.

    So are surrogates, line separators of other kinds and invisible format characters, those for the direction of
    writing among them. Windows' line ends become newlines.
    """
    return _PERHAPS.sub(lambda found: _shown(found[0]), text.replace("\r\n", "\n"))


@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    if is_hidden(character):
        number = ord(character)
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return character


def is_hidden(character: str) -> bool:
    """Tell whether a character is one that a terminal obeys or does not show."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS
