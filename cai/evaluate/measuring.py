"""From a model's answers to its measurements: each one a ratio of two sums over prompts, with an interval."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Generic, TypeVar

import numpy as np

from cai.core.errors import UsageError
from cai.core.records import Failure, PartFailure, Prompt
from cai.core.shares import holm, sign_test
from cai.evaluate.combining import combined
from cai.evaluate.measures import UNANSWERED, Answers, Measure, Term, Unanswered
from cai.evaluate.records import Answer
from cai.evaluate.results import Discordance, Measurement, ModelResult
from cai.evaluate.statistics import DIFFERENCES, SHARES, Estimates, Numbers, differences, known_ends, ratios
from cai.method.rubric import clipped
from cai.rundir.entries import Entry

EntryType = TypeVar("EntryType", bound=Entry)

_YES_OR_NO = (bool, np.bool_, Unanswered, type(None))
"""What the terms of a measure are where every prompt that counts says yes or no."""


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """What one model said: its answers and what could not be done, by prompt id."""

    label: str
    engine: str
    answers: Mapping[str, Answer]
    failures: Mapping[str, Failure]


@dataclass(frozen=True, slots=True)
class ModelEntries(Generic[EntryType]):
    """What was kept of one model: an entry a prompt, and what could not be done, by prompt id."""

    label: str
    engine: str
    entries: Mapping[str, EntryType]
    failures: Mapping[str, Failure]


@dataclass(frozen=True, slots=True)
class Columns:
    """One model's measures before they are summed; `above` and `below` have shape (prompts, measures).

    `yes_or_no`: whether each prompt that counts says just that. `unanswered`: of how many prompts the judge said
    nothing.
    """

    measures: tuple[Measure, ...]
    yes_or_no: tuple[bool, ...]
    unanswered: tuple[int, ...]
    above: Numbers
    below: Numbers

    def measurements(self, estimates: Estimates) -> tuple[Measurement, ...]:
        """Return the estimates by name; measures that apply to no prompt are left out.

        Where all prompts say the same the ends are those of `known_ends`.
        """
        found = []
        for place, (measure, value, low, high) in enumerate(zip(self.measures, *estimates, strict=True)):
            if np.isnan(value):
                continue
            count = int((self.below[:, place] > 0).sum())
            if measure.clipped:
                value, low, high = (clipped(float(one)) for one in (value, low, high))
            ends = known_ends(value, low, high, count, SHARES if measure.unit == "share" else None)
            found.append(Measurement(measure.name, float(value), *ends, count, measure.unit))
        return tuple(found)

    def differences(self, baseline: "Columns", seed: int) -> tuple[Measurement, ...]:
        """Return the differences to a baseline by name, without those that no prompt allows."""
        estimates = differences((self.above, self.below), (baseline.above, baseline.below), seed)
        counts = ((self.below > 0) & (baseline.below > 0)).sum(axis=0).tolist()
        found = []
        for measure, value, low, high, count in zip(self.measures, *estimates, counts, strict=True):
            if not np.isnan(value):
                ends = known_ends(value, low, high, count, DIFFERENCES if measure.unit == "share" else None)
                found.append(Measurement(measure.name, float(value), *ends, count, measure.unit))
        return tuple(found)

    def p_values(self, baseline: "Columns") -> dict[str, float]:
        """Return McNemar's p-values of single principles' shares, by name, for all of them at once (Holm 1979)."""
        places = [
            place
            for place, measure in enumerate(self.measures)
            if measure.principle is not None and self.yes_or_no[place] and self.below[:, place].any()
        ]
        found = []
        for place in places:
            both = (self.below[:, place] > 0) & (baseline.below[:, place] > 0)
            surplus = (self.above[:, place] - baseline.above[:, place])[both]
            found.append(sign_test(int((surplus > 0).sum()), int((surplus < 0).sum())))
        return dict(zip((self.measures[place].name for place in places), holm(found), strict=True))


def tabulate(entries: Sequence[Any], measures: Sequence[Measure]) -> Columns:
    """Return one model's columns; raises UsageError when somebody's own measure gives what it may not."""
    columns = [_terms(measure, entries) for measure in measures]
    pairs = np.array([[_ratio(term) for term in terms] for terms in columns], dtype=float)
    pairs = pairs.reshape(len(measures), len(entries), 2)
    return Columns(
        tuple(measures),
        tuple(all(isinstance(term, _YES_OR_NO) for term in terms) for terms in columns),
        tuple(sum(term is UNANSWERED for term in terms) for terms in columns),
        above=pairs[:, :, 0].T,
        below=pairs[:, :, 1].T,
    )


def _terms(measure: Measure, entries: Sequence[Any]) -> list[Term]:
    try:
        terms = list(measure.compute(entries))
    except Exception as error:
        raise UsageError(f"the measure {measure.name!r} failed: {type(error).__name__}: {error}") from error
    if len(terms) != len(entries):
        raise UsageError(f"the measure {measure.name!r} gave {len(terms):,} terms for {len(entries):,} prompts")
    for term in terms:
        try:
            above, below = _ratio(term)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the measure {measure.name!r} gave {term!r}: a term is true or false, a number, two numbers or None"
            ) from error
        if measure.judged and not (measure.graded or isinstance(term, _YES_OR_NO)):
            raise UsageError(f"the measure {measure.name!r} gave {term!r}, which is no yes or no; make it graded=True")
        if not (isfinite(above) and isfinite(below) and below >= 0):
            raise UsageError(f"the measure {measure.name!r} gave {term!r}, which cannot be averaged")
        too_low = above < 0 and not measure.clipped
        if measure.unit == "share" and (too_low or above > below):
            raise UsageError(f"the measure {measure.name!r} is a share, and {term!r} does not lie between 0 and 1")
    return terms


def _ratio(term: Term) -> tuple[float, float]:
    """Return what a term adds to the sum above and to the sum below; a prompt without one adds nothing."""
    if term is None or isinstance(term, Unanswered):
        return 0.0, 0.0
    if isinstance(term, tuple):
        above, below = term
        return float(above), float(below)
    return float(term), 1.0


def measure_models(
    prompts: Sequence[Prompt],
    models: Sequence[ModelAnswers],
    baseline: str | None,
    measures: Sequence[Measure],
    seed: int,
) -> tuple[ModelResult, ...]:
    """Return every model's measurements and, with a baseline, what differs from it."""
    aligned = {model.label: align(prompts, model) for model in models}
    entries = [ModelEntries(one.label, one.engine, one.answers, one.failures) for one in models]
    return tuple(
        result
        if baseline in (None, result.label)
        else replace(result, discordance=_discordance(aligned[result.label], aligned[str(baseline)]))
        for result in measure_entries(prompts, entries, baseline, measures, seed)
    )


