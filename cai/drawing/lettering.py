"""Texts of a picture in fonts that have their letters. Letters that no installed font has are replaced by numbers.

A font without a letter would draw an empty box, whichever the letter is; a number can be told apart and looked up.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from matplotlib import font_manager

_ORDINARY = "DejaVu Sans"
_PREFERRED = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic")
"""Fonts that are looked at first for letters that the ordinary one lacks."""


@dataclass(frozen=True, slots=True)
class Lettering:
    """How texts are drawn: each one's words, the fonts for them, and a note, empty where every letter can be drawn."""

    words: Mapping[str, str]
    fonts: tuple[str, ...]
    note: str


def find_lettering(texts: Iterable[str]) -> Lettering:
    """Return how these texts can be drawn on this machine."""
    texts = list(texts)
    fonts, missing = _find_fonts(texts)
    if not missing:
        return Lettering({text: text for text in texts}, fonts, "")
    letters = "".join(map(re.escape, sorted(missing)))
    undrawable = re.compile(rf"[^\s()]*[{letters}][^\s()]*")
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"[{len(numbers) + 1}]")

    words = {text: undrawable.sub(number, text) for text in texts}
    why = "letters that no installed font has (for Korean, install Noto Sans CJK KR or NanumGothic)"
    return Lettering(words, fonts, f"{', '.join(numbers.values())}: names in {why}")


def _find_fonts(texts: Iterable[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the fonts that have the texts' letters between them, and the letters that no installed font has."""
    fonts, missing = [_ORDINARY], {letter for text in texts for letter in text if not letter.isspace()}
    missing -= _letters(font_manager.findfont(_ORDINARY))
    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist if font.style == "normal"}
    for name in (*(name for name in _PREFERRED if name in installed), *sorted(installed)):
        if not missing:
            break
        if found := missing & _letters(installed[name]):
            fonts.append(name)
            missing -= found
    return tuple(fonts), frozenset(missing)


@cache
def _letters(path: str) -> frozenset[str]:
    """Return what a font file has; nothing where it cannot be read."""
    with suppress(OSError, RuntimeError):
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    return frozenset()
