"""Conversations as token ids and back, through one tokenizer and its chat template.

What every engine in this process needs: the prompt, how an option may be spelled behind it, what a turn thinks and
says, and whether it all fits. What somebody wrote never acts: where a text spells one of the tokenizer's special tokens
(`<|im_end|>`), the model reads these characters, and only the chat template ends a turn or begins one.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from cai.core.errors import ContextError, RequestError
from cai.core.records import Message
from cai.models.base import ThinkingMode
from cai.models.spelling import Spellings, spell
from cai.models.template_check import explain
from cai.models.template_thinking import QUESTION, TemplateThinking, read_thinking
from cai.models.thinking import TAGS, Split, Tags, closed_by, opened_by, split
from cai.models.turns import RefusedTurnsError, TurnFitter

_LEAST_ROOM = 16  # tokens: an answer shorter than this is not worth beginning
_FIRST_SEPARATOR = 0xF0000  # the first of Unicode's private characters, of which nearly every text has none
_REMEMBERED_CHOICES = 256


@dataclass(frozen=True, slots=True)
class Begun:
    """What stands behind a conversation before the model goes on: `tags` act as tags, `words` are only read."""

    tags: str = ""
    words: str = ""


NOTHING = Begun()


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
        self._turns = TurnFitter(lambda messages, _: self._render(messages, "auto"), say)
        self._variables = dict(variables or {})
        self._tokenizer = tokenizer
        self._spelled = lru_cache(_REMEMBERED_CHOICES)(self._spell)
        self._ends = lru_cache(None)(self._end)
        added = tokenizer.added_tokens_decoder
        special = {token.content: number for number, token in added.items() if token.special}
        acting = special.keys() | _marks({token.content for token in added.values()})
        # Within its first character no token can be cut, so one of a single character cannot be told apart.
        texts = sorted((text for text in acting if len(text) > 1), key=len)
        self._special = re.compile("|".join(f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in texts))
        marks = _marks(special)
        self._marks = frozenset(special[mark] for mark in marks)
        self._mark = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
        self._dropped = frozenset(special.values()) - self._marks

    @cached_property
    def thinking(self) -> TemplateThinking:
        """What the template says of thinking."""
        return read_thinking(self._apply, self._tokenizer.chat_template)

    def opened(self, mode: ThinkingMode) -> Tags | None:
        """Return the tags of the thought that prompts of this mode leave open at their end."""
        return opened_by(self._ends(mode))

    def closed(self, mode: ThinkingMode) -> bool:
        """Return whether prompts of this mode end in a thought that is closed: what follows is text."""
        return closed_by(self._ends(mode))

    def encode_prompt(
        self, messages: Sequence[Message], mode: ThinkingMode = "auto", behind: Begun = NOTHING
    ) -> list[int]:
        """Return the conversation up to where the model goes on; raises RequestError when the template refuses."""
        try:
            pieces = self._pieces(self._turns.fit(messages).turns, mode)
        except Exception as error:  # a template can raise whatever Python can
            reason = str(error) if isinstance(error, RefusedTurnsError) else explain(error)
            raise RequestError(
                f"the model's chat template refuses this conversation: {reason}", retryable=False
            ) from error
        return self._join([*pieces[:-1], *self._behind(pieces[-1], behind)])

    def encode_behind(self, behind: Begun) -> list[int]:
        """Return what is put behind tokens that the model wrote."""
        return self._join(self._behind("", behind))

    def tell_changes(self) -> None:
        """Tell the person in how many conversations turns were put otherwise, where there were any."""
        self._turns.tell()

    def decode(self, tokens: Sequence[int]) -> str:
        """Return what the tokens say, without special ones."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def decode_tags(self, tokens: Sequence[int]) -> str:
        """Return what the tokens say, without special ones but for those that tell thoughts from text."""
        if not self._marks:
            return self.decode(tokens)
        kept = [token for token in tokens if token not in self._dropped]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
        return text

    def read(self, tokens: Sequence[int], *, opened: bool = False) -> Split:
        """Return what a turn thinks and says; `opened` where its prompt opened the thought."""
        tagged = self.decode_tags(tokens)
        turn = split(tagged, opened)
        marks = sum(token in self._marks for token in tokens)
        if not marks or len(self._mark.findall(tagged)) > marks:  # or tokens spell one that is none
            return turn
        return turn._replace(text=self._mark.sub("", turn.text))

    def ends_in(self, tokens: Sequence[int], texts: Sequence[str]) -> bool:
        """Return whether what the tokens say at their end has one of the texts in it, one that has just come."""
        longest = max(len(text.encode()) for text in texts)
        said = self.decode_tags(tokens[-longest - 2 :])
        return any(text in said for text in texts)

    def spell(self, options: Sequence[str], mode: ThinkingMode = "auto", behind: Begun = NOTHING) -> Spellings:
        """Return how the options may be spelled behind a prompt that ends so; raises ModelError, see `spell`."""
        return self._spelled(tuple(options), mode, behind)

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

    def _pieces(self, messages: Sequence[Message], mode: ThinkingMode) -> list[str]:
        """Return the rendered conversation, cut inside whatever a message spells like a special token."""
        if not self._special.pattern or not any(self._special.search(message["content"]) for message in messages):
            return [self._render(messages, mode)]
        written = "".join(message["content"] for message in messages)
        separator = next(char for char in map(chr, range(_FIRST_SEPARATOR, 0x110000)) if char not in written)
        cut: list[Message] = [
            {"role": message["role"], "content": self._special.sub(rf"\g<0>{separator}", message["content"])}
            for message in messages
        ]
        return self._render(cut, mode).split(separator)

    def _behind(self, last: str, behind: Begun) -> list[str]:
        """Return the last piece with what stands behind it, cut likewise."""
        if not behind.words or not self._special.pattern:
            return [last + behind.tags + behind.words]
        ends = [0, *(match.end() for match in self._special.finditer(behind.words)), len(behind.words)]
        words = [behind.words[start:end] for start, end in pairwise(ends)]
        return [last + behind.tags + words[0], *words[1:]]

    def _render(self, messages: Sequence[Message], mode: ThinkingMode) -> str:
        more = {} if mode == "auto" else self.thinking.variables(mode)
        return self._apply(messages, True, more)

    def _apply(self, messages: Sequence[Mapping[str, Any]], prompt: bool, variables: Mapping[str, Any]) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=prompt, **{**self._variables, **variables}
        )
        return text

    def _end(self, mode: ThinkingMode) -> str:
        """Return a prompt, to see how prompts end."""
        try:
            return self._render([QUESTION], mode)
        except Exception:  # a template can raise whatever Python can, and says so where a conversation is at hand
            return ""

    def _join(self, pieces: Sequence[str]) -> list[int]:
        return [token for piece in pieces for token in self._encode(piece)]

    def _encode(self, text: str) -> list[int]:
        # Never with padding=True: the Rust tokenizer would go on padding every later call.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids

    def _spell(self, options: tuple[str, ...], mode: ThinkingMode, behind: Begun) -> Spellings:
        before = self._ends(mode) + behind.tags + behind.words
        return spell(self._encode, self._names, self._ordinary, before, options)

    def _names(self, tokens: Sequence[int]) -> list[str]:
        names: list[str] = self._tokenizer.convert_ids_to_tokens(list(tokens))
        return names

    def _ordinary(self) -> dict[str, int]:
        added = self._tokenizer.added_tokens_decoder
        return {word: token for word, token in self._tokenizer.get_vocab().items() if token not in added}


def _marks(tokens: Collection[str]) -> set[str]:
    """Return those of the tokens that are tags, or stand in some in whose opening one there is another of them."""
    marks: set[str] = set()
    for tags in TAGS:
        if any(len(text) > 1 and text in tags.opening for text in tokens):
            marks.update(text for text in tokens if text in tags.opening or text in tags.closing)
    return marks
