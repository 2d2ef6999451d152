"""From what judges said of items to numbers: nothing here asks anybody, and the same rows give the same numbers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, median

from cai.core.identity import steady
from cai.core.records import Failure, Usage, Verdict
from cai.core.reliability import reliability
from cai.core.shares import Proportion, sign_test
from cai.judge_bench.items import LabelledItem
from cai.judge_bench.records import BenchEntry, said
from cai.judge_bench.results import JudgeCost, JudgeMeasures, PairedJudges, TiedItems
from cai.judge_bench.scores import correlate, score_ties
from cai.method.jury import disagree
from cai.method.verdicts import combine


@dataclass(frozen=True, slots=True)
class JudgeAnswers:
    """What one judge said: its name in tables, its engine's (or the jurors'), how it is asked, its entries by item."""

    label: str
    judges: tuple[str, ...]
    how: str
    entries: Mapping[str, BenchEntry]
    failures: Mapping[str, Failure]


Answered = Sequence[tuple[LabelledItem, BenchEntry]]


def measure_judge(items: Sequence[LabelledItem], answers: JudgeAnswers) -> JudgeMeasures:
    """Return what a judge is worth on the items."""
    entries = [(item, answers.entries[item.id]) for item in items if item.id in answers.entries]
    compared = [pair for item, entry in entries for pair in pairwise(item, entry)]
    clear = [(item, entry) for item, entry in compared if not item.is_tie]
    judged = [(item, entry) for item, entry in compared if not entry.scores]
    answered = [item for item, entry in entries if entry.values or item_score(item, entry) is not None]
    scores = [(item, score) for item, entry in entries if (score := item_score(item, entry)) is not None]
    scores = [(item, score) for item, score in scores if not item.is_tie]
    chosen = [item.answers[_likeliest(entry.options)[0]] for item, entry in entries if entry.options]
    verdicts = [(item, verdict) for item, entry in entries for verdict in entry.verdicts]
    shown = [verdict for _, verdict in verdicts if verdict.first is not None and verdict.second is not None]
    winners = [place for verdict in shown if (place := _winning_place(verdict)) is not None]
    labels = [(item, combine(entry.verdicts).probability) for item, entry in judged if not item.is_tie]
    decided = [(item, probability) for item, probability in labels if probability is not None]
    masses = [mass for _, entry in entries for mass in _masses(entry)]
    juries = [verdict for _, verdict in verdicts if verdict.jurors]
    longer, own = _longer(clear), _own(clear, (answers.label, *answers.judges))
    failures = [answers.failures[item.id] for item in items if item.id in answers.failures]
    return JudgeMeasures(
        label=answers.label,
        judge=" and ".join(answers.judges),
        how=answers.how,
        asked=len(items),
        answered=len(answered),
        failed=len(failures),
        accuracy=_share(score for _, score in scores),
        both_orders=_both_orders([(item, entry) for item, entry in entries if not item.is_tie]),
        labelled=Proportion(len(decided), len(labels)),
        label_accuracy=_share(_points(probability, item.target) for item, probability in decided),
        position=Proportion(len(winners), len(shown)),
        first_place=winners.count(0),
        disagreement=Proportion(sum(map(disagree, juries)), len(juries)),
        constant=(len(winners) == len(shown) > 1 and len(set(winners)) == 1) or len(chosen) > 1 == len(set(chosen)),
        chance=fmean(item.chance for item, _ in scores) if scores else 0.5,
        favourite=Counter(chosen).most_common(1)[0][0] if chosen else None,
        favourite_share=Proportion(max(Counter(chosen).values(), default=0), len(chosen)),
        longer=longer[0],
        longer_by_label=longer[1],
        own=own[0],
        own_by_label=own[1],
        ties=_ties([(item, entry) for item, entry in judged if item.is_tie]),
        labels=reliability([*label_points(compared), *option_points(entries)]),
        mass=steady(median(masses)) if masses else None,
        by_subset=_by_subset(scores),
        by_principle=_by_principle([(item, one) for item, one in verdicts if not item.is_tie]),
        abstained=dict(Counter(one.abstained for _, one in verdicts if one.abstained is not None).most_common()),
        failures=dict(Counter(f"{one.stage}: {one.cause}" for one in failures).most_common()),
        cost=_cost([entry for _, entry in entries]),
        several_right=score_ties(entries),
        correlation=correlate(entries),
    )


def _masses(entry: BenchEntry) -> list[float]:
    """Return what the answers to every question weighed together."""
    found = [mass for one in entry.verdicts for mass in (one.first_mass, one.second_mass)]
    found += [entry.mass, *(finding.mass for score in entry.scores for finding in score.findings)]
    return [mass for mass in found if mass is not None]


def compare_judges(items: Sequence[LabelledItem], answers: Sequence[JudgeAnswers]) -> tuple[PairedJudges, ...]:
    """Return every two judges on the items that both have answered and whose label prefers an answer."""
    clear = [item for item in items if not item.is_tie]
    scores = [
        {item.id: score for item in clear if (score := item_score(item, one.entries.get(item.id))) is not None}
        for one in answers
    ]
    names = [one.label for one in answers]
    places = combinations(range(len(answers)), 2)
    return tuple(_paired(names[a], names[b], scores[a], scores[b]) for a, b in places)


def pairwise(item: LabelledItem, entry: BenchEntry) -> list[tuple[LabelledItem, BenchEntry]]:
    """Return an item and what was said of it as pairs, each right answer beside each other one.

    Options and single answers give none.
    """
    if len(item.answers) == 2 and not item.options:
        return [(item, entry)]
    pairs = []
    for comparison in item.comparisons:
        sources = comparison.a_source, comparison.b_source
        verdicts = tuple(one for one in entry.verdicts if (one.a_source, one.b_source) == sources)
        places = [int(name.rpartition(":")[2]) for name in sources]
        scores = tuple(entry.scores[place] for place in places) if entry.scores else ()
        answers = tuple(item.answers[place] for place in places)
        models = tuple(item.models[place] for place in places)
        pair = replace(item, answers=answers, models=models, right=1)
        pairs.append((pair, replace(entry, verdicts=verdicts, scores=scores)))
    return pairs


def item_score(item: LabelledItem, entry: BenchEntry | None) -> float | None:
    """Return 1 where the judge prefers the answer that the label does, 0 where another, a share where it knows neither.

    Of several answers it is right where every right one beats every other one; where the one right answer is alike with
    others, it counts as one of so many, as RewardBench 2 counts ratings that tie (arXiv 2506.01937).
    """
    if entry is None:
        return None
    if item.options:
        best = _likeliest(entry.options)
        return sum(place < item.right for place in best) / len(best) if best else None
    found = [pair_entry.probability for _, pair_entry in pairwise(item, entry)]
    known = [_points(probability, item.target) for probability in found if probability is not None]
    if not found or len(known) < len(found):
        return None
    return 0.0 if 0.0 in known else 1 / (1 + known.count(0.5))


def _likeliest(options: Sequence[float]) -> list[int]:
    return [place for place, probability in enumerate(options) if probability == max(options)]


def option_points(entries: Answered) -> list[tuple[float, float]]:
    """Return how sure the judge is of the option that it chooses, and whether that is right."""
    return [
        (max(entry.options), score)
        for item, entry in entries
        if entry.options and (score := item_score(item, entry)) is not None
    ]


def label_points(entries: Answered) -> list[tuple[float, float]]:
    """Return how sure each label of the judge's is of the answer that it prefers, and how often people prefer that one.

    Ties in the labels count, with one half.
    """
    points = []
    for item, entry in entries:
        probability = combine(entry.verdicts).probability
        if probability is not None:
            prefers_first = probability > 0.5
            points.append((max(probability, 1 - probability), item.target if prefers_first else 1 - item.target))
    return points


def _points(probability: float, target: float) -> float:
    if probability == 0.5:
        return 0.5
    return float((probability > 0.5) == (target > 0.5))


def _share(scores: Iterable[float]) -> Proportion:
    found = list(scores)
    return Proportion(sum(found), len(found))


def _winning_place(verdict: Verdict) -> int | None:
    """Return 0 where the first place won in both orders, 1 where the second did; None where an answer won, or neither.

    Both probabilities are those of the first answer, which stood second in the second order.
    """
    assert verdict.first is not None and verdict.second is not None  # noqa: S101, PT018
    if verdict.first > 0.5 > verdict.second:
        return 0
    return 1 if verdict.first < 0.5 < verdict.second else None


def _both_orders(entries: Answered) -> Proportion:
    right = asked = 0
    for item, entry in entries:
        pairs = [_orders(pair) for _, pair in pairwise(item, entry)]
        if pairs and all(pairs):
            asked += 1
            right += all(_points(mean, item.target) == 1.0 for orders in pairs for mean in orders)
    return Proportion(right, asked)


def _orders(entry: BenchEntry) -> list[float]:
    """Return the mean of the principles in either order; nothing where an order was not asked."""
    both = [(one.first, one.second) for one in entry.verdicts if one.first is not None and one.second is not None]
    return [fmean(order) for order in zip(*both, strict=True)]


def _longer(entries: Answered) -> tuple[Proportion, Proportion]:
    """Return how often the longer answer is preferred: by the judge, and by the labels of the same items."""
    judged, labelled = [], []
    for item, entry in entries:
        if entry.probability is not None and (longer := item.longer) is not None:
            judged.append(_preferred(entry.probability, longer))
            labelled.append(_preferred(item.target, longer))
    return _share(judged), _share(labelled)


def _own(entries: Answered, names: tuple[str, ...]) -> tuple[Proportion, Proportion]:
    """Return how often the judge's own answer is preferred where one is: by the judge, and by the labels."""
    judged, labelled = [], []
    for item, entry in entries:
        own = [place for place, model in enumerate(item.models) if model in names]
        if entry.probability is not None and len(own) == 1:
            judged.append(_preferred(entry.probability, own[0]))
            labelled.append(_preferred(item.target, own[0]))
    return _share(judged), _share(labelled)


