"""Filters of a whole set: what is found only when all rows are known, for the ledger beside what single items have.

| filter | what it finds |
|---|---|
| `exact-duplicate` | prompt, answers and label stand in an earlier row |
| `near-duplicate` | prompt and answers are nearly those of an earlier row |
| `contradicted` | the same answers to the same prompt are labelled the other way elsewhere |
| `alike-once-cut` | the answers of a pair are the same as far as training at a length reads them |
| `word-salad` | a model expected a run of an answer's words least of all (`fluency.py`, which records it) |
| `contaminated` | the prompt holds one that models are measured with |

What they find is known by row numbers (`CollectedSet`), so the rows are read once more for their places and texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from cai.data.quality import CHOSEN, COMPLETION, PROMPT, LedgerEntry, Record
from cai.data.quality.ledger import excerpt
from cai.data.validation.collecting import CollectedSet, Overlap
from cai.data.validation.contamination import EvaluationPrompt
from cai.data.validation.fluency import INCOHERENT, WORD_SALAD
from cai.data.validation.items import CheckedItem, identity

DUPLICATE, NEAR_DUPLICATE = "exact-duplicate", "near-duplicate"
CONTRADICTED, CONTAMINATED = "contradicted", "contaminated"
ALIKE_ONCE_CUT = "alike-once-cut"

SET_FILTERS: Mapping[str, str] = {
    DUPLICATE: "it stands in an earlier row word for word",
    NEAR_DUPLICATE: "it is nearly the same as an earlier row",
    CONTRADICTED: "the same answers are labelled the other way elsewhere",
    ALIKE_ONCE_CUT: "its answers are the same once they are cut at the length",
    WORD_SALAD: INCOHERENT,
    CONTAMINATED: "its prompt holds one that models are measured with",
}
"""By name, with their reasons; an entry goes on with what an item is like."""


def record_set_findings(
    items: Iterable[CheckedItem],
    found: CollectedSet,
    prompts: Sequence[EvaluationPrompt],
    record: Record,
    most: int | None = None,
) -> None:
    """Go through the rows again and record what was found of the set, in their order; nothing is left out here.

    With `most` only so many rows of each filter are recorded, and no row is read after the last of them.
    """
    rows = {name: dict(list(numbers.items())[:most]) for name, numbers in rows_of(found).items()}
    if not any(rows.values()):
        return
    last = max(max(numbers) for numbers in rows.values() if numbers)
    firsts = set(rows[NEAR_DUPLICATE].values())
    places: dict[int, str] = {}
    for number, item in enumerate(islice(items, last + 1)):
        if number in firsts:
            places[number] = item.place
        for name, numbers in rows.items():
            if number in numbers:
                like, told = numbers[number], ""
                if name == NEAR_DUPLICATE:
                    told = f": {places[like]}"
                elif name == CONTAMINATED:
                    told = f": {prompts[like].name} of {prompts[like].set}"
                record(_entry(found.kind, item, name, f"{SET_FILTERS[name]}{told}"))


def rows_of(found: CollectedSet) -> dict[str, dict[int, int]]:
    """Return the rows that each filter of the set finds, in their order, with what they are like (or themselves).

    A row that stands elsewhere word for word is a duplicate, and not a near-duplicate too.
    """
    duplicates = {number: number for number in sorted(found.repeats.duplicate_rows)}
    near = {number: like for number, like in _pairs(found.near).items() if number not in duplicates}
    contradicted = {number: number for number in sorted(found.repeats.contradicted_rows)}
    alike = {number: number for number in (found.truncation.same if found.truncation is not None else ())}
    return {
        DUPLICATE: duplicates,
        NEAR_DUPLICATE: near,
        CONTRADICTED: contradicted,
        ALIKE_ONCE_CUT: alike,
        CONTAMINATED: _pairs(found.contamination),
    }


def _pairs(overlap: Overlap | None) -> dict[int, int]:
    return {} if overlap is None else dict(zip(overlap.rows, overlap.like, strict=True))


def _entry(kind: str, item: CheckedItem, name: str, reason: str) -> LedgerEntry:
    field, text = f"{PROMPT}.{len(item.prompt) - 1}", item.prompt[-1]["content"] if item.prompt else ""
    if name != CONTAMINATED and item.answers:
        field, text = (CHOSEN if len(item.answers) > 1 else COMPLETION), item.answers[0]
    shown = excerpt(text, 0, len(text))
    return LedgerEntry(kind, identity(item), item.place, name, "reported", reason, field, 0, len(text), shown)
