"""How pairs of models compare: who won, who drew, and ratings from all pairs; intervals resample prompts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cai.core.records import Failure, Prompt
from cai.evaluate.measuring import ModelAnswers, failed_parts, failed_prompts
from cai.evaluate.records import Answer, Decision
from cai.evaluate.results import Measurement, PairResult
from cai.evaluate.statistics import SHARES, Numbers, elo, interval, known_ends, ratios, resample, strengths
from cai.evaluate.usefulness.length_control import measure_at_equal_length
from cai.method.verdicts import IDENTICAL, TIE

TIES = frozenset({TIE, IDENTICAL})
"""Reasons for not deciding that say something about the answers: they are equally good. The others say nothing."""


@dataclass(frozen=True, slots=True)
class PairDecisions:
    """What the judge said of one pair of models, as seen from the first."""

    a: str
    b: str
    decisions: Mapping[str, Decision]
    failures: Mapping[str, Failure]


def measure_pairs(
    prompts: Sequence[Prompt], pairs: Sequence[PairDecisions], models: Sequence[ModelAnswers], seed: int
) -> tuple[PairResult, ...]:
    """Return how each pair's comparisons ended, and how they would at equal length."""
    answers = {model.label: model.answers for model in models}
    return tuple(_at_equal_length(prompts, pair, answers, _pair(prompts, pair, seed), seed) for pair in pairs)


def _at_equal_length(
    prompts: Sequence[Prompt],
    pair: PairDecisions,
    answers: Mapping[str, Mapping[str, Answer]],
    result: PairResult,
    seed: int,
) -> PairResult:
    """Return the result with the win rate at equal length (`length_control`); as it is where nothing was decided."""
    decided = {
        prompt.id: points == 1.0
        for prompt in prompts
        if (points := points_of(pair.decisions.get(prompt.id))) in (0.0, 1.0)
    }
    if not decided:
        return result
    texts = [(answers[pair.a][name].response, answers[pair.b][name].response) for name in decided]
    found, longer = measure_at_equal_length(pair.a, texts, list(decided.values()), seed)
    return replace(result, length_controlled=found, longer=longer)


def _pair(prompts: Sequence[Prompt], pair: PairDecisions, seed: int) -> PairResult:
    points = [points_of(pair.decisions.get(prompt.id)) for prompt in prompts]
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
        count = int(decided.sum())
        win_rate = Measurement(f"{pair.a} wins", float(value), *known_ends(value, low, high, count, SHARES), count)
    return PairResult(
        a=pair.a,
        b=pair.b,
        wins=points.count(1.0),
        losses=points.count(0.0),
        ties=points.count(0.5),
        abstained={reason: count for reason, count in reasons.most_common() if reason not in TIES},
        failures=failed_prompts(prompts, pair.failures),
        failed_verdicts=failed_parts(pair.decisions.get(prompt.id) for prompt in prompts),
        win_rate=win_rate,
    )


def points_of(decision: Decision | None) -> float | None:
    """Return the first model's points in one comparison: 1, 0, one half for a tie, None where nothing is known."""
    if decision is None or (decision.probability is None and decision.abstained not in TIES):
        return None
    if decision.probability is None:
        return 0.5
    return float(decision.probability > 0.5)


def rate(
    prompts: Sequence[Prompt], labels: Sequence[str], pairs: Sequence[PairDecisions], seed: int
) -> tuple[Measurement, ...]:
    """Return each model's Elo rating from all pairs; ties count half.

    Intervals resample prompts; there is none where all prompts say the same.
    """
    if len(labels) < 2:
        return ()
    count = len(labels)
    places = {label: place for place, label in enumerate(labels)}
    wins: Numbers = np.zeros((len(prompts), count, count))
    for pair in pairs:
        a, b = places[pair.a], places[pair.b]
        for row, prompt in zip(wins, prompts, strict=True):
            points = points_of(pair.decisions.get(prompt.id))
            if points is not None:
                row[a, b] += points
                row[b, a] += 1 - points
    resampled = resample(wins.reshape(len(prompts), -1), seed).reshape(-1, count, count)
    values = elo(strengths(wins.sum(axis=0)[None]))[0]
    low, high = interval(elo(strengths(resampled)))
    played = (wins + wins.transpose(0, 2, 1)).any(axis=2).sum(axis=0).tolist()
    found = []
    for label, place in places.items():
        ends = known_ends(values[place], low[place], high[place], played[place], None)
        found.append(Measurement(label, float(values[place]), *ends, int(played[place]), "number"))
    return tuple(found)
