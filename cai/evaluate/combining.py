"""Measures that are no ratio of two sums, but another function of sums over prompts: BLEU, a perplexity, an area.

Of each prompt they have a few numbers, all of them are added up, and the value is a function of the sums: resampling
prompts resamples what is added (Koehn 2004, "Statistical significance tests for machine translation evaluation"), which
is the percentile bootstrap of `statistics` for such values. Two models are compared on the prompts that both have, and
on the same resamples.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cai.evaluate.measures import UNANSWERED, Measure, Term, Unanswered
from cai.evaluate.results import Measurement
from cai.evaluate.statistics import Numbers, interval, known_ends, resample


class CombinedMeasures(NamedTuple):
    """What measures came to: their values, by how much these are above the baseline's, and what was not answered.

    `unanswered` says by measure of how many prompts the judge said nothing.
    """

    measurements: tuple[Measurement, ...]
    differences: tuple[Measurement, ...]
    unanswered: dict[str, int]


def combined(
    measures: Sequence[Measure], entries: Sequence[Any], baseline: Sequence[Any] | None, seed: int
) -> CombinedMeasures:
    """Return what each measure's sums come to, with differences where there is a baseline.

    `entries` are a model's in the order of the prompts, None where it has none; measures without any are left out.
    """
    found, differences, unanswered = [], [], {}
    for measure in measures:
        terms = list(measure.compute(entries))
        unanswered[measure.name] = sum(term is UNANSWERED for term in terms)
        own, counts = _numbers(terms)
        found.append(_measurement(measure, counts, [own], seed))
        if baseline is not None:
            others, others_count = _numbers(measure.compute(baseline))
            differences.append(_measurement(measure, counts & others_count, [own, others], seed))
    known, differing = (tuple(one for one in told if one is not None) for told in (found, differences))
    return CombinedMeasures(known, differing, unanswered)


def _measurement(measure: Measure, counts: Any, numbers: Sequence[Numbers], seed: int) -> Measurement | None:
    """Return the first's value, less the second's where there are two, over the prompts that count."""
    if not counts.any():
        return None
    columns = np.where(counts[:, None], np.hstack(list(numbers)), 0.0)
    (value,) = _values(measure, columns.sum(axis=0)[None], len(numbers))
    if np.isnan(value):
        return None
    (low,), (high,) = interval(_values(measure, resample(columns, seed), len(numbers))[:, None])
    ends = known_ends(value, low, high, int(counts.sum()), None)
    return Measurement(measure.name, float(value), *ends, int(counts.sum()), measure.unit)


def _values(measure: Measure, sums: Numbers, parts: int) -> Numbers:
    assert measure.combine is not None  # noqa: S101  (for the type checker: none other is given)
    values = [np.asarray(measure.combine(part), dtype=np.float64) for part in np.hsplit(sums, parts)]
    return values[0] if parts == 1 else values[0] - values[1]


def _numbers(found: Iterable[Term]) -> tuple[Numbers, Any]:
    """Return the numbers of each prompt, of shape (prompts, k), and which prompts count."""
    terms = [None if isinstance(term, Unanswered) else term for term in found]
    known = [term for term in terms if isinstance(term, tuple)]
    numbers = np.zeros((len(terms), len(known[0]) if known else 1))
    for row, term in zip(numbers, terms, strict=True):
        if isinstance(term, tuple):
            row[:] = term
    return numbers, np.array([term is not None for term in terms])
