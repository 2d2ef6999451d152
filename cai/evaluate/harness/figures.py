"""From what lm-eval measured of every sample back to its own figures, so that these have intervals and differences.

Most metrics are means over samples, of groups of tasks over the samples of all of them (weighed by size) or over the
tasks' own means. IFEval's instruction level is a mean over all instructions, perplexities are functions of two sums.
Which of these a metric is nobody is asked: the one is taken that gives lm-eval's own figure of every model again. Where
none does (F1, BLEU), lm-eval's figure stands with its own standard error, and no difference is told.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isfinite, log
from typing import Any

import numpy as np

from cai.core.shares import NORMAL_95
from cai.evaluate.harness.records import HarnessEntry, HarnessSample
from cai.evaluate.measures import Better, Measure, Term, Unit, each
from cai.evaluate.results import Measurement
from cai.evaluate.statistics import Numbers

_NO_FILTER = "none"


@dataclass(frozen=True, slots=True)
class Figure:
    """One of lm-eval's figures: a metric under a filter, of a task or of a group of `tasks`."""

    name: str
    tasks: frozenset[str]
    metric: str
    filter: str
    better: Better | None

    @property
    def title(self) -> str:
        """What it is called in tables."""
        told = f"{self.name}: {self.metric}"
        return told if self.filter == _NO_FILTER else f"{told}, {self.filter}"

    def of(self, entry: HarnessEntry) -> float:
        """Return what lm-eval says; raises KeyError where it does not."""
        return float(entry.results["results"][self.name][f"{self.metric},{self.filter}"])

    def samples(self, entry: HarnessEntry) -> list[HarnessSample]:
        """Return the samples that it is of."""
        return [
            one
            for one in entry.samples
            if one.task in self.tasks and one.filter == self.filter and self.metric in one.values
        ]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How a figure comes of its samples: the sum of each sample's first number by that of the second, or `combine`.

    `term` is given a sample's value and how many samples its task has; it raises TypeError or ValueError where it is
    not the value's.
    """

    name: str
    term: Callable[[Any, int], tuple[float, float]]
    unit: Unit = "share"
    combine: Callable[[Numbers], Numbers] | None = None

    def value(self, terms: Sequence[tuple[float, float]]) -> float:
        """Return what the terms come to; nan where they come to nothing."""
        sums = np.array(terms, dtype=np.float64).reshape(-1, 2).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return float(sums[0] / sums[1] if self.combine is None else self.combine(sums[None])[0])


def _number(value: Any, _size: int) -> tuple[float, float]:
    if isinstance(value, list | str):
        raise TypeError(value)
    return float(value), 1.0


def _number_of_task(value: Any, size: int) -> tuple[float, float]:
    above, below = _number(value, size)
    return above / size, below / size


def _numbers(value: Any, _size: int) -> tuple[float, float]:
    if not isinstance(value, list):
        raise TypeError(value)
    return float(sum(map(float, value))), float(len(value))


def _pair(value: Any, _size: int) -> tuple[float, float]:
    above, below = value
    return float(above), float(below)


def _perplexity(sums: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.exp(-sums[:, 0] / sums[:, 1]))


def _bits(sums: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-sums[:, 0] / sums[:, 1] / log(2))


AGGREGATIONS = (
    Aggregation("mean over samples", _number),
    Aggregation("mean over tasks", _number_of_task),
    Aggregation("mean over all that a sample has", _numbers),
    Aggregation("perplexity", _pair, "number", _perplexity),
    Aggregation("bits", _pair, "number", _bits),
)


def figures_of(entry: HarnessEntry) -> Iterator[Figure]:
    """Yield what lm-eval says of a task that was asked for: of a group the group's figures, where it has some."""
    results, inside = entry.results["results"], entry.results.get("group_subtasks", {})
    children = {child for names in inside.values() for child in names}
    for root in (name for name in {**inside, **results} if name not in children):
        for name in _told(root, results, inside):
            for key, value in results[name].items():
                metric, comma, filtered = key.partition(",")
                if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
                    higher = entry.results["higher_is_better"].get(name, {}).get(metric)
                    better: Better | None = None if higher is None else "high" if higher else "low"
                    yield Figure(name, frozenset(_leaves(name, inside)), metric, filtered, better)


