"""What judges are asked about: a prompt and its answers, of which it is known which are the better ones.

The right answers come first. A pair may have a soft label: the probability that the first is better, 1 where people
were of one mind, 0.5 for a tie, which stays one. Of several answers each right one is compared with each other one
(RewardBench 2, arXiv 2506.01937, has a best of four); options are letters, and chosen among all at once. Where people
said how good each answer is, that is known too, and there may be one answer alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cai.core.records import Comparison, Criterion, Message, Prompt, read_criterion
from cai.core.words import Text


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """A prompt and its answers, the first `right` of which are better than the others.

    `id` is the item's place in the data (`pairs.jsonl:12`), `ordinal` its place among the items that are drawn. Of two
    answers `target` is the probability, by the label, that the first is better; 1 of more. With `options` the answers
    are letters that the prompt names. `subset` is the part of the data that it is of, `models` who wrote the answers,
    `principle` which one the label is about, `reference` an answer that is known to be right, `rubric` the criteria
    for an answer, `scores` how good each is, a higher one being better, `name` the item's own id, as far as the data
    says so.
    """

    id: str
    ordinal: int
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    target: float
    right: int = 1
    options: bool = False
    subset: str | None = None
    models: tuple[str | None, ...] = (None, None)
    tags: tuple[str, ...] = ()
    principle: str | None = None
    reference: str | None = None
    rubric: tuple[Criterion, ...] = ()
    scores: tuple[float, ...] = ()
    name: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    """What columns tell of the part of the data, until it is known which one tells parts apart; then empty."""

    @property
    def is_tie(self) -> bool:
        """Whether the label prefers neither."""
        return self.target == 0.5

    @property
    def prompt(self) -> Prompt:
        """The item as the pipeline carries it."""
        return Prompt(self.id, self.ordinal, self.messages, self.tags, self.rubric)

    @property
    def chance(self) -> float:
        """How often somebody is right who guesses: picks one answer, whichever."""
        return self.right / len(self.answers)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Each right answer beside each other one, as a judge is shown them; a is the right one. None of options."""
        if self.options:
            return ()
        return tuple(
            Comparison(
                self.messages, self.answers[one], self.answers[other], source(one), source(other), self.reference
            )
            for one in range(self.right)
            for other in range(self.right, len(self.answers))
        )

    @property
    def longer(self) -> int | None:
        """Which of two answers has more words, 0 or 1; None where they have as many."""
        first, second = (len(Text(answer).words) for answer in self.answers)
        return None if first == second else int(second > first)


@dataclass(frozen=True, slots=True)
class LabelledItems:
    """The items that are asked about, in the order in which they were drawn.

    `found` is how many there were to draw from, `fingerprint` names the content of all of them. `left_out` counts the
    rows that give none, by cause.
    """

    items: tuple[LabelledItem, ...]
    found: int
    fingerprint: str
    left_out: Mapping[str, int]
    subset_column: str | None


def source(place: int) -> str:
    """Return what an answer is called in verdicts."""
    return f"answer:{place}"


FIRST, SECOND = source(0), source(1)


def read_item(value: Mapping[str, Any]) -> LabelledItem:
    """Return an item from what JSON says; raises KeyError or TypeError when it is none."""
    lists = {name: tuple(value[name]) for name in ("messages", "answers", "models", "tags", "scores")}
    return LabelledItem(**{**value, **lists, "rubric": tuple(map(read_criterion, value["rubric"]))})
