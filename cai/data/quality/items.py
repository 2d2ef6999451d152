"""What filters look at: one example or pair, with its texts read once however many filters look."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cai.core.records import Message
from cai.core.words import Text, read_text
from cai.data.quality.shown import NOTHING_SHOWN, ShownTexts

COMPLETION, CHOSEN, REJECTED = "completion", "chosen", "rejected"
PROMPT = "prompt"
"""The field of a prompt's turn is `prompt.N`, counted from 0."""


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
    """An item whose words are found as soon as somebody asks for them."""

    def __init__(self, item: Item) -> None:
        self.item = item

    @cached_property
    def texts(self) -> dict[str, Text]:
        """The answers and the prompt's turns, by field."""
        return {name: read_text(text) for name, text in (*self.item.answers.items(), *turns_of(self.item))}

    @cached_property
    def question(self) -> Text:
        """The last turn of the prompt, empty where it has none."""
        return read_text(last_turn(self.item))

    def critique(self, name: str) -> Text:
        """Return the critique that came before an answer, empty where none is known."""
        return read_text(self.item.critiques.get(name, ""))


def turns_of(item: Item) -> Iterator[tuple[str, str]]:
    """Yield the prompt's turns with their fields."""
    for number, turn in enumerate(item.messages):
        yield f"{PROMPT}.{number}", turn["content"]


def last_turn(item: Item) -> str:
    """Return the last turn of the prompt, empty where it has none."""
    return item.messages[-1]["content"] if item.messages else ""
