"""What is kept of a dataset while it is read once: counts, histograms, a sample, and keys on disk.

Nothing here grows with the rows but the eight bytes of each that near-duplicates are united in.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cai.data.drafts import readable_tags
from cai.data.examples.shaping import ExampleKind, Layout
from cai.data.examples.tables import Example
from cai.data.rows import BrokenRow
from cai.data.validation.contamination import Contamination
from cai.data.validation.fluency import Fluency
from cai.data.validation.items import Batch, CheckedItem, item_of
from cai.data.validation.lengths import Lengths
from cai.data.validation.near_duplicates import NearDuplicates
from cai.data.validation.repeats import RepeatFinder, Repeats
from cai.data.validation.run_facts import Orders, RunFacts
from cai.data.validation.shingles import mix
from cai.data.validation.truncation import Truncation, Truncator

Thing = TypeVar("Thing")

SAMPLED = 5000
"""Examples whose words are looked at."""

BINS = 20
"""Of the certainty of labels, from one half to one."""

_TOGETHER = 1024
_NAMES = 1000
"""Different names that are counted of a column; what comes after them is counted together."""

OTHERS = "others"


class Sample(Generic[Thing]):
    """At most `size` things of a stream of unknown length: those whose numbers have the smallest hashes.

    Every thing is as likely to be in it as every other, and the same things in the same order give the same sample.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._salt = np.uint64(seed)
        self._kept: list[tuple[int, int, Thing]] = []  # the largest hash first: hashes are negative
        self.seen = 0

    def add(self, things: Sequence[Thing]) -> None:
        """Take in more."""
        numbers = np.arange(self.seen, self.seen + len(things), dtype=np.uint64)
        hashes = (mix(mix(numbers + np.uint64(1)) ^ self._salt) >> np.uint64(1)).astype(np.int64)
        room = max(0, self._size - len(self._kept))
        for place in range(min(room, len(things))):
            heapq.heappush(self._kept, (-int(hashes[place]), self.seen + place, things[place]))
        if len(things) > room:
            for place in (room + np.flatnonzero(hashes[room:] < -self._kept[0][0])).tolist():
                entry = (-int(hashes[place]), self.seen + place, things[place])
                if entry[0] > self._kept[0][0]:
                    heapq.heapreplace(self._kept, entry)
        self.seen += len(things)

    def things(self) -> list[Thing]:
        """Return the sample in the order of the stream."""
        return [thing for _, _, thing in sorted(self._kept, key=lambda entry: entry[1])]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return self.seen <= self._size


@dataclass(slots=True)
class Overlap:
    """Rows that are like something: the numbers of the rows, and of what they are like (an earlier row, a prompt).

    `largest` is how many rows are alike at most, `sets` counts the sets that evaluation prompts are of.
    """

    rows: "array[int]" = field(default_factory=lambda: array("Q"))
    like: "array[int]" = field(default_factory=lambda: array("Q"))
    largest: int = 0
    sets: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class CollectedSet:
    """What is known of a dataset; see the modules that the types are from.

    `left_out` counts rows that give no example by reason. `empty_turns` examples have a turn without text. `names` are
    counts of what stands beside examples, by column. `certainty` counts pairs by how certain their label is, `soft` of
    them are neither 1 nor 0, `undecided` one half. `near`, `truncation` and `fluency` are None where nobody
    looked.
    """

    kind: ExampleKind
    examples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    empty_turns: int = 0
    turns: int = 0
    lengths: Lengths = field(default_factory=Lengths)
    certainty: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    soft: int = 0
    undecided: int = 0
    unsure: int = 0
    good: int = 0
    names: dict[str, Counter[str]] = field(default_factory=dict)
    orders: Orders = field(default_factory=Orders)
    sample: Sequence[CheckedItem] = ()
    is_whole: bool = True
    repeats: Repeats = field(default_factory=Repeats)
    near: Overlap | None = None
    contamination: Overlap | None = None
    truncation: Truncation | None = None
    fluency: Fluency | None = None
    run: RunFacts | None = None

    @property
    def rows(self) -> int:
        """Examples and rows that gave none."""
        return self.examples + self.left_out.total()


