"""A model that writes what it was told to write, token by token, under a chat template of the test's choice."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.embedded.tokenizer import load_tokenizer
from cai.models import TINY
from cai.models.conversation import ChatTokenizer
from cai.models.scoring import Spelling
from cai.models.token_engine import Drawing, Drawn, TokenEngine

TURNS = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\n{% endfor %}"
BEGIN = "{% if add_generation_prompt %}<|assistant|>\n"
PLAIN = TURNS + BEGIN + "{% endif %}"
OPENING = TURNS + BEGIN + "<think>\n{% endif %}"
SWITCHED = (
    TURNS + BEGIN + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% elif messages[-1].reasoning_content %}<think>{{ messages[-1].reasoning_content }}</think>{% endif %}"
)
"""As Qwen3's: it thinks unless told not to, and opens its thought itself."""

KNOWING = (
    TURNS
    + BEGIN
    + ("{% elif messages[-1].reasoning_content %}<think>{{ messages[-1].reasoning_content }}</think>{% endif %}")
)
"""It knows thoughts and has no switch: whether the model thinks, only the model knows."""


def tokenizer(template: str, special: Sequence[str] = ()) -> Any:
    """Return the embedded model's tokenizer with another template and more special tokens."""
    made = load_tokenizer(TINY)
    if special:
        made.add_special_tokens({"additional_special_tokens": list(special)})
    made.chat_template = template
    return made


class TellingEngine(TokenEngine):
    """Goes on with what `says` returns for the prompt's text, in which `tells` is the turn so far.

    Its choices are as sure: a path has the probability 1 where the turn goes on with it, else 0. `drawings` are all
    that were asked for.
    """

    name, concurrency = "telling", 8

    def __init__(
        self, made: Any, says: Callable[[str], str], context_length: int | None = None, end: str = "<|end|>"
    ) -> None:
        super().__init__(ChatTokenizer(made, context_length))
        self.context_length = context_length
        self.drawings: list[Drawing] = []
        self.scored = 0
        self._tokenizer, self._says, self._end = made, says, made.convert_tokens_to_ids(end)

    async def _draw(self, drawing: Drawing) -> Drawn:
        self.drawings.append(drawing)
        tokens: list[int] = []
        for token in self._next(drawing.prompt):
            if token == self._end:
                return Drawn(tokens, ended=True, count=len(tokens) + 1, cached=0)
            tokens.append(token)
            if len(tokens) == drawing.limit or (drawing.until and self._chat.ends_in(tokens, drawing.until)):
                break
        return Drawn(tokens, ended=False, count=len(tokens), cached=0)

    async def _score(self, prompt: list[int], spellings: Sequence[Spelling]) -> tuple[dict[Spelling, float], int]:
        self.scored += 1
        follows = self._next(prompt)
        return {path: float(tuple(follows[: len(path)]) == path) for path in spellings}, 0

    async def close(self) -> None:
        """Nothing is held."""

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, special ones included."""
        said: str = self._tokenizer.decode(tokens)
        return said

    def _next(self, prompt: list[int]) -> list[int]:
        turn = self.text(prompt).rsplit("<|assistant|>\n", 1)[1]
        ids: list[int] = self._tokenizer.encode(self._says(turn) + "<|end|>", add_special_tokens=False)
        return ids
