"""Conversations as token ids and back, through one tokenizer and its chat template.

What every engine in this process needs: the prompt, how an option may be spelled behind it, and whether it all fits.
What somebody wrote never acts: where a text spells one of the tokenizer's special tokens (`<|im_end|>`), the model
reads these characters, and only the chat template ends a turn or begins one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cai.core.errors import ContextError, ModelError, RequestError
from cai.core.records import Message
from cai.models.scoring import Spelling
from cai.models.template_check import explain
from cai.models.turns import RefusedTurnsError, TurnFitter

_LEAST_ROOM = 16  # tokens: an answer shorter than this is not worth beginning
_FIRST_SEPARATOR = 0xF0000  # the first of Unicode's private characters, of which nearly every text has none


class ChatTokenizer:
    """One tokenizer with a chat template and its `variables`, and the model's `context_length` (None: not told).

    `say` tells a person of turns that the template refuses and that are put otherwise, see `cai.models.turns`.
    """

    def __init__(
        self,
        tokenizer: Any,
        context_length: int | None,
        variables: Mapping[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.context_length = context_length
        self._turns = TurnFitter(lambda messages, _: self._render(messages), say)
        self._variables = dict(variables or {})
        self._tokenizer = tokenizer
        self._spellings: dict[str, list[Spelling]] = {}
        special = sorted((token.content for token in tokenizer.added_tokens_decoder.values() if token.special), key=len)
        # Within its first character no token can be cut, so one of a single character cannot be told apart.
        self._special = re.compile("|".join(f"{re.escape(s[0])}(?={re.escape(s[1:])})" for s in special if len(s) > 1))

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the conversation up to where the assistant begins; raises RequestError when the template refuses."""
        try:
            turns = self._turns.fit(messages).turns
            return [token for piece in self._pieces(turns) for token in self._encode(piece)]
        except Exception as error:  # a template can raise whatever Python can
            reason = str(error) if isinstance(error, RefusedTurnsError) else explain(error)
            raise RequestError(
                f"the model's chat template refuses this conversation: {reason}", retryable=False
            ) from error

    def tell_changes(self) -> None:
        """Tell the person in how many conversations turns were put otherwise, where there were any."""
        self._turns.tell()

    def decode(self, tokens: Sequence[int]) -> str:
        """Return what the tokens say, without special ones."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def spell(self, options: Sequence[str]) -> list[list[Spelling]]:
        """Return each option's spellings as the beginning of a turn; raises ModelError when two share one."""
        spelled = [self._spell(option) for option in options]
        if len({spelling for spellings in spelled for spelling in spellings}) < sum(map(len, spelled)):
            raise ModelError(f"the options {list(options)} are spelled alike: a choice needs different ones")
        return spelled

    def room(self, prompt: int, wanted: int, least: int = _LEAST_ROOM) -> int:
        """Return how many of the wanted tokens fit behind the prompt; raises ContextError when it is too few."""
        if self.context_length is None:
            return wanted
        left = self.context_length - prompt
        if left < min(wanted, least) or left < 1:
            raise ContextError(
                f"the prompt's {prompt} tokens leave no room in the model's context of {self.context_length}"
            )
        return min(wanted, left)

    def _pieces(self, messages: Sequence[Message]) -> list[str]:
        """Return the rendered conversation, cut inside whatever a message spells like a special token."""
        if not self._special.pattern or not any(self._special.search(message["content"]) for message in messages):
            return [self._render(messages)]
        written = "".join(message["content"] for message in messages)
        separator = next(char for char in map(chr, range(_FIRST_SEPARATOR, 0x110000)) if char not in written)
        cut: list[Message] = [
            {"role": message["role"], "content": self._special.sub(rf"\g<0>{separator}", message["content"])}
            for message in messages
        ]
        return self._render(cut).split(separator)

    def _render(self, messages: Sequence[Message]) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **self._variables
        )
        return text

    def _encode(self, text: str) -> list[int]:
        # Never with padding=True: the Rust tokenizer would go on padding every later call.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids

    def _spell(self, option: str) -> list[Spelling]:
        """Return the token sequences that spell `option` as the beginning of a turn, with and without a space.

        They are read off behind a stock prompt, because a tokenizer may spell a word otherwise at a text's beginning;
        where its last token and the option's first would melt into one, the option is spelled by itself.
        """
        if option not in self._spellings:
            before = self._render([{"role": "user", "content": "?"}])
            prefix = self._encode(before)
            found: dict[Spelling, None] = {}
            for text in (option, f" {option}"):
                ids = self._encode(before + text)
                tail = ids[len(prefix) :] if ids[: len(prefix)] == prefix else self._encode(text)
                if tail:
                    found[tuple(tail)] = None
            self._spellings[option] = list(found)
        return self._spellings[option]
