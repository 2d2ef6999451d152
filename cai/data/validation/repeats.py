"""What comes more than once in a set, exactly: rows, prompts, and comparisons with labels that contradict each other.

Of each row five numbers lie on disk (`key_file.py`): its prompt, its answers, its label and its number. They meet by
prompt, part by part, so memory does not grow with the rows.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from cai.data.validation.items import Batch, CheckedItem
from cai.data.validation.key_file import KeyFile, Records

_PROMPT, _FIRST, _SECOND, _LABEL, _NUMBER = range(5)
_UNDECIDED, _CHOSEN, _REJECTED = 0, 1, 2
"""A pair's label. Of labelled and scored answers it is the label's or the score's bits, one more than zero."""


@dataclass(slots=True)
class Repeats:
    """What comes more than once; `rows` counts all, `prompts` different prompts.

    `duplicates` are rows that are like an earlier one. `several` prompts have more than one row, the most `largest`. Of
    `comparisons` (two answers to one prompt, or one answer) that came with a label more than once, `repeated` in all,
    `contradicted` had opposite ones. `ranked` prompts have three comparisons or more, `cycles` of them go in a circle.
    `duplicate_rows` and `contradicted_rows` are the numbers of such rows, in no order.
    """

    rows: int = 0
    prompts: int = 0
    duplicates: int = 0
    several: int = 0
    largest: int = 0
    comparisons: int = 0
    repeated: int = 0
    contradicted: int = 0
    ranked: int = 0
    cycles: int = 0
    duplicate_rows: "array[int]" = field(default_factory=lambda: array("Q"))
    contradicted_rows: "array[int]" = field(default_factory=lambda: array("Q"))


class RepeatFinder:
    """Takes rows, and says in the end what came more than once."""

    def __init__(self) -> None:
        self._file = KeyFile(columns=5)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.__exit__()

    def add(self, batch: Batch) -> None:
        """Take in more rows."""
        rows, answers = len(batch.items), batch.answer_keys
        records = np.zeros((rows, 5), np.uint64)
        records[:, _PROMPT] = batch.prompt_keys
        records[:, _FIRST : _FIRST + answers.shape[1]] = answers
        if answers.shape[1]:
            # Texts without a prompt would all lie in one part.
            alone = np.array([not prompt for prompt in batch.prompts])
            records[alone, _PROMPT] = answers[alone, 0]
        records[:, _LABEL] = [_label(item) for item in batch.items]
        records[:, _NUMBER] = np.arange(self._count, self._count + rows)
        self._file.add(records)
        self._count += rows

    def find(self) -> Repeats:
        """Return what came more than once."""
        found = Repeats(rows=self._count)
        for part in self._file.parts():
            _count_rows(part, found)
            _count_contradictions(part, found)
        return found


def _label(item: CheckedItem) -> int:
    if item.probability is not None:
        return (_CHOSEN, _REJECTED)[item.preferred] if item.preferred is not None else _UNDECIDED
    value = item.score if item.label is None else float(item.label)
    return 0 if value is None else int(np.float32(value).view(np.uint32)) + 1


def _count_rows(part: Records, found: Repeats) -> None:
    _, first = np.unique(part[:, :_NUMBER], axis=0, return_index=True)
    found.duplicates += int(len(part) - len(first))
    again = np.ones(len(part), np.bool_)
    again[first] = False
    found.duplicate_rows.frombytes(part[again, _NUMBER].tobytes())
    _, rows = np.unique(part[:, _PROMPT], return_counts=True)
    found.prompts += len(rows)
    found.several += int((rows > 1).sum())
    found.largest = max(found.largest, int(rows.max()))


def _count_contradictions(part: Records, found: Repeats) -> None:
    """Count comparisons that were decided both ways, and prompts whose comparisons go in a circle."""
    decided = part[part[:, _LABEL] != _UNDECIDED]
    is_pair = decided[:, _SECOND] != 0
    swapped = is_pair & (decided[:, _FIRST] > decided[:, _SECOND])
    compared = decided[:, : _LABEL + 1].copy()
    compared[swapped, _FIRST], compared[swapped, _SECOND] = decided[swapped, _SECOND], decided[swapped, _FIRST]
    compared[swapped, _LABEL] = _CHOSEN + _REJECTED - decided[swapped, _LABEL]
    order = np.lexsort(compared.T[::-1])
    compared, numbers = compared[order], decided[order, _NUMBER]
    if not len(compared):
        return
    new = np.concatenate([[True], (compared[1:, :_LABEL] != compared[:-1, :_LABEL]).any(axis=1)])
    group = np.cumsum(new) - 1
    sizes = np.bincount(group)
    lowest = compared[new, _LABEL]
    differs = np.bincount(group, compared[:, _LABEL] != lowest[group]) > 0
    found.comparisons += len(sizes)
    found.repeated += int((sizes > 1).sum())
    found.contradicted += int(differs.sum())
    found.contradicted_rows.frombytes(numbers[differs[group]].tobytes())
    edges = compared[new][~differs & (compared[new, _SECOND] != 0)]
    for answers in _of_ranked_prompts(edges):
        found.ranked += 1
        found.cycles += _has_cycle(answers)


def _of_ranked_prompts(edges: Records) -> Iterator[list[tuple[int, int]]]:
    """Yield winners and losers of every prompt with three comparisons or more."""
    _, start, counts = np.unique(edges[:, _PROMPT], return_index=True, return_counts=True)
    for first, count in zip(start[counts > 2].tolist(), counts[counts > 2].tolist(), strict=True):
        yield [(a, b) if label == _CHOSEN else (b, a) for _, a, b, label in edges[first : first + count].tolist()]


def _has_cycle(edges: list[tuple[int, int]]) -> bool:
    """Tell whether answers beat each other in a circle: whether they cannot be put in an order (Kahn 1962)."""
    beaten_by: defaultdict[int, int] = defaultdict(int)
    beats: defaultdict[int, list[int]] = defaultdict(list)
    for winner, loser in edges:
        beats[winner].append(loser)
        beaten_by[loser] += 1
    free = [answer for answer in beats if not beaten_by[answer]]
    left = len(edges)
    while free:
        for loser in beats[free.pop()]:
            left -= 1
            beaten_by[loser] -= 1
            if not beaten_by[loser]:
                free.append(loser)
    return left > 0
