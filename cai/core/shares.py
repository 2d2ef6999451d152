"""When a share of what a judge answered may be told: gates and verdicts stay unanswered, and few answers say little."""

FEWEST = 10
"""Answers that a share needs."""


def is_enough(answered: int, asked: int) -> bool:
    """Tell whether a share of so many answers means something: `FEWEST` of them at least, and half of what was asked.

    Where it does not, the counts are told in its place.
    """
    return answered >= FEWEST and 2 * answered >= asked
