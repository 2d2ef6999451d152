"""What filters look at: one example or pair, with its texts read once however many filters look."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from cai.core.records import Message
from cai.core.words import Text, read_text
from cai.data.quality.shown import NOTHING_SHOWN, ShownTexts

COMPLETION, CHOSEN, REJECTED = "completion", "chosen", "rejected"
PROMPT = "prompt"
"""The field of a prompt's turn is `prompt.N`, counted from 0."""

_NO_TEXT = Text("")


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
    """An item whose words have been found.

    `answers` are its texts, `turns` those of the prompt and `texts` both, by field; `question` is the prompt's last
    turn, empty where it has none.
    """

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answers = {name: read_text(text) for name, text in item.answers.items()}
        self.turns = {f"{PROMPT}.{number}": read_text(turn["content"]) for number, turn in enumerate(item.messages)}
        self.texts = {**self.turns, **self.answers}
        self.question = self.turns[f"{PROMPT}.{len(self.turns) - 1}"] if self.turns else _NO_TEXT
        self._around = self.question.text, tuple(item.tags), item.shown

    def critique(self, name: str) -> Text:
        """Return the critique that came before an answer, empty where none is known."""
        return read_text(self.item.critiques.get(name, ""))

    def around(self, name: str) -> Hashable:
        """Return what a filter of answers may look at besides the answer itself."""
        return self.item.critiques.get(name), self._around
