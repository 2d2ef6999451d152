"""Selectors: what can choose the final answer of a prompt among its samples' responses and revisions.

Some decide from what a row holds anyway; the others ask a model about every answer, and the row keeps the scores
(`scoring.py`). Whoever offers or reads a selector does so from the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

from cai.core.errors import UsageError
from cai.core.paths import expand

SelectorName = Literal["judge", "gates", "rubric", "reward", "random"]


@dataclass(frozen=True, slots=True)
class Selector:
    """One way to choose; `asks` is what is asked about every answer when a row is made, None where nothing is."""

    name: SelectorName
    about: str
    asks: Literal["judge", "reward model"] | None


SELECTORS: Mapping[SelectorName, Selector] = {
    selector.name: selector
    for selector in (
        Selector("judge", "the strongest in the ranking of the judge's verdicts", None),
        Selector("gates", "that keeps the principles best, by the judge's gates", "judge"),
        Selector("rubric", "with the best score under the rubric's criteria, by the judge", "judge"),
        Selector("reward", "that a reward model gives the highest score", "reward model"),
        Selector("random", "drawn from the seed, to compare the others with", None),
    )
}

FORMS = "judge, gates, rubric, reward:DIRECTORY or random"


class Selection(NamedTuple):
    """What chooses, as it was typed: `judge`, or `reward:DIRECTORY` with a model from `cai train reward`."""

    name: SelectorName
    reward_model: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a person means; raises UsageError."""
        word, colon, directory = text.partition(":")
        name = next((known for known in get_args(SelectorName) if known == word), None)
        if name is None or (colon and name != "reward"):
            raise UsageError(f"there is no selector {text!r}; there are {FORMS}")
        if name == "reward" and not directory:
            raise UsageError("--select reward needs a model: give reward:DIRECTORY, from cai train reward")
        return cls(name, expand(directory) if directory else None)

    @property
    def asks(self) -> Literal["judge", "reward model"] | None:
        """What is asked about every answer when a row is made."""
        return SELECTORS[self.name].asks

    def __str__(self) -> str:
        """Return what was typed."""
        return self.name if self.reward_model is None else f"{self.name}:{self.reward_model}"
