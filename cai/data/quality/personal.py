"""Personal data and secrets: found by their form, and by their checksum where they have one; masked, not left out.

Addresses at which nobody lives (`example.com`) and numbers that are everybody's (free calls, as help lines have) are
none. A resident number of Korea has a checksum only if it was given before October 2020; later ones are not found.
Names are for others to find (`names.py`).
"""

import re
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TypeAlias

from cai.data.quality.descriptor import Find, QualityFilter
from cai.data.quality.items import COMPLETION, Item, ReadItem

_EMAIL = re.compile(r"\b[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![A-Za-z0-9_])")
_NOBODY = re.compile(r"^git@|(?:@|\.)(?:example\.(?:com|org|net)|test|invalid|localhost|example)$", re.IGNORECASE)
_PHONE = re.compile(
    r"(?<![\w.-])(?:"
    r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,3}"
    r"|(?:(?:001|1)[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,5})?"
    r"|\(0\d{2,4}\) ?\d{3,4} \d{4}"
    r"|01[016789][ .-]?\d{3,4}[ .-]?\d{4}"
    r"|0(?:2|[3-6][1-5]|70)[ .-]\d{3,4}[ .-]\d{4}"
    r")(?![A-Za-z0-9_-]|\.\d)"
)
_FREE = re.compile(r"^\+?1?[ .(-]*8(?:00|88|77|66|55|44|33)\D|^\D*1?\D*\d{3}\D*555\D?\d{4}$|^080")
_CARD = re.compile(
    r"(?<![\w.-])(?:(?:[3-6]\d|2[2-7])\d{2}(?:[ -]?\d{4}){2}[ -]?\d{1,4}(?:[ -]?\d{1,3})?|3[47]\d{2}[ -]\d{6}[ -]\d{5})"
    r"(?![A-Za-z0-9_-]|\.\d)"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9_])")
_RESIDENT = re.compile(r"(?<!\d)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-?[1-8]\d{6}(?!\d)")
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Parkway|Pkwy|Highway|Hwy|Circle|Terrace"
    r"|Trail)"
)
_ADDRESS = re.compile(
    rf"\b\d{{1,5}} (?:(?:[NSEW]\.? )?(?:[A-Z][a-z]+ ){{1,3}}|[NSEW]\.? \d{{1,3}}(?:st|nd|rd|th) ){_STREET}"
    r"\b(?!-)"
    r"|[가-힣]+(?:시|도|구|군) [가-힣\d]+(?:로|길) ?\d+"
)
_SECRET = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|sk_(?:live|test)_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    # A key that is cut off is as private: as far as there are lines of it.
    r"(?:[^-]+-----END (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\s*[A-Za-z0-9+/=]{20,}(?:\s+[A-Za-z0-9+/=]{20,})*(?:\s+[A-Za-z0-9+/=]+\Z)?)?"
)
_GITHUB = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")
Private: TypeAlias = tuple[int, int, str]
"""Where something private begins and ends in a text, in characters, and the mask that takes its place."""

_VARIOUS = 4
"""Different characters that a key has at least: fewer has one that stands for others, as xxxx."""
_RESIDENT_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)