def collect_set(
    examples: Iterable[Example | BrokenRow],
    kind: ExampleKind,
    layout: Layout,
    *,
    near_duplicates: bool = True,
    contamination: Contamination | None = None,
    truncator: Truncator | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> CollectedSet:
    """Read a set once and return what is kept of it; `tell` hears now and then how many examples were read.

    Raises InputError as reading does, OSError when the disk refuses.
    """
    found = CollectedSet(kind)
    sample: Sample[CheckedItem] = Sample(SAMPLED)
    with ExitStack() as stack:
        repeats = stack.enter_context(RepeatFinder())
        near = stack.enter_context(NearDuplicates()) if near_duplicates else None
        if contamination is not None:
            found.contamination = Overlap()
        items = _items(examples, layout, found)
        while some := list(islice(items, _TOGETHER)):
            batch = Batch(some)
            sample.add(some)
            repeats.add(batch)
            if near is not None:
                near.add(batch.texts)
            if truncator is not None:
                truncator.add(some, found.examples)
            if contamination is not None and found.contamination is not None:
                _count_contaminated(batch, contamination, found.examples, found.contamination)
            _count(batch, found)
            tell(found.examples)
        found.repeats = repeats.find()
        if near is not None:
            found.near = _near(near)
        found.truncation = None if truncator is None else truncator.found
    found.sample, found.is_whole = sample.things(), sample.is_whole
    return found


def _items(examples: Iterable[Example | BrokenRow], layout: Layout, found: CollectedSet) -> Iterator[CheckedItem]:
    for example in examples:
        if isinstance(example, BrokenRow):
            # What a cause has in parentheses is about this one row, and reasons are counted.
            found.left_out[example.cause.partition(" (")[0]] += 1
        else:
            yield item_of(example, layout)


def _count(batch: Batch, found: CollectedSet) -> None:
    found.examples += len(batch.items)
    if batch.items[0].answers:
        found.lengths.add(batch)
    if found.kind == "pairs":
        probabilities = batch.probabilities
        sure = np.maximum(probabilities, 1 - probabilities)
        places = np.minimum(((sure - 0.5) * 2 * BINS).astype(np.int64), BINS - 1)
        found.certainty += np.bincount(places, minlength=BINS)
        found.soft += int(((probabilities > 0) & (probabilities < 1)).sum())
        found.undecided += int((probabilities == 0.5).sum())
        found.unsure += int(((probabilities >= 0.4) & (probabilities <= 0.6)).sum())
    for item in batch.items:
        found.turns += len(item.prompt)
        found.empty_turns += any(not turn["content"].strip() for turn in item.prompt)
        found.good += item.label is True
        if item.about:
            _count_about(item.about, found)


def _count_about(about: Mapping[str, Any], found: CollectedSet) -> None:
    for column, value in about.items():
        if column in ("id", "first", "second") or value is None:
            continue
        names = found.names.setdefault(column, Counter())
        several = readable_tags(value) if column == "tags" else value
        for name in several if isinstance(several, list | tuple) else (several,):
            told = str(name)[:80]
            names[told if told in names or len(names) < _NAMES else OTHERS] += 1
    # Other data may have columns of these names that are no verdicts.
    if _are_numbers(about.get("first")) and _are_numbers(about.get("second")):
        for first, second in zip(about["first"], about["second"], strict=False):
            found.orders.add(first, second)


def _are_numbers(value: object) -> bool:
    """Tell whether a value is a list of numbers, some of which may be missing."""
    return isinstance(value, list | tuple) and all(
        one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in value
    )


def _count_contaminated(batch: Batch, contamination: Contamination, number: int, found: Overlap) -> None:
    for place, like in enumerate(contamination.find(batch.prompts)):
        if like is not None:
            found.rows.append(number + place)
            found.like.append(like)
            found.sets[contamination.prompts[like].set] += 1


def _near(near: NearDuplicates) -> Overlap:
    firsts = near.firsts()
    again = np.flatnonzero(firsts != np.arange(len(firsts)))
    rows, like = (array("Q", found.astype(np.uint64).tobytes()) for found in (again, firsts[again]))
    return Overlap(rows, like, int(np.bincount(firsts[again]).max()) + 1 if len(again) else 0)