def _preferred(probability: float, place: int) -> float:
    """Return 1 where the answer at a place is preferred, one half where neither is."""
    return _points(probability, 1.0 if place == 0 else 0.0)


def _ties(entries: Answered) -> TiedItems:
    said = [entry.probability for _, entry in entries if entry.probability is not None]
    return TiedItems(
        of=len(entries),
        labelled=sum(combine(entry.verdicts).probability is not None for _, entry in entries),
        certainty=fmean(abs(probability - 0.5) for probability in said) if said else None,
    )


def _by_subset(scores: Sequence[tuple[LabelledItem, float]]) -> dict[str, Proportion]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for item, score in scores:
        if item.subset is not None:
            found[item.subset].append(score)
    return {name: _share(found[name]) for name in sorted(found)}


def _by_principle(verdicts: Sequence[tuple[LabelledItem, Verdict]]) -> dict[str, Proportion]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for item, verdict in verdicts:
        if (mean := said(verdict)) is not None:
            found[verdict.principle_id].append(_points(mean, item.target))
    return {name: _share(found[name]) for name in sorted(found)}


def _cost(entries: Sequence[BenchEntry]) -> JudgeCost:
    usage, busy, until = Usage(), 0.0, 0.0
    for entry in sorted(entries, key=lambda one: one.began):
        usage += entry.usage
        busy += max(0.0, entry.ended - max(entry.began, until))
        until = max(until, entry.ended)
    return JudgeCost(
        sum(len(entry.verdicts) + len(entry.scores) + bool(entry.options) for entry in entries), usage, round(busy, 3)
    )


def _paired(a: str, b: str, of_a: Mapping[str, float], of_b: Mapping[str, float]) -> PairedJudges:
    both = of_a.keys() & of_b.keys()
    more = sum(of_a[item] > of_b[item] for item in both)
    less = sum(of_a[item] < of_b[item] for item in both)
    return PairedJudges(a, b, len(both), more, less, sign_test(more, less))
