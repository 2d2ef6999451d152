"""What texts look like: how much they repeat each other, their script, lists and markup. Computed over a sample."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import exp, log

from cai.core.words import Text
from cai.method.refusals import refuses

WORDS_COMPARED = 20_000
"""Words over which texts' variety is taken: the share of different ones falls with their number."""

TEXTS_COMPARED = 300
"""Texts that self-BLEU compares with each other."""

_ORDERS = 4

_LIST = re.compile(r"^[ \t]*(?:[-*•+]|\d{1,2}[.)])[ \t]+\S", re.MULTILINE)
_MARKUP = re.compile(r"\*\*\S[^\n]*?\*\*|^#{1,6} \S|^ {0,3}(?:```|~~~)|^\|.*\|[ \t]*$|`[^`\n]+`", re.MULTILINE)

_SCRIPTS = (
    ("Hangul", 0x1100, 0x11FF),
    ("Hangul", 0x3130, 0x318F),
    ("Hangul", 0xAC00, 0xD7A3),
    ("Kana", 0x3040, 0x30FF),
    ("Han", 0x3400, 0x9FFF),
    ("Cyrillic", 0x0400, 0x052F),
    ("Greek", 0x0370, 0x03FF),
    ("Hebrew", 0x0590, 0x05FF),
    ("Arabic", 0x0600, 0x06FF),
    ("Devanagari", 0x0900, 0x097F),
    ("Bengali", 0x0980, 0x09FF),
    ("Tamil", 0x0B80, 0x0BFF),
    ("Thai", 0x0E00, 0x0E7F),
)
LATIN = "Latin"
NONE = "none"
"""The script of a text without letters."""


def has_list(text: str) -> bool:
    """Tell whether a text has two items of a list or more."""
    found = _LIST.finditer(text)
    return next(found, None) is not None and next(found, None) is not None


def has_markup(text: str) -> bool:
    """Tell whether a text has Markdown: bold words, headings, code, tables."""
    return _MARKUP.search(text) is not None


@lru_cache(maxsize=1 << 14)
def has_refusal(text: str) -> bool:
    """Tell whether a text refuses, by its words; several measures ask of the same texts."""
    return refuses(text)


def script(text: str) -> str:
    """Return the script that most letters of a text's beginning are of, kana before the Han among them."""
    text = text[:500]
    if text.isascii():
        return LATIN if any(map(str.isalpha, text)) else NONE
    counts = Counter(_script(ord(character)) for character in text if character.isalpha())
    if counts["Kana"] and counts["Kana"] + counts["Han"] > sum(counts.values()) / 2:
        return "Kana"
    return counts.most_common(1)[0][0] if counts else NONE


def _script(code: int) -> str:
    return next((name for name, first, last in _SCRIPTS if first <= code <= last), LATIN if code < 0x250 else "other")


def distinct(texts: Iterable[str], order: int) -> tuple[float, int] | None:
    """Return distinct-n (Li et al. 2016) over the first WORDS_COMPARED words, and how many n-grams these are."""
    seen: set[tuple[str, ...]] = set()
    grams = words = 0
    for text in texts:
        found = Text(text).words
        words += len(found)
        for gram in zip(*(found[start:] for start in range(order)), strict=False):
            seen.add(gram)
            grams += 1
        if words >= WORDS_COMPARED:
            break
    return (len(seen) / grams, grams) if grams else None


def self_bleu(texts: Sequence[str]) -> tuple[float, int] | None:
    """Return BLEU-4 of each text against all others, on average (Zhu et al. 2018), and how many texts were compared.

    The first TEXTS_COMPARED that have four words or more are. Counts of orders above one are smoothed by one (Lin and
    Och 2004). How often a gram stands in any other text is known from the two texts that have it most.
    """
    read = [words for words in (Text(text).words for text in texts) if len(words) >= _ORDERS][:TEXTS_COMPARED]
    if len(read) < 2:
        return None
    precisions = [0.0] * len(read)
    for order in range(1, _ORDERS + 1):
        grams = [Counter(zip(*(words[start:] for start in range(order)), strict=False)) for words in read]
        most: dict[tuple[str, ...], tuple[int, int, int]] = {}
        for place, counts in enumerate(grams):
            for gram, count in counts.items():
                first, owner, second = most.get(gram, (0, -1, 0))
                most[gram] = (count, place, first) if count > first else (first, owner, max(second, count))
        smooth = int(order > 1)
        for place, counts in enumerate(grams):
            others = ((count, most[gram]) for gram, count in counts.items())
            matched = sum(min(count, second if owner == place else first) for count, (first, owner, second) in others)
            total = sum(counts.values())
            precisions[place] += log(max(matched + smooth, 1e-9) / (total + smooth)) / _ORDERS
    lengths = sorted(map(len, read))
    return sum(
        exp(precision) * _brevity(len(words), lengths) for precision, words in zip(precisions, read, strict=True)
    ) / len(read), len(read)


def _brevity(length: int, lengths: Sequence[int]) -> float:
    """Return the penalty of a text against the length next to its own among the others."""
    others = list(lengths)
    others.remove(length)
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return 1.0 if length >= nearest else exp(1 - nearest / length)


def openings(texts: Iterable[str], words: int = 3) -> Counter[str]:
    """Return how often texts begin with the same words."""
    found = (Text(text[:200]).words[:words] for text in texts)
    return Counter(" ".join(some) for some in found if len(some) == words)
