"""From what people said to how far they agree: with each other, each two of them, and with the judge.

The judge's value is what its probability says of a pair or a gate; of a pair that it found equal, a tie; of what it
did not decide, nothing. Where data is annotated, its own labels stand in the judge's place.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from cai.annotation.agreement.coefficients import (
    Numbers,
    coincidences,
    estimate,
    kappa,
    nominal_alpha,
    ordinal_alpha,
    percent,
    resampled,
)
from cai.annotation.agreement.leanings import leanings
from cai.annotation.agreement.result import Agreement, AgreementRow
from cai.annotation.items import ReviewItem
from cai.annotation.kinds import KINDS, OVERALL
from cai.annotation.reading import what_counts
from cai.annotation.store import StoredAnnotations
from cai.annotation.votes import Vote, by_thing, decide, disagreements, votes_of
from cai.core.identity import derive_seed
from cai.method.verdicts import IDENTICAL, TIE

Find = Callable[[str], ReviewItem | None]
"""Returns an item by its key, None where the place has it no more."""

PEOPLE = "people"
_MOST_NAMES = 6
"""People up to whom every two of them have a row."""


def measure_agreement(
    stored: StoredAnnotations,
    find: Find,
    *,
    judge: str = "judge",
    groups: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
) -> Agreement:
    """Return how far people agree in what was said.

    `judge` is what stands in the table for the judge; `groups` give, by annotator, values of columns (role, language)
    whose people are also looked at together.
    """
    everything = what_counts(stored)
    said = replace(everything, counting=tuple(one for one in everything.counting if one.chosen_by != "feedback"))
    feedback = len(everything.counting) - len(said.counting)
    items = {key: item for key in {line.item for line in said.counting} if (item := find(key)) is not None}
    rows: list[AgreementRow] = []
    split: dict[str, tuple[str, ...]] = {}
    for kind in KINDS.values():
        votes = list(votes_of(said, kind.name, lambda key: None if key not in items else items[key].principle))
        for criterion in dict.fromkeys(vote.criterion for vote in votes):
            chosen = [vote for vote in votes if vote.criterion == criterion]
            rows += _Rows(kind.name, criterion, judge, seed).of(chosen, items)
        if found := disagreements(said, kind.name, lambda key: None if key not in items else items[key].principle):
            split[kind.name] = tuple(found)
    gone = len({line.item for line in said.counting} - set(items))
    remarks = [f"items that are not there any more, of which only people's agreement is told: {gone:,}"] if gone else []
    remarks += [f"feedback of users, which is in no agreement: {feedback:,}"] if feedback else []
    return Agreement(
        annotators=dict(Counter(line.annotator for line in said.counting).most_common()),
        rows=tuple(rows),
        leanings=tuple(leanings(said, items, groups or {})),
        open=split,
        settled=len({line.item for line in said.counting if line.settles}),
        remarks=(*remarks, *stored.remarks),
    )


def judged_value(item: ReviewItem, kind: str, part: str, criterion: str) -> str | None:
    """Return what the judge says where a person votes, in the same values; None where it says nothing."""
    if kind == "ranking" and item.ranks:
        one, other = (item.ranks[int(place)] for place in part.split("-"))
        return "tie" if one == other else "a" if one < other else "b"
    if kind == "comparison" and criterion == OVERALL:
        if item.judge is None:
            return "tie" if item.abstained in (TIE, IDENTICAL) else None
        return "a" if item.judge > 0.5 else "b" if item.judge < 0.5 else "tie"
    if kind == "adherence" and item.judge is not None:
        return "breaks" if item.judge > 0.5 else "keeps"
    return None


class _Rows:
    """Makes the rows of one kind and criterion."""

    def __init__(self, kind: str, criterion: str, judge: str, seed: int) -> None:
        self._kind, self._criterion, self._judge = kind, criterion, judge
        self._values = {value: number for number, value in enumerate(KINDS[kind].values)}
        self._seed = seed

    def of(self, votes: Sequence[Vote], items: Mapping[str, ReviewItem]) -> Iterator[AgreementRow]:
        """Yield all rows for which two voters saw the same thing."""
        own = [vote for vote in votes if not vote.said.settles]
        things = by_thing(own)
        yield from self._row(PEOPLE, {thing: _values(said) for thing, said in things.items()}, paired=False)
        names = sorted({vote.voter for vote in own})
        said = {name: {vote.thing: vote.value for vote in own if vote.voter == name} for name in names}
        if len(names) <= _MOST_NAMES:
            for one, other in combinations(names, 2):
                both = {thing: (said[one][thing], said[other][thing]) for thing in said[one] if thing in said[other]}
                yield from self._row(f"{one} and {other}", both, paired=True)
        judged = {
            thing: value
            for thing in by_thing(votes)
            if thing[0] in items and (value := judged_value(items[thing[0]], self._kind, *thing[1:])) is not None
        }
        decided = {thing: decide(found).value for thing, found in by_thing(votes).items()}
        together = {thing: (value, judged[thing]) for thing, value in decided.items() if value and thing in judged}
        yield from self._row(f"{PEOPLE} and {self._judge}", together, paired=True)
        if 1 < len(names) <= _MOST_NAMES:
            for name in names:
                both = {thing: (value, judged[thing]) for thing, value in said[name].items() if thing in judged}
                yield from self._row(f"{name} and {self._judge}", both, paired=True)

    def _row(
        self, between: str, said: Mapping[tuple[str, str, str], Sequence[str]], *, paired: bool
    ) -> Iterator[AgreementRow]:
        """Yield the row, if there is anything to compare; things of one item are resampled together."""
        count = len(self._values)
        tables: defaultdict[str, Numbers] = defaultdict(lambda: np.zeros((count, count)))
        crossed: defaultdict[str, Numbers] = defaultdict(lambda: np.zeros((count, count)))
        for thing, values in said.items():
            numbers = [self._values[value] for value in values]
            if len(numbers) > 1:
                tables[thing[0]] += coincidences(numbers, count)
                if paired:
                    crossed[thing[0]][numbers[0], numbers[1]] += 1.0
        if not tables:
            return
        seed = derive_seed(self._seed, self._kind, self._criterion, between)
        held = np.stack(list(tables.values()))
        draws = resampled(held, seed)
        crossing = np.stack(list(crossed.values())) if paired else held
        yield AgreementRow(
            kind=self._kind,
            criterion=self._criterion,
            between=between,
            items=len(tables),
            percent=estimate(percent, held, draws),
            kappa=estimate(kappa, crossing, resampled(crossing, seed)) if paired else None,
            nominal=estimate(nominal_alpha, held, draws),
            ordinal=estimate(ordinal_alpha, held, draws) if count > 2 else None,
        )


def _values(votes: Sequence[Vote]) -> list[str]:
    """Return one value a person."""
    return list({vote.voter: vote.value for vote in votes}.values())
