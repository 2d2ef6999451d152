"""Duplicates and contamination: rows that are there twice, nearly twice, or in what models are measured with."""

from cai.core.counts import counted
from cai.data.validation.collecting import CollectedSet
from cai.data.validation.descriptor import DataMeasure, Found, below, listed, percent
from cai.data.validation.near_duplicates import SIMILAR
from cai.data.validation.shares import share
from cai.data.validation.truncation import same_share

_EXACT = 0.01
_NEAR = 0.05


def _exact(found: CollectedSet) -> Found | None:
    if not found.examples:
        return None
    result = found.repeats.duplicates / found.examples
    sentence = None
    if result > _EXACT:
        sentence = f"{percent(result)} of the rows are there word for word before: a model learns them twice"
    return share(found.repeats.duplicates, found.examples, sentence=sentence)


def _nearly(found: CollectedSet) -> Found | None:
    if found.near is None or not found.examples:
        return None
    result = len(found.near.rows) / found.examples
    sentence = None
    if result > _NEAR:
        sentence = f"{percent(result)} of the rows are near-duplicates of one before; the largest group has "
        sentence += f"{found.near.largest:,}"
    return share(
        len(found.near.rows), found.examples, details={"largest group": float(found.near.largest)}, sentence=sentence
    )


def _contaminated(found: CollectedSet) -> Found | None:
    if found.contamination is None or not found.examples:
        return None
    count, sets = len(found.contamination.rows), dict(found.contamination.sets.most_common())
    sentence = None
    if count:
        sentence = (
            f"{counted(count, 'prompt')} {'holds' if count == 1 else 'hold'} one that models are measured with "
            f"({listed(sets)}): leave {'it' if count == 1 else 'them'} out of training"
        )
    return share(count, found.examples, details=sets, sentence=sentence)


def _alike_once_cut(found: CollectedSet) -> Found | None:
    return same_share(found.truncation) if found.kind == "pairs" else None


DUPLICATES = (
    DataMeasure(
        "exact duplicates",
        "duplicates",
        "prompt, answers and label as in an earlier row",
        _exact,
        usual=below(_EXACT),
    ),
    DataMeasure(
        "near-duplicates",
        "duplicates",
        f"prompt and answers, by MinHash over runs of three words: similar from {SIMILAR}; exact ones among them",
        _nearly,
        usual=below(_NEAR),
        source="2107.06499 has figures of text corpora",
    ),
    DataMeasure(
        "pairs alike once cut",
        "duplicates",
        "with --max-length: the answers are the same as far as training reads them",
        _alike_once_cut,
        usual="0 %",
        source="7 % of UltraFeedback's pairs at 512 tokens, issue 504 of rlhf-book",
    ),
)

CONTAMINATION = (
    DataMeasure(
        "evaluation prompts",
        "contamination",
        "prompts that hold most of a prompt of the sets compared with",
        _contaminated,
        usual="0 %",
    ),
)
