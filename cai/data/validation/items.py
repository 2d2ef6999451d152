"""What measures look at: one example of any kind in one form, and many of them as columns.

| kind | answers | what is said of them |
|---|---|---|
| pairs | chosen, rejected | `probability`: how likely the chosen is better |
| labelled | one | `label` |
| scored | one | `score` |
| supervised | one | |
| prompts | none | |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cai.core.records import Message
from cai.data.columns import ABOUT, METADATA
from cai.data.examples.conversations import last_answer
from cai.data.examples.shaping import Layout
from cai.data.examples.tables import Example

BESIDE = (*METADATA, *ABOUT, "principles", "first", "second")
"""Columns beside examples that measures know."""

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """One example; `about` is what stands beside it under the names of BESIDE."""

    place: str
    prompt: Sequence[Message]
    answers: tuple[str, ...]
    probability: float | None = None
    label: bool | None = None
    score: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt_text(self) -> str:
        """The prompt's turns, one after the other."""
        if len(self.prompt) == 1:
            return self.prompt[0]["content"]
        return "\n".join(turn["content"] for turn in self.prompt)

    @property
    def preferred(self) -> int | None:
        """Which of a pair's answers is likelier to be better; None where neither is."""
        if self.probability is None or self.probability == 0.5:
            return None
        return 0 if self.probability > 0.5 else 1


def item_of(example: Example, layout: Layout) -> CheckedItem:
    """Return an example in this form; a conversation's answer is the assistant's last turn."""
    values, place, about = example.values, example.place, example.about
    if layout == "pairs":
        both = (_text(values["chosen"]), _text(values["rejected"]))
        return CheckedItem(place, values["prompt"], both, values["chosen_probability"], about=about)
    if layout == "text":
        return CheckedItem(place, (), (values["text"],), about=about)
    if layout == "prompts":
        return CheckedItem(place, values["prompt"], (), about=about)
    if layout == "messages":
        prompt, answer = last_answer(values["messages"])
        return CheckedItem(place, prompt, (answer["content"],), about=about)
    answers = (_text(values["completion"]),)
    return CheckedItem(
        place, values["prompt"], answers, label=values.get("label"), score=values.get("score"), about=about
    )


def identity(item: CheckedItem) -> str:
    """Return what an item is called: its own id, or the place where it stands."""
    return str(item.about.get("id") or item.place)


def _text(turns: Sequence[Message]) -> str:
    return turns[-1]["content"]


class Batch:
    """Some examples, and columns of what many measures need of each."""

    def __init__(self, items: Sequence[CheckedItem]) -> None:
        self.items = items

    @cached_property
    def prompts(self) -> list[str]:
        """Each prompt as one text."""
        return [item.prompt_text for item in self.items]

    @cached_property
    def prompt_keys(self) -> Keys:
        """A hash of each prompt."""
        return _hashed(self.prompts)

    @cached_property
    def answer_keys(self) -> Keys:
        """A hash of each answer, a row an example: two of a pair, one of others, white space at the ends aside."""
        flat = _hashed([answer.strip() for item in self.items for answer in item.answers])
        return flat.reshape(len(self.items), -1)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Each answer's characters, a row an example."""
        flat = [len(answer) for item in self.items for answer in item.answers]
        return np.array(flat, np.int64).reshape(len(self.items), -1)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """How likely each pair's chosen answer is better; nan for what is no pair."""
        return np.array([item.probability for item in self.items], np.float64)

    @property
    def texts(self) -> list[str]:
        """Each prompt with all of its answers."""
        return ["\n".join((prompt, *item.answers)) for prompt, item in zip(self.prompts, self.items, strict=True)]


def _hashed(texts: Sequence[str]) -> Keys:
    digests = [blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64)
