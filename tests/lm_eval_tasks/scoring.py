"""What `written.yaml` measures of an answer."""

from typing import Any


def score(_document: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return how many words it has, and of each sentence whether it is short."""
    sentences = [part for part in results[0].split(".") if part.strip()]
    return {"words": len(results[0].split()), "sentences": [len(part.split()) < 8 for part in sentences]}


def flat_mean(values: list[list[bool]]) -> float:
    """Return the share of all sentences."""
    flat = [one for value in values for one in value]
    return sum(flat) / len(flat)
