"""Ranking: the strengths of several answers from comparisons of two, by the model of Bradley and Terry (1952).

Answer i is better than answer j with the probability s(t_i - t_j), s being the logistic function and t the strengths.
They are estimated by maximum likelihood on soft outcomes: a comparison in which a judge finds a better with probability
p counts as p wins of a and 1 - p wins of b. A normal prior on each strength, with mean 0 and the standard deviation
PRIOR_DEVIATION in log-odds, keeps answers finite that won or lost all; one comparison at 0.90 is 0.89 with it.

Strengths have the mean 0, so they compare answers of one ranking and of no other. Answers that no chain of comparisons
connects share no scale: see `connected`. A standard error is that of a strength against the mean of all, as if each
comparison was one observation; a judge that repeats itself is not so independent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import exp, log1p, sqrt
from operator import mul

PRIOR_DEVIATION = 10.0
"""Of a strength, in log-odds; so wide that it only matters where comparisons alone give no finite answer."""

_PRECISION = 1.0 / PRIOR_DEVIATION**2
_STEPS = 100
_SMALL_GRADIENT = 1e-10
_SMALL_LOSS = 1e-12  # what rounding may add
_DIGITS = 9

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison of the items a and b came to: the probability that a is better, counted `weight` times."""

    a: int
    b: int
    probability: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items on one scale: strengths in log-odds, with their standard errors; `order` has the strongest first.

    Equally strong items stand in the order of their numbers. `covariance` is that of the strengths.
    """

    strengths: tuple[float, ...]
    errors: tuple[float, ...]
    order: tuple[int, ...]
    covariance: tuple[tuple[float, ...], ...]

    def probability(self, a: int, b: int) -> float:
        """Return how likely a is better than b."""
        return logistic(self.strengths[a] - self.strengths[b])

    def variance(self, a: int, b: int) -> float:
        """Return the variance of the difference of two strengths."""
        return self.covariance[a][a] + self.covariance[b][b] - 2.0 * self.covariance[a][b]


@dataclass(frozen=True, slots=True)
class Triples:
    """How many sets of three items were compared in all three ways, and how many of these are cycles: a > b > c > a."""

    complete: int = 0
    cyclic: int = 0

    @property
    def told(self) -> str:
        """What they come to, in words; empty where there are none."""
        if not self.complete:
            return ""
        return f"cycles: {self.cyclic:,} of {self.complete:,} triples of answers are a > b > c > a"

    def __add__(self, other: "Triples") -> "Triples":
        """Return both together."""
        return Triples(self.complete + other.complete, self.cyclic + other.cyclic)


def rank(count: int, outcomes: Sequence[Outcome]) -> Ranking:
    """Return the ranking of the items 0 … count - 1 by Newton's method; the same items always give the same."""
    strengths = _strengths_of_two(outcomes) if count == 2 else _strengths(count, outcomes)  # most rows have two answers
    # With the mean fixed, what the prior alone says of all strengths together is no uncertainty of theirs.
    common = PRIOR_DEVIATION**2 / count if count else 0.0
    inverse = _inverse(_derivatives(strengths, outcomes)[1])
    covariance = tuple([tuple([value - common for value in line]) for line in inverse])
    errors = tuple([sqrt(max(0.0, covariance[item][item])) for item in range(count)])
    order = sorted(range(count), key=lambda item: (-round(strengths[item], _DIGITS), item))
    return Ranking(tuple(strengths), errors, tuple(order), covariance)


def _strengths(count: int, outcomes: Sequence[Outcome]) -> list[float]:
    """Return the likeliest strengths, with steps that are halved as long as they lead too far."""
    strengths = [0.0] * count
    loss = _loss(strengths, outcomes)
    for _ in range(_STEPS):
        gradient, information = _derivatives(strengths, outcomes)
        if max(map(abs, gradient), default=0.0) < _SMALL_GRADIENT:
            break
        step = [sum(map(mul, line, gradient)) for line in _inverse(information)]
        share, last = 1.0, loss
        while True:
            tried = [value + share * change for value, change in zip(strengths, step, strict=True)]
            loss = _loss(tried, outcomes)
            if loss <= last + _SMALL_LOSS or share < _SMALL_GRADIENT:
                break
            share /= 2.0
        strengths = tried
    return strengths


def _strengths_of_two(outcomes: Iterable[Outcome]) -> list[float]:
    """Return the likeliest strengths of two items, of which one is the other's negative.

    No step leads too far: from 0 to the maximum the gradient falls towards 0 ever more slowly.
    """
    strength = 0.0
    for _ in range(_STEPS):
        gradient, information = -_PRECISION * strength, _PRECISION
        for outcome in outcomes:
            expected = logistic(2.0 * strength if outcome.a == 0 else -2.0 * strength)
            surplus = outcome.weight * (outcome.probability - expected)
            gradient += surplus if outcome.a == 0 else -surplus
            information += 2.0 * outcome.weight * expected * (1.0 - expected)
        if -_SMALL_GRADIENT < gradient < _SMALL_GRADIENT:
            break
        strength += gradient / information
    return [strength, 0.0 - strength]  # 0.0 has no sign