def measure_entries(
    prompts: Sequence[Prompt],
    models: Sequence[ModelEntries[EntryType]],
    baseline: str | None,
    measures: Sequence[Measure],
    seed: int,
) -> tuple[ModelResult, ...]:
    """Return every model's measurements over its entries and, with a baseline, what differs from it."""
    aligned = {model.label: [model.entries.get(prompt.id) for prompt in prompts] for model in models}
    summed = [measure for measure in measures if measure.combine is None]
    columns = {label: tabulate(entries, summed) for label, entries in aligned.items()}
    results = []
    for model in models:
        own, entries = columns[model.label], aligned[model.label]
        compared = baseline is not None and model.label != baseline
        others = aligned[str(baseline)] if compared else None
        more = combined([one for one in measures if one.combine is not None], entries, others, seed)
        unanswered = dict(zip((one.name for one in summed), own.unanswered, strict=True)) | more.unanswered
        results.append(
            ModelResult(
                label=model.label,
                engine=model.engine,
                measurements=(*own.measurements(ratios(own.above, own.below, seed)), *more.measurements),
                differences=(*(own.differences(columns[str(baseline)], seed) if compared else ()), *more.differences),
                discordance=None,
                failures=failed_prompts(prompts, model.failures),
                failed_gates=failed_parts(entries),
                unanswered={name: count for name, count in unanswered.items() if count},
                p_values=own.p_values(columns[str(baseline)]) if compared else {},
            )
        )
    return tuple(results)


def only(prompts: Sequence[Prompt], model: ModelAnswers) -> ModelAnswers:
    """Return what a model said to these prompts alone: its file has those of a larger evaluation, and attacks, too."""
    answers = {prompt.id: model.answers[prompt.id] for prompt in prompts if prompt.id in model.answers}
    failures = {prompt.id: model.failures[prompt.id] for prompt in prompts if prompt.id in model.failures}
    return replace(model, answers=answers, failures=failures)


def align(prompts: Sequence[Prompt], model: ModelAnswers) -> list[Answer | None]:
    """Return a model's answers in the order of the prompts, None where there is none."""
    return [model.answers.get(prompt.id) for prompt in prompts]


def _discordance(model: Answers, baseline: Answers) -> Discordance:
    pairs = [
        (one.breaks, other.breaks)
        for one, other in zip(model, baseline, strict=True)
        if one is not None and other is not None
    ]
    only_model, only_baseline = pairs.count((True, False)), pairs.count((False, True))
    decided = sum(None not in pair for pair in pairs)
    return Discordance(only_model, only_baseline, sign_test(only_model, only_baseline), decided)


def causes(failures: Iterable[Failure | PartFailure]) -> dict[str, int]:
    """Return how many failures have each cause, the most frequent first."""
    return dict(Counter(f"{failure.stage}: {failure.cause}" for failure in failures).most_common())


def failed_prompts(prompts: Iterable[Prompt], failures: Mapping[str, Failure]) -> dict[str, int]:
    """Return the causes of the failures of these prompts."""
    return causes(failures[prompt.id] for prompt in prompts if prompt.id in failures)


def failed_parts(entries: Iterable[Entry | None]) -> dict[str, int]:
    """Return the causes of what is missing in entries that are there."""
    return causes(part for entry in entries if entry is not None for part in entry.failed)
