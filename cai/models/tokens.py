"""How many tokens a conversation is, counted without the model: only its tokenizer is loaded, never its weights.

| spec | counted as |
|---|---|
| `tiny`, `transformers:MODEL`, `vllm:MODEL` | the model's own tokenizer and chat template do |
| `openai:…` | 4 bytes of UTF-8 a token (so many letters of English, fewer of Korean), 4 tokens a turn: roughly |
| `scripted` | words, which are that engine's tokens |
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from cai.core.records import Message, RoleName
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.conversation import ChatTokenizer
from cai.models.template_check import check_template

BYTES_PER_TOKEN = 4
TOKENS_PER_TURN = 4
_REMEMBERED_TEXTS = 4096


class TokenCounter(Protocol):
    """Counts the tokens of requests to one model."""

    @property
    def basis(self) -> str:
        """What the count rests on, as half a sentence for people."""

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a request, chat template included; raises RequestError when the template refuses it."""


class WordCounter:
    """Counts the scripted engine's tokens: words between white space."""

    basis = "tokens are the scripted engine's words"

    def count(self, messages: Sequence[Message]) -> int:
        """Return the words."""
        return sum(len(message["content"].split()) for message in messages)


class ByteCounter:
    """Counts for a server, whose tokenizer is not known here."""

    basis = f"a server's tokens are not known here: taken as {BYTES_PER_TOKEN} bytes each, and {TOKENS_PER_TURN} a turn"

    def count(self, messages: Sequence[Message]) -> int:
        """Return bytes by four, rounded up for each turn, and what is around a turn."""
        return sum(-(-len(message["content"].encode()) // BYTES_PER_TOKEN) + TOKENS_PER_TURN for message in messages)


class TemplateCounter:
    """Counts with a tokenizer of transformers that has a chat template.

    A request's count is the sum of its texts' and of what the template puts around turns of these roles. That is exact
    where special tokens stand around every text, and a token off in places where a text melts into the template; in
    return each text is tokenized once, in however many requests it appears.
    """

    basis = "tokens are counted by the model's own tokenizer and chat template"

    def __init__(self, tokenizer: Any, variables: Mapping[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._chat = ChatTokenizer(tokenizer, None, variables)
        self._text = lru_cache(_REMEMBERED_TEXTS)(self._encoded)
        self._around = lru_cache(_REMEMBERED_TEXTS)(self._template)

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of the texts and of the template around them."""
        return self._around(tuple(message["role"] for message in messages)) + sum(
            self._text(message["content"]) for message in messages
        )

    def _encoded(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _template(self, roles: tuple[RoleName, ...]) -> int:
        turns: list[Message] = [{"role": role, "content": "?"} for role in roles]
        return len(self._chat.encode_prompt(turns)) - len(roles) * self._text("?")


def open_template_counter(model: str, variables: Mapping[str, Any] | None = None) -> TemplateCounter:
    """Return the counter of a directory, hub id or `BASE+ADAPTER`; raises ModelError when it has no tokenizer.

    `variables` are for the chat template.
    """
    place = Checkpoint.resolve(model).tokenizer  # a mistake is told at once
    from cai.models.checkpoint.pretrained import open_tokenizer  # noqa: PLC0415  (optional, and seconds to import)

    tokenizer = open_tokenizer(place)
    check_template(tokenizer, model, variables)
    return TemplateCounter(tokenizer, variables)
