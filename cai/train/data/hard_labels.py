"""Soft labels made certain, for the methods that are asked to learn from them so."""

from datasets import Dataset

from cai.data.examples.labels import PROBABILITY


def harden(pairs: Dataset) -> Dataset:
    """Return the pairs as if every chosen answer were better for certain."""
    if PROBABILITY in pairs.column_names:
        pairs = pairs.remove_columns(PROBABILITY)
    return pairs.add_column(PROBABILITY, [1.0] * len(pairs))
