"""A word diff of two texts, for whoever shows what a revision changed: a terminal, a page, a report."""

import difflib
import re
from typing import Literal

Change = Literal["same", "gone", "come"]

ALIKE = 0.5
"""Share of the words of both texts that a word diff leaves alone. With fewer it is a riddle, as the embedded model's
revisions show: at 0.43 one sentence is woven into another, at 0.51 one of three sentences is another."""

_PIECES = re.compile(r"^\s+|\S+\s*")
_LONGEST = 2_000
"""Words of both texts that are compared exactly, in tenths of a second; beyond it frequent words anchor nothing."""


def are_alike(old: str, new: str) -> bool:
    """Tell whether a word diff of two texts can be read: most of the words are the same, in the same order."""
    return _matcher(old.split(), new.split()).ratio() >= ALIKE


def word_changes(old: str, new: str) -> list[tuple[Change, str]]:
    """Return both texts in one sequence: what is the same, what went from `old`, what came in `new`.

    What is the same and what came make `new` again; what is the same and what went make `old`, up to white space.
    """
    before, after = _PIECES.findall(old), _PIECES.findall(new)
    matcher = _matcher([piece.strip() for piece in before], [piece.strip() for piece in after])
    changes: list[tuple[Change, str]] = []
    for change, i, j, k, m in matcher.get_opcodes():
        gone, come = "".join(before[i:j]), "".join(after[k:m])
        if change == "equal":
            changes.append(("same", come))
            continue
        between = come[len(come.rstrip()) :] if change == "replace" else ""
        gone, come = (gone.rstrip(), come.rstrip()) if change == "replace" else (gone, come)
        if gone and changes and not changes[-1][1][-1].isspace():  # behind the new text's last word
            gone = f" {gone}"
        parts: tuple[tuple[Change, str], ...] = (("gone", gone), ("come", come), ("same", between))
        changes += [part for part in parts if part[1]]
    return changes


def _matcher(old: list[str], new: list[str]) -> "difflib.SequenceMatcher[str]":
    return difflib.SequenceMatcher(None, old, new, autojunk=len(old) + len(new) > _LONGEST)
