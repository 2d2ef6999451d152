"""Adherence: how far a response keeps principles together, from what is known of each."""

from collections.abc import Sequence

from cai.constitution import Principle, Severity

SEVERITY_WEIGHTS = {Severity.CRITICAL: 4.0, Severity.MAJOR: 2.0, Severity.MINOR: 1.0}


def weighted_mean(kept: Sequence[float | None], principles: Sequence[Principle]) -> float | None:
    """Return the mean of what was answered, by weight times severity; None when nothing was."""
    total = weights = 0.0
    for value, principle in zip(kept, principles, strict=True):
        if value is not None:
            weight = principle.weight * SEVERITY_WEIGHTS[principle.severity]
            total += weight * value
            weights += weight
    return total / weights if weights else None
