"""What people decided, vote by vote, and what they decided together.

A vote is one value of one person on one thing: which of two answers is better overall, or by a criterion; whether a
principle is kept; a rating. Who cannot say gives no vote. Together people decided what an adjudication says, where
there is one, and else what more than half of them say; where neither is so, the thing is open.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cai.annotation.kinds import CANNOT_SAY, KINDS, PRINCIPLE
from cai.annotation.reading import CountingAnnotations
from cai.annotation.records import Annotation


class Vote(NamedTuple):
    """Somebody's value on a thing: the part of an item, by a criterion."""

    item: str
    part: str
    criterion: str
    voter: str
    value: str
    said: Annotation

    @property
    def thing(self) -> tuple[str, str, str]:
        """What it is about: votes on the same thing can be compared."""
        return self.item, self.part, self.criterion


class JointDecision(NamedTuple):
    """What people together say of a thing: None where it is open. `at_random`: whether the item was drawn for one."""

    value: str | None
    votes: Counter[str]
    settled: bool
    at_random: bool


PrincipleOf = Callable[[str], str | None]
"""Returns the principle of an item by its key."""


def votes_of(said: CountingAnnotations, kind: str, principle_of: PrincipleOf) -> Iterator[Vote]:
    """Yield the votes in a kind, adjudications among them, by moment."""
    described = KINDS[kind]
    for annotation in said.counting:
        if annotation.kind != kind:
            continue
        for part, criterion, value in described.votes(annotation.answer):
            if value == CANNOT_SAY:
                continue
            name = principle_of(annotation.item) if criterion == PRINCIPLE else criterion
            if name is not None:
                yield Vote(annotation.item, part, name, annotation.annotator, value, annotation)


def by_thing(votes: Sequence[Vote]) -> Mapping[tuple[str, str, str], list[Vote]]:
    """Return votes by what they are about."""
    found: defaultdict[tuple[str, str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.thing].append(vote)
    return found


def decide(votes: Sequence[Vote]) -> JointDecision:
    """Return what the votes on one thing come to."""
    own = [vote for vote in votes if not vote.said.settles]
    counts = Counter(vote.value for vote in own)
    at_random = any(vote.said.at_random for vote in votes)
    settled = [vote.value for vote in votes if vote.said.settles]
    if settled:
        return JointDecision(settled[-1], counts, settled=True, at_random=at_random)
    value = next((value for value, count in counts.items() if 2 * count > len(own)), None)
    return JointDecision(value, counts, settled=False, at_random=at_random)


def disagreements(said: CountingAnnotations, kind: str, principle_of: PrincipleOf) -> dict[str, int]:
    """Return the items on which people disagree and nobody has settled it, with how many of their things are so."""
    found: Counter[str] = Counter()
    for thing, votes in by_thing(list(votes_of(said, kind, principle_of))).items():
        decision = decide(votes)
        if not decision.settled and len(decision.votes) > 1:
            found[thing[0]] += 1
    return dict(found)