def connected(count: int, outcomes: Iterable[Outcome]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of items that chains of comparisons connect, the largest first, then by their first items."""
    return _connected(count, tuple([(outcome.a, outcome.b) for outcome in outcomes]))


@lru_cache(maxsize=256)
def _connected(count: int, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], ...]:
    """Do as `connected` says; the rows of a run compare the same few pairs."""
    group = list(range(count))
    for a, b in pairs:
        old, new = group[b], group[a]
        group = [new if name == old else name for name in group]
    members = [tuple(item for item in range(count) if group[item] == name) for name in dict.fromkeys(group)]
    return tuple(sorted(members, key=lambda items: (-len(items), items)))


def cyclic_triples(outcomes: Sequence[Outcome]) -> Triples:
    """Return the triples of items with a preference in each of their pairs, and how many of them are cycles.

    Several outcomes of a pair count as their mean; one half prefers nobody, and is not a preference.
    """
    if len(outcomes) < 3:
        return Triples()
    leads: dict[tuple[int, int], float] = {}
    for outcome in outcomes:
        low, high = sorted((outcome.a, outcome.b))
        lead = outcome.weight * (outcome.probability - 0.5)
        leads[low, high] = leads.get((low, high), 0.0) + (lead if outcome.a == low else -lead)
    preferred = {pair: lead > 0 for pair, lead in leads.items() if lead}
    items = sorted({item for pair in preferred for item in pair})
    complete = cyclic = 0
    for a, b, c in combinations(items, 3):
        if (a, b) in preferred and (b, c) in preferred and (a, c) in preferred:
            complete += 1
            cyclic += preferred[a, b] == preferred[b, c] != preferred[a, c]
    return Triples(complete, cyclic)


def most_telling(
    count: int, outcomes: Sequence[Outcome], candidates: Iterable[tuple[int, int]], limit: int
) -> tuple[tuple[int, int], ...]:
    """Return up to `limit` candidates, without an item in common, that would tell most about the ranking so far.

    A comparison tells the more, the more its outcome depends on what is not known of the strengths: pairs of near
    neighbours of which little is known. Items that were never compared come before all others, and of equal candidates
    the first. The best of them is always among those that are returned.
    """
    ranking = rank(count, outcomes)
    told: list[tuple[float, int, int, int]] = []
    for a, b in candidates:
        probability = ranking.probability(a, b)
        told.append((-round(probability * (1.0 - probability) * ranking.variance(a, b), _DIGITS), len(told), a, b))
    group = {item: number for number, items in enumerate(connected(count, outcomes)) for item in items}
    chosen: list[tuple[int, int]] = []
    taken: set[tuple[str, int]] = set()
    for _, _, a, b in sorted(told):
        # One pair connects two groups; a second would only tell how the same two lie.
        uses = {("item", a), ("item", b)}
        if group[a] != group[b]:
            uses |= {("group", group[a]), ("group", group[b])}
        if len(chosen) < limit and not uses & taken:
            chosen.append((a, b))
            taken |= uses
    return tuple(chosen)


def logistic(lead: float) -> float:
    """Return the probability that belongs to a difference of strengths."""
    return 1.0 / (1.0 + exp(-lead)) if lead >= 0 else 1.0 - 1.0 / (1.0 + exp(lead))


def _loss(strengths: Sequence[float], outcomes: Iterable[Outcome]) -> float:
    """Return the negative logarithm of the posterior, up to a constant."""
    loss = 0.5 * _PRECISION * sum(value * value for value in strengths)
    for outcome in outcomes:
        lead = strengths[outcome.a] - strengths[outcome.b]
        # -p log s(d) - (1 - p) log s(-d), without the overflow of exp
        loss += outcome.weight * (log1p(exp(-abs(lead))) + max(lead, 0.0) - outcome.probability * lead)
    return loss


def _derivatives(strengths: Sequence[float], outcomes: Iterable[Outcome]) -> tuple[list[float], Matrix]:
    """Return the gradient of the posterior's logarithm and its information, the negative second derivatives."""
    gradient = [-_PRECISION * value for value in strengths]
    information = [[_PRECISION if a == b else 0.0 for b in range(len(strengths))] for a in range(len(strengths))]
    for outcome in outcomes:
        a, b = outcome.a, outcome.b
        expected = logistic(strengths[a] - strengths[b])
        surplus = outcome.weight * (outcome.probability - expected)
        gradient[a] += surplus
        gradient[b] -= surplus
        told = outcome.weight * expected * (1.0 - expected)
        information[a][a] += told
        information[b][b] += told
        information[a][b] -= told
        information[b][a] -= told
    return gradient, information


def _inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of a symmetric matrix that has one: precisions on its diagonal see to that."""
    if len(matrix) == 2:  # two answers are what most rows have, and numpy takes ten times as long for them
        (first, shared), (_, second) = matrix
        determinant = first * second - shared * shared
        return [[second / determinant, -shared / determinant], [-shared / determinant, first / determinant]]
    import numpy as np  # noqa: PLC0415  (who ranks nothing does not wait for it)

    inverse: Matrix = np.linalg.inv(matrix).tolist() if matrix else []
    return inverse
