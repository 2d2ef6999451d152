"""Which item is next: for everybody a share, for one person the rest, by what was asked for, and recorded."""

from collections import Counter
from collections.abc import Iterator

import pytest

from cai.annotation.assignment import Assignment, Strategy
from cai.annotation.index import IndexEntry
from cai.annotation.reading import what_counts
from cai.annotation.records import Annotation
from cai.core.errors import UsageError
from tests.annotating import say

COUNT = 200
ENTRIES = [
    IndexEntry(f"pair:{number:016x}", "pair", f"p{number}", None, number / COUNT if number % 3 else None, 0, 0)
    for number in range(COUNT)
]


def assignment(strategy: Strategy = "random", overlap: float = 0.2) -> Assignment:
    return Assignment(ENTRIES, "comparison", strategy=strategy, overlap=overlap)


def working(found: Assignment, said: list[Annotation], annotator: str, value: str = "a") -> Iterator[Annotation]:
    """Yield what a person says of one item after the other, as long as there is one."""
    while (assigned := found.next(annotator, what_counts(said))) is not None:
        said.append(say(assigned.key, value, annotator=annotator, chosen_by=assigned.chosen_by, seconds=2.0))
        yield said[-1]


def test_all_items_are_seen_by_one_person_and_the_shared_ones_by_everybody() -> None:
    found, said = assignment(), list[Annotation]()
    people = [working(found, said, name) for name in ("kim", "lee", "park")]
    while sum(next(person, None) is not None for person in people):
        pass
    seen = Counter(line.item for line in said)
    shared = {line.item for line in said if line.chosen_by == "overlap"}
    assert len(seen) == COUNT
    assert dict.fromkeys(shared, 3) == {key: count for key, count in seen.items() if count > 1}
    assert 0.1 < len(shared) / COUNT < 0.3
    told = {progress.annotator: progress for progress in found.progress(what_counts(said))}
    assert all(
        (one.done == one.owed, one.overlapping, one.seconds) == (True, len(shared), 2.0) for one in told.values()
    )


def test_a_person_sees_shared_items_in_their_share_from_the_start() -> None:
    found, said = assignment(), list[Annotation]()
    worker = working(found, said, "kim")
    chosen = [next(worker).chosen_by for _ in range(50)]
    assert 9 <= chosen.count("overlap") <= 11
    assert set(chosen) == {"overlap", "random"}


def test_the_judges_uncertainty_orders_what_is_one_persons() -> None:
    found, said = assignment("uncertainty", 0.0), list[Annotation]()
    keys = [line.item for line in working(found, said, "kim")]
    unsure = {entry.key: entry.uncertainty for entry in ENTRIES}
    known = [value for key in keys if (value := unsure[key]) is not None]
    assert known == sorted(known, reverse=True)
    assert all(unsure[key] is None for key in keys[len(known) :])
    assert {line.chosen_by for line in said} == {"uncertainty"}


def test_disagreement_shows_what_people_disagree_on_to_who_did_not_see_it() -> None:
    keys = [entry.key for entry in ENTRIES[:4]]
    said = [say(key, "a", annotator="kim") for key in keys]
    said += [say(key, "b" if n < 2 else "a", annotator="lee") for n, key in enumerate(keys)]
    found = assignment("disagreement")
    assert {line.item for line in working(found, said, "park")} == set(keys[:2])
    assert found.next("kim", what_counts(said)) is None
    # Two of three are of one mind now, and still they disagree until somebody settles it.
    said.append(say(keys[0], "a", annotator="choi", settles=True))
    assert found.next("jung", what_counts(said)) == (keys[1], "disagreement")


def test_what_others_look_at_is_passed_over_and_what_was_taken_back_is_owed_again() -> None:
    found = assignment(overlap=0.0)
    first = found.next("kim", what_counts([]))
    assert first is not None
    other = found.next("lee", what_counts([]), taken={first.key})
    assert other is not None
    assert other.key != first.key
    line = say(first.key, "a")
    back = say(first.key, None, id="taken-back", replaces=line.id, kind="comparison")
    assert found.next("kim", what_counts([line])) != first
    assert found.next("kim", what_counts([line, back])) == first


def test_the_same_place_gives_everybody_the_same_order_and_another_seed_another() -> None:
    one, same = (assignment(overlap=0.0).next("kim", what_counts([])) for _ in range(2))
    assert one == same
    assert Assignment(ENTRIES, "comparison", overlap=0.0, seed=1).next("kim", what_counts([])) != one


def test_what_cannot_be_assigned_is_refused() -> None:
    with pytest.raises(UsageError, match="share from 0 to 1"):
        assignment(overlap=20)
    with pytest.raises(UsageError, match="no ranking to be asked about"):
        Assignment(ENTRIES, "ranking")
