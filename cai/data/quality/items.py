"""What filters look at: one example or pair, with its texts read once however many filters look."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from cai.core.records import Message
from cai.core.words import Text
from cai.data.quality.shown import NOTHING_SHOWN, ShownTexts

COMPLETION, CHOSEN, REJECTED = "completion", "chosen", "rejected"
PROMPT = "prompt"
"""The field of a prompt's turn is `prompt.N`, counted from 0."""

_read = lru_cache(maxsize=64)(Text)
"""A prompt and its answers come again in each dataset of a run: their words are found once."""


@dataclass(frozen=True, slots=True)
class Item:
    """One example (its answer is `completion`) or one pair (`chosen` and `rejected`), and what is known around it.

    `place` says where it comes from. `critiques` are what the model had said of the answer's predecessor, by field.
    `kept` are principles that the pair was judged under although each answer had been found to keep them. `shown` are
    texts of the constitution that the model may have read.
    `cleaned_from` has the text as it was, by field, of what a filter cleaned; None where that is private.
    """

    id: str
    messages: Sequence[Message]
    answers: Mapping[str, str]
    place: str = ""
    tags: Sequence[str] = ()
    critiques: Mapping[str, str] = field(default_factory=dict)
    kept: Sequence[str] = ()
    shown: ShownTexts = NOTHING_SHOWN
    cleaned_from: Mapping[str, str | None] = field(default_factory=dict)


class ReadItem:
    """An item whose words have been found, as far as somebody asked for them."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answers = {name: _read(text) for name, text in item.answers.items()}

    @cached_property
    def turns(self) -> dict[str, Text]:
        """The prompt's turns, by field."""
        return {f"{PROMPT}.{number}": _read(turn["content"]) for number, turn in enumerate(self.item.messages)}

    @cached_property
    def question(self) -> Text:
        """The last turn of the prompt, empty where it has none."""
        return _read(self.item.messages[-1]["content"] if self.item.messages else "")

    def critique(self, name: str) -> Text:
        """Return the critique that came before an answer, empty where none is known."""
        return _read(self.item.critiques.get(name, ""))

    def around(self, name: str) -> Hashable:
        """Return what a filter of answers may look at besides the answer itself."""
        item = self.item
        return self.question.text, item.critiques.get(name), tuple(item.tags), item.shown

    def text(self, name: str) -> Text:
        """Return the text of a field."""
        return self.answers[name] if name in self.answers else self.turns[name]
