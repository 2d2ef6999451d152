"""What advice rests on: counted in the data, read from the model's configuration, and found on the machine."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cai.core.errors import InputError
from cai.core.identity import fingerprint, key
from cai.core.keyset import KeySet
from cai.data.examples.shaping import ExampleKind
from cai.data.rows import BrokenRow

if TYPE_CHECKING:
    from cai.train.machine import Machine  # torch: seconds

UNCERTAIN = (0.4, 0.6)
"""Between them a soft label hardly says which answer is better (the clamp of 2212.08073, section 4.1)."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What was counted: `characters` are the mean of an example's, prompt and answers, `asked` those of its prompt.

    `left_out` counts by cause.

    `plain_text`: there are no conversations, only text. `soft`: the labels of pairs are probabilities, `uncertain` the
    share of them that hardly decides. `good`: the share of labelled answers that are good.
    """

    kind: ExampleKind
    plain_text: bool
    examples: int
    prompts: int
    characters: float
    asked: float
    soft: bool
    uncertain: float
    good: float
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that would be trained: `chats` tells whether it has a chat template of its own."""

    name: str
    parameters: int
    chats: bool
    tokens_per_character: float


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a rule looks at; `data` is how a command names the data, `model` how it names the model.

    `is_run`: the data is a run of cai's, whose pairs can be judged again.
    """

    data: str
    model: str
    is_run: bool
    counted: DataFacts
    shape: ModelFacts
    machine: "Machine"


class _Tally:
    """Counts examples as they come; memory is 16 bytes a prompt."""

    def __init__(self) -> None:
        self.prompts = KeySet()
        self.examples = self.characters = self.asked = self.soft = self.uncertain = self.good = 0
        self.left_out: Counter[str] = Counter()

    def add(self, values: Mapping[str, Any]) -> None:
        self.examples += 1
        self.prompts.add(key(fingerprint(values.get("prompt") or values.get("messages") or values.get("text"))))
        # Criteria and tags are the judge's alone; no model that is trained reads them.
        self.characters += sum(_length(value) for name, value in values.items() if name not in ("rubric", "tags"))
        self.asked += _length(values.get("prompt"))
        probability = values.get("chosen_probability", 1.0)
        self.soft += probability != 1.0
        self.uncertain += UNCERTAIN[0] <= probability <= UNCERTAIN[1]
        self.good += values.get("label") is True


def count(items: Iterable[Any], kind: ExampleKind, name: str) -> DataFacts:
    """Return what examples come to; raises InputError when there are none."""
    tally = _Tally()
    plain_text = False
    for item in items:
        if isinstance(item, BrokenRow):
            tally.left_out[item.cause.partition(" (")[0]] += 1
            continue
        plain_text = "text" in item.values
        tally.add(item.values)
    if not tally.examples:
        causes = "; ".join(f"{count:,}: {cause}" for cause, count in tally.left_out.items())
        raise InputError(f"{name} holds no example to advise on{f' ({causes})' if causes else ''}.")
    examples = tally.examples
    return DataFacts(
        kind,
        plain_text,
        examples,
        len(tally.prompts),
        tally.characters / examples,
        tally.asked / examples,
        tally.soft > 0,
        tally.uncertain / examples,
        tally.good / examples,
        dict(tally.left_out),
    )


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(len(turn["content"]) for turn in value) if isinstance(value, list | tuple) else 0