def is_card(number: str) -> bool:
    """Tell whether digits, however they are grouped, are a card's: 13 to 19 of them with Luhn's checksum."""
    digits = [int(digit) for digit in number if digit.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 2 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Tell whether a text is an account number of ISO 13616, by its checksum."""
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(one, 36)) for one in moved)) % 97 == 1


def is_resident_number(text: str) -> bool:
    """Tell whether digits are a resident number of Korea, by their checksum."""
    digits = [int(digit) for digit in text if digit.isdecimal()]
    total = sum(digit * weight for digit, weight in zip(digits, _RESIDENT_WEIGHTS, strict=False))
    return len(digits) == 13 and (11 - total % 11) % 10 == digits[-1]


def _matching(pattern: re.Pattern[str], is_one: Callable[[str], bool] = bool) -> Find:
    def find(read: ReadItem, name: str) -> list[tuple[int, int]]:
        return [found.span() for found in pattern.finditer(read.texts[name].text) if is_one(found[0])]

    return find


_find_ibans = _matching(_IBAN, is_iban)
_find_numbers = _matching(_CARD, is_card)


def _find_cards(read: ReadItem, name: str) -> list[tuple[int, int]]:
    """Find cards; digits within the number of a bank account may have their checksum by chance."""
    found = _find_numbers(read, name)
    accounts = _find_ibans(read, name) if found else ()
    return [one for one in found if not any(start <= one[0] < end for start, end in accounts)]


def _masked(name: str, reason: str, find: Find, hint: re.Pattern[str], mask: str) -> QualityFilter:
    return QualityFilter(name, "text", reason, find, default="report", strict="clean", hint=hint, mask=mask)


_AT = re.compile("@")
_NUMBER = re.compile(r"\d(?:[ .()-]{0,2}[\dA-Z]){8}")
"""What each of the numbers has in it: nine digits or letters with little between them."""
_HOUSE = re.compile(r"\d(?: [A-Z]|(?<=[로길]\d)|(?<=[로길] \d))")

PERSONAL = (
    QualityFilter(
        "secret",
        "text",
        "it has a key or a token in it",
        _matching(_SECRET, lambda text: len(set(text)) > _VARIOUS and "EXAMPLE" not in text),
        default="clean",
        strict="clean",
        marks=(
            "sk-",
            "sk_",
            "AKIA",
            *_GITHUB,
            "github_pat_",
            "glpat-",
            "xox",
            "AIza",
            "hf_",
            "npm_",
            "eyJ",
            "PRIVATE KEY",
        ),
        mask="[secret]",
    ),
    _masked(
        "email",
        "it has an e-mail address in it",
        _matching(_EMAIL, lambda text: not _NOBODY.search(text)),
        _AT,
        "[email]",
    ),
    _masked("card", "it has the number of a payment card in it", _find_cards, _NUMBER, "[card]"),
    _masked("iban", "it has the number of a bank account in it", _find_ibans, _NUMBER, "[iban]"),
    _masked(
        "resident-number",
        "it has a resident number of Korea in it",
        _matching(_RESIDENT, is_resident_number),
        _NUMBER,
        "[resident number]",
    ),
    _masked(
        "phone",
        "it has a telephone number in it",
        _matching(_PHONE, lambda text: not _FREE.search(text) and sum(map(str.isdecimal, text)) >= 9),
        _NUMBER,
        "[phone]",
    ),
    _masked("address", "it has what looks like an address in it", _matching(_ADDRESS), _HOUSE, "[address]"),
)
_HINTS = frozenset(one.hint for one in PERSONAL if one.hint is not None)
"""Each once: numbers share theirs."""


def find_private(text: str, known: Iterable[Private] = ()) -> list[Private]:
    """Return where a text looks private to any filter of this table, and what is `known` to be, in order.

    Things that overlap are one, behind the mask of the first.
    """
    read = ReadItem(Item("", (), {COMPLETION: text}))
    hinted = {hint for hint in _HINTS if hint.search(text)}
    found = list(known)
    for one in PERSONAL:
        if one.hint in hinted or any(mark in text for mark in one.marks):
            found += [(start, end, one.mask or "") for start, end in one.find(read, COMPLETION)]
    apart: list[Private] = []
    for start, end, mask in sorted(found, key=itemgetter(0)):
        if apart and start < apart[-1][1]:
            first, last, shown = apart[-1]
            apart[-1] = (first, max(last, end), shown)
        else:
            apart.append((start, end, mask))
    return apart


def mask_text(text: str) -> tuple[str, int]:
    """Return a text with a mask in the place of each thing that looks private, and how many there are."""
    found = find_private(text)
    for start, end, mask in reversed(found):
        text = text[:start] + mask + text[end:]
    return text, len(found)
