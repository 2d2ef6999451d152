"""A language model that reads: how likely it finds each token of a text, and every other token in its place.

Unlike an engine it writes nothing, and unlike a choice it says everything: whole distributions, for perplexities and
divergences. It is loaded anew, beside whatever else is open, and blocks while it reads.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch

from cai.core.errors import RequestError
from cai.core.records import Message
from cai.models.checkpoint.adapters import apply_adapter
from cai.models.checkpoint.pretrained import open_tokenizer, open_weights, quiet, require_rows
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.conversation import ChatTokenizer
from cai.models.local.loading import torch_device, torch_dtype

WINDOW = 1024
"""Tokens that are read at once, at most; each takes as many logits as the vocabulary has words."""


def open_plain(name: str, device: str, dtype: str) -> tuple[Any, Any, str]:
    """Return a checkpoint's model as transformers has it, its tokenizer, and what names its weights.

    It has its adapter. Raises ModelError when `name` is no directory, hub id or `BASE+ADAPTER`.
    """
    place = torch_device(device)
    checkpoint = Checkpoint.resolve(name)
    with quiet():
        tokenizer: Any = open_tokenizer(checkpoint.tokenizer)
        model: Any = open_weights(checkpoint.base, dtype=torch_dtype(dtype, place))
        if checkpoint.adapter is not None:
            model = apply_adapter(model, checkpoint.adapter)
    require_rows(tokenizer, model.get_input_embeddings().weight.shape[0], name)
    return model.to(place).eval().requires_grad_(False), tokenizer, checkpoint.label


class ReadingModel:
    """An open checkpoint; `name` is what names its weights, `window` how many tokens it reads at once."""

    def __init__(self, name: str, device: str = "auto", dtype: str = "auto") -> None:
        """Load the directory, the hub id or `BASE+ADAPTER`; raises ModelError when it is none."""
        self._model, self._tokenizer, self.name = open_plain(name, device, dtype)
        length = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self.window = min(WINDOW, length or WINDOW)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Its tokens and their numbers: models of one vocabulary can be compared token by token."""
        found: dict[str, int] = self._tokenizer.get_vocab()
        return found

    def encode_text(self, text: str) -> tuple[list[int], list[int]]:
        """Return what stands before a text, and the text's tokens.

        Before it is the token that begins texts, or else the one that ends them; a tokenizer that has neither makes the
        text's own first token that, and nothing is said of it.
        """
        tokens = self._tokens(text)
        ends = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
        first = next((token for token in ends if token is not None), None)
        return ([first], tokens) if first is not None else (tokens[:1], tokens[1:])

    def encode_answer(self, messages: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
        """Return a conversation's tokens, up to where the assistant begins, and the answer's.

        Raises RequestError when the chat template refuses the conversation.
        """
        return ChatTokenizer(self._tokenizer, None).encode_prompt(messages), self._tokens(answer)

    def log_probabilities(
        self, before: Sequence[int], tokens: Sequence[int], window: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Yield, one stretch of the tokens after the other, the log-probability of every token in each place.

        Of shape (places, vocabulary), in nats. A stretch is half a window, read behind as much of what comes before it
        as the window holds; `window` is this model's own, or a smaller one. Raises RequestError when the model says no
        number.
        """
        window = window or self.window
        whole = [*before, *tokens]
        for start in range(len(before), len(whole), window // 2):
            end = min(len(whole), start + window // 2)
            first = max(0, end - window)
            read = torch.tensor([whole[first:end]], device=self._model.device)
            with torch.inference_mode():
                logits = self._model(input_ids=read, use_cache=False).logits[0]
            found = logits[start - first - 1 : -1, : self._width].float().log_softmax(dim=-1).cpu()
            if not bool(torch.isfinite(found.amax(dim=-1)).all()):
                raise RequestError(f"{self.name} gave logits that are no numbers", retryable=False)
            yield found

    @cached_property
    def _width(self) -> int:
        """Logits that belong to tokens: an embedding may have more rows."""
        return max(self.vocabulary.values()) + 1

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found
