"""How long the longest example is, in tokens: what batches and the maximal length are reckoned from.

Every example's characters are counted, and only the longest by characters are put through the tokenizer.
"""

import heapq
from collections.abc import Iterator
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from cai.train.cutting import rendered
from cai.train.data.examples import Examples

_TOKENIZED = 64
_ROWS = 1000
Text = str | list[dict[str, str]]


def longest_example(tokenizer: PreTrainedTokenizerBase, examples: Examples) -> int:
    """Return the tokens of the longest sequence that an example puts through the model, its template included."""
    longest: list[tuple[int, int, Text]] = []
    number = 0
    for split in (examples.train, examples.test):
        for sequence in _sequences(split):
            number += 1  # breaks ties, since conversations do not compare
            item = (_characters(sequence), number, sequence)
            if len(longest) < _TOKENIZED:
                heapq.heappush(longest, item)
            elif item > longest[0]:
                heapq.heapreplace(longest, item)
    return max((_tokens(tokenizer, sequence) for _, _, sequence in longest), default=0)


def _sequences(split: Dataset | None) -> Iterator[Text]:
    if split is None:
        return
    for columns in split.iter(batch_size=_ROWS):
        rows = len(next(iter(columns.values())))
        for row in range(rows):
            yield from _of_row({name: values[row] for name, values in columns.items()})


def _of_row(row: dict[str, Any]) -> Iterator[Text]:
    for name in ("text", "messages"):
        if name in row:
            yield row[name]
            return
    answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
    for answer in answers or [[]]:
        yield row["prompt"] + answer


def _characters(sequence: Text) -> int:
    return len(sequence) if isinstance(sequence, str) else sum(len(turn["content"]) for turn in sequence)


def _tokens(tokenizer: PreTrainedTokenizerBase, sequence: Text) -> int:
    text = sequence
    if not isinstance(sequence, str):
        text = rendered(tokenizer, sequence, prompt=True)
    return len(tokenizer(text, add_special_tokens=isinstance(sequence, str))["input_ids"])
