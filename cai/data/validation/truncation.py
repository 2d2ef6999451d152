"""What training at a length cuts off: answers that then end in the middle, and pairs whose answers are then the same.

Counted as training cuts: prompt and answer in the chat template of a tokenizer, the first `length` tokens of both. Two
answers that only differ behind them teach nothing; of UltraFeedback's pairs those are 7 % at 512 tokens (rlhf-book,
issue 504).
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cai.core.counts import counted
from cai.core.records import Message
from cai.data.validation.descriptor import Found
from cai.data.validation.items import CheckedItem
from cai.data.validation.shares import share
from cai.models.turns import RefusedTurnsError, TurnFitter


@dataclass(slots=True)
class Truncation:
    """What does not fit into `length` tokens, of so many `examples` with an answer.

    `cut` have an answer whose end is cut off, and in `full` the prompt alone leaves no room for one. `same` are the
    numbers of pairs, of none of these prompts, whose answers are the same once they are cut. Nothing is known of
    `refused` conversations, which the chat template takes in no form.
    """

    length: int
    examples: int = 0
    cut: int = 0
    full: int = 0
    refused: int = 0
    same: "array[int]" = field(default_factory=lambda: array("Q"))


class Truncator:
    """Cuts examples with one tokenizer, of transformers.

    Without a chat template turns stand one after the other. A text without a prompt is in no template.
    """

    def __init__(self, tokenizer: Any, length: int) -> None:
        self._tokenizer = tokenizer
        self._turns = TurnFitter(self._render)
        self.found = Truncation(length)

    def add(self, items: Sequence[CheckedItem], number: int) -> None:
        """Take in more examples, of which `number` is the first."""
        for place, item in enumerate(items):
            if item.answers:
                self._count(item, number + place)

    def _count(self, item: CheckedItem, number: int) -> None:
        found = self.found
        found.examples += 1
        try:
            cut = [self._tokens([*item.prompt, {"role": "assistant", "content": one}]) for one in item.answers]
            if not any(cut):
                return
            prompt = self._tokens(item.prompt, prompt=True) if item.prompt else None
        except RefusedTurnsError:
            found.refused += 1
            return
        if prompt is not None:
            found.full += 1
            return
        found.cut += 1
        if len(cut) > 1 and cut[0] == cut[1]:
            found.same.append(number)

    def _tokens(self, messages: Sequence[Message], *, prompt: bool = False) -> list[int] | None:
        """Return the first tokens of a conversation that does not fit, None of one that does.

        A prompt that only just fits leaves no room either.
        """
        length = self.found.length
        limit = length - 1 if prompt else length
        text = messages[0]["content"]
        if len(messages) > 1 or prompt:
            text = self._render(self._turns.fit(messages).turns, prompt)
        # A token has one byte or more; so most texts need no tokenizer.
        if len(text) * 4 <= limit or len(text.encode("utf-8", "surrogatepass")) <= limit:
            return None
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tokens[:length] if len(tokens) > limit else None

    def _render(self, messages: Sequence[Message], prompt: bool) -> str:
        if self._tokenizer.chat_template is None:
            return "\n\n".join(message["content"] for message in messages)
        text: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
        return text


def cut_share(truncation: Truncation | None) -> Found | None:
    """Return the share of examples whose answer does not fit; None where nothing was cut to a length."""
    if truncation is None or not truncation.examples:
        return None
    found, length = truncation, f"{truncation.length:,} tokens"
    told = []
    if found.cut:
        told.append(f"{found.cut:,} answers are cut off at {length}")
    if found.full:
        told.append(f"{found.full:,} prompts leave no room for an answer in {length}")
    details = {"prompts that leave no room": float(found.full), "refused by the template": float(found.refused)}
    shown = {name: count for name, count in details.items() if count}
    return share(found.cut + found.full, found.examples, details=shown, sentence=" and ".join(told) or None)


def same_share(truncation: Truncation | None) -> Found | None:
    """Return the share of pairs whose answers are the same once they are cut."""
    if truncation is None or not truncation.examples:
        return None
    count, sentence = len(truncation.same), None
    if count:
        sentence = f"the answers of {counted(count, 'pair')} are the same in their first {truncation.length:,} tokens"
    return share(count, truncation.examples, sentence=sentence)
