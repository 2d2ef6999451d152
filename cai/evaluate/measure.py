"""From everything that was asked to everything that is said: models, pairs, ratings and the judge itself."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cai.constitution import Principle
from cai.core.records import Failure, PartFailure, Prompt
from cai.evaluate.bootstrap import Numbers, differences, interval, ratios, resample
from cai.evaluate.bradley_terry import elo, strengths
from cai.evaluate.figures import Table, tabulate
from cai.evaluate.records import Answer, Decision
from cai.evaluate.results import Discordance, Figure, ModelResult, PairResult
from cai.evaluate.significance import mcnemar
from cai.method.verdicts import IDENTICAL, TIE

TIES = frozenset({TIE, IDENTICAL})
"""Reasons for not deciding that say something about the answers: they are equally good. The others say nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One model's outcome: its answers and what could not be done, by prompt id."""

    label: str
    engine: str
    answers: Mapping[str, Answer]
    failures: Mapping[str, Failure]


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair's outcome, in the frame of the first model."""

    a: str
    b: str
    decisions: Mapping[str, Decision]
    failures: Mapping[str, Failure]


def measure_models(
    prompts: Sequence[Prompt],
    models: Sequence[Answered],
    baseline: str | None,
    principles: Sequence[Principle],
    seed: int,
) -> tuple[ModelResult, ...]:
    """Return every model's figures and, with a baseline, what differs from it."""
    aligned = {model.label: align(prompts, model) for model in models}
    tables = {label: tabulate(answers, principles) for label, answers in aligned.items()}
    results = []
    for model in models:
        table = tables[model.label]
        figures = table.figures(ratios(table.above, table.below, seed))
        compared = baseline is not None and model.label != baseline
        results.append(
            ModelResult(
                label=model.label,
                engine=model.engine,
                figures=figures,
                differences=_differences(table, tables[str(baseline)], seed) if compared else (),
                discordance=_discordance(aligned[model.label], aligned[str(baseline)]) if compared else None,
                failures=_failed(prompts, model.failures),
                failed_gates=_failed_parts(aligned[model.label]),
            )
        )
    return tuple(results)


def align(prompts: Sequence[Prompt], model: Answered) -> list[Answer | None]:
    """Return a model's answers in the order of the prompts, None where there is none."""
    return [model.answers.get(prompt.id) for prompt in prompts]


def causes(failures: Iterable[Failure | PartFailure]) -> dict[str, int]:
    """Return how many failures have each cause, the most frequent first."""
    return dict(Counter(f"{failure.stage}: {failure.cause}" for failure in failures).most_common())


def _failed(prompts: Iterable[Prompt], failures: Mapping[str, Failure]) -> dict[str, int]:
    return causes(failures[prompt.id] for prompt in prompts if prompt.id in failures)


def _failed_parts(entries: Iterable[Answer | Decision | None]) -> dict[str, int]:
    return causes(part for entry in entries if entry is not None for part in entry.failed)


def _differences(table: Table, baseline: Table, seed: int) -> tuple[Figure, ...]:
    estimates = differences((table.above, table.below), (baseline.above, baseline.below), seed)
    return table.differences(estimates, baseline)


def _discordance(model: Sequence[Answer | None], baseline: Sequence[Answer | None]) -> Discordance:
    pairs = [
        (one.breaks, other.breaks)
        for one, other in zip(model, baseline, strict=True)
        if one is not None and other is not None
    ]
    only_model, only_baseline = pairs.count((True, False)), pairs.count((False, True))
    return Discordance(only_model, only_baseline, mcnemar(only_model, only_baseline))


def measure_pairs(prompts: Sequence[Prompt], pairs: Sequence[Compared], seed: int) -> tuple[PairResult, ...]:
    """Return how each pair's comparisons ended."""
    return tuple(_pair(prompts, pair, seed) for pair in pairs)


def _pair(prompts: Sequence[Prompt], pair: Compared, seed: int) -> PairResult:
    points = [_points(pair.decisions.get(prompt.id)) for prompt in prompts]
    decided = np.array([[float(point in (0.0, 1.0))] for point in points])
    won = np.array([[float(point == 1.0)] for point in points])
    reasons = Counter(
        str(decision.abstained)
        for prompt in prompts
        if (decision := pair.decisions.get(prompt.id)) is not None and decision.probability is None
    )
    win_rate = None
    if decided.any():
        (value,), (low,), (high,) = ratios(won, decided, seed)
        win_rate = Figure(f"{pair.a} wins", float(value), float(low), float(high), int(decided.sum()))
    return PairResult(
        a=pair.a,
        b=pair.b,
        wins=points.count(1.0),
        losses=points.count(0.0),
        ties=points.count(0.5),
        abstained={reason: count for reason, count in reasons.most_common() if reason not in TIES},
        failures=_failed(prompts, pair.failures),
        failed_verdicts=_failed_parts(pair.decisions.get(prompt.id) for prompt in prompts),
        win_rate=win_rate,
    )


def _points(decision: Decision | None) -> float | None:
    """Return the first model's points in one comparison: 1, 0, one half for a tie, None where nothing is known."""
    if decision is None or (decision.probability is None and decision.abstained not in TIES):
        return None
    if decision.probability is None:
        return 0.5
    return float(decision.probability > 0.5)


def rate(prompts: Sequence[Prompt], labels: Sequence[str], pairs: Sequence[Compared], seed: int) -> tuple[Figure, ...]:
    """Return each model's Elo rating from all pairs; ties count half. Intervals resample prompts."""
    if len(labels) < 2:
        return ()
    count = len(labels)
    places = {label: place for place, label in enumerate(labels)}
    wins: Numbers = np.zeros((len(prompts), count, count))
    for pair in pairs:
        a, b = places[pair.a], places[pair.b]
        for row, prompt in zip(wins, prompts, strict=True):
            points = _points(pair.decisions.get(prompt.id))
            if points is not None:
                row[a, b] += points
                row[b, a] += 1 - points
    resampled = resample(wins.reshape(len(prompts), -1), seed).reshape(-1, count, count)
    values = elo(strengths(wins.sum(axis=0)[None]))[0]
    low, high = interval(elo(strengths(resampled)))
    played = (wins + wins.transpose(0, 2, 1)).any(axis=2).sum(axis=0).tolist()
    return tuple(
        Figure(label, float(values[place]), float(low[place]), float(high[place]), int(played[place]), "number")
        for label, place in places.items()
    )


def pairs_of(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return every pair of models, the later one first: the baseline, listed first, is who is to be beaten."""
    return [(later, earlier) for earlier, later in combinations(labels, 2)]
