"""Near-duplicates among a dataset's examples, found in a pass of its own before the one that writes them.

An example is one when its prompt with its answers is nearly that of an earlier one, and its answers by themselves are
nearly those of the same earlier one (MinHash, `cai.data.validation.near_duplicates`). Two answers to one long prompt
are none, nor is one refusal of two questions.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cai.core.identity import key
from cai.data.validation.near_duplicates import NearDuplicates
from cai.rundir.files import refusal

_TOGETHER = 1024
_ANSWERS = ("completion", "chosen", "rejected")


def example_key(prompt: str, number: int) -> int:
    """Return 64 bits that name the example of this number, from 0, among those that a prompt gave."""
    return key(f"{prompt}\n{number}")


def find_repeated(examples: Iterable[tuple[int, Mapping[str, Any]]]) -> dict[int, int]:
    """Return the keys of examples that are near-duplicates, each with that of the first like it.

    `examples` have their keys before them. Memory grows by 24 bytes with each; raises StoreError when the disk refuses.
    """
    keys = array("Q")
    try:
        with ExitStack() as stack:
            both = [stack.enter_context(NearDuplicates()) for _ in range(2)]
            texts = _texts(examples, keys)
            while some := list(islice(texts, _TOGETHER)):
                for near, part in zip(both, zip(*some, strict=True), strict=True):
                    near.add(part)
            if not keys:
                return {}
            firsts = np.stack([near.firsts() for near in both], axis=1)
    except OSError as error:
        raise refusal(Path(tempfile.gettempdir()), error) from error
    _, first, group = np.unique(firsts, axis=0, return_index=True, return_inverse=True)
    like = first[group.ravel()]
    again = np.flatnonzero(like != np.arange(len(like)))
    return {keys[number]: keys[like[number]] for number in again.tolist()}


def _texts(examples: Iterable[tuple[int, Mapping[str, Any]]], keys: "array[int]") -> Iterator[tuple[str, str]]:
    """Yield each example as a whole and its answers by themselves, and keep its key."""
    for number, example in examples:
        keys.append(number)
        answers = "\n".join(_answers(example))
        yield "\n".join([*(turn["content"] for turn in example["prompt"]), answers]), answers


def answer_of(example: Mapping[str, Any]) -> tuple[str, str]:
    """Return the field and the text of an example's first answer."""
    name = next((name for name in _ANSWERS if name in example), "answers.0")
    return name, _answers(example)[0]


def _answers(example: Mapping[str, Any]) -> list[str]:
    if "answers" in example:
        return [answer["text"] for answer in example["answers"]]
    return [example[name][0]["content"] for name in _ANSWERS if name in example]