def _told(name: str, results: Mapping[str, Any], inside: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the tasks and groups whose figures are told for a name: a group without any of its own is taken apart."""
    if any("," in key for key in results.get(name, {})):
        yield name
    else:
        for child in inside.get(name, ()):
            yield from _told(child, results, inside)


def _leaves(name: str, inside: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if name not in inside:
        yield name
    for child in inside.get(name, ()):
        yield from _leaves(child, inside)


@dataclass(frozen=True, slots=True)
class MeasuredFigure:
    """A figure of every model that has it: a measure, each sample's term by model, or else lm-eval's own intervals."""

    figure: Figure
    measure: Measure
    terms: Mapping[str, Mapping[str, Term]]
    own: Mapping[str, Measurement]


def measure_figure(figure: Figure, entries: Mapping[str, HarnessEntry]) -> MeasuredFigure:
    """Return a figure of models, whose entries are given by label, from their samples if it can be had from them."""
    samples = {label: figure.samples(entry) for label, entry in entries.items()}
    for way in AGGREGATIONS:
        terms = {label: _terms(way, figure, samples[label], entry) for label, entry in entries.items()}
        known = {label: found for label, found in terms.items() if found is not None}
        if len(known) == len(terms):
            values = [pair for found in known.values() for pair in found.values()]
            unit: Unit = way.unit
            if any(not 0 <= above <= below for above, below in values):
                unit = "number"
            return MeasuredFigure(
                figure, _measure(figure, unit, way), {name: _plain(one) for name, one in known.items()}, {}
            )
    own = {label: _own(figure, entry, len(samples[label])) for label, entry in entries.items()}
    return MeasuredFigure(figure, _measure(figure, "number", None), {}, own)


def _measure(figure: Figure, unit: Unit, way: Aggregation | None) -> Measure:
    told = "with lm-eval's standard error" if way is None else way.name
    return Measure(
        figure.title,
        each(lambda sample: sample.terms.get(figure.title)),
        f"lm-eval's {figure.metric} of {figure.name}: {told}",
        unit,
        figure.better,
        drawn=unit == "share",
        combine=None if way is None else way.combine,
    )


def _terms(
    way: Aggregation, figure: Figure, samples: Sequence[HarnessSample], entry: HarnessEntry
) -> dict[str, tuple[float, float]] | None:
    """Return each sample's term by its key, None where the figure does not come of them in this way."""
    sizes = Counter(one.task for one in samples)
    try:
        terms = {key_of(one): way.term(one.values[figure.metric], sizes[one.task]) for one in samples}
    except (TypeError, ValueError):
        return None
    found = way.value(list(terms.values())) if terms else float("nan")
    return terms if isfinite(found) and isclose(found, figure.of(entry), rel_tol=1e-6, abs_tol=1e-9) else None


def key_of(sample: HarnessSample) -> str:
    """Return what names a sample's document, whichever model answered it."""
    return f"{sample.task}/{sample.document}/{sample.hash}"


def _plain(terms: Mapping[str, tuple[float, float]]) -> dict[str, Term]:
    """Return terms as measures have them: yes or no where all are that, for exact ends at 0 % and 100 %."""
    if all(term in ((0.0, 1.0), (1.0, 1.0)) for term in terms.values()):
        return {key: above == 1.0 for key, (above, _) in terms.items()}
    return dict(terms)


def _own(figure: Figure, entry: HarnessEntry, count: int) -> Measurement:
    """Return lm-eval's figure with the interval of its standard error, where it has one."""
    value = figure.of(entry)
    error = entry.results["results"][figure.name].get(f"{figure.metric}_stderr,{figure.filter}")
    width = NORMAL_95 * error if isinstance(error, int | float) else None
    low, high = (None, None) if width is None else (value - width, value + width)
    return Measurement(figure.title, value, low, high, count, "number")
