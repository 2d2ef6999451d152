"""Soft labels made certain, for the methods that learn from certain ones, or are asked to.

A pair whose `chosen_probability` is below one half is turned round. One at one half is a tie, which nobody can be
certain of: it is left out and counted.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from datasets import Dataset

from cai.core.errors import InputError
from cai.data.examples.labels import PROBABILITY
from cai.data.examples.shaping import UNDECIDED
from cai.train.data.examples import Examples


def without_ties(examples: Examples) -> Examples:
    """Return the pairs of which one answer is likelier; raises InputError when none is left to train on."""
    train, test = _decided(examples.train), None if examples.test is None else _decided(examples.test)
    if not len(train):
        raise InputError("Every pair is a tie, and certain labels have none; use a method with soft labels, as dpo.")
    ties = len(examples.train) - len(train)
    if test is not None and examples.test is not None:
        ties += len(examples.test) - len(test)
        test = test if len(test) else None
    if not ties:
        return examples
    return replace(examples, train=train, test=test, left_out=Counter(examples.left_out) + Counter({UNDECIDED: ties}))


def harden(pairs: Dataset) -> Dataset:
    """Return the pairs as if the likelier answer was better for certain."""
    if PROBABILITY in pairs.column_names:
        pairs = directed(pairs).remove_columns(PROBABILITY)
    return pairs.add_column(PROBABILITY, [1.0] * len(pairs))


def directed(pairs: Dataset) -> Dataset:
    """Return the pairs with the likelier answer as the chosen one."""

    def turned(pair: dict[str, Any]) -> dict[str, Any]:
        if pair[PROBABILITY] >= 0.5:
            return pair
        return {
            **pair,
            "chosen": pair["rejected"],
            "rejected": pair["chosen"],
            PROBABILITY: 1.0 - pair[PROBABILITY],
        }

    if min(pairs[PROBABILITY], default=1.0) >= 0.5:
        return pairs
    return pairs.map(turned)


def _decided(pairs: Dataset) -> Dataset:
    probabilities = pairs[PROBABILITY]
    kept = [number for number, probability in enumerate(probabilities) if probability != 0.5]
    return pairs if len(kept) == len(pairs) else pairs.select(kept)
