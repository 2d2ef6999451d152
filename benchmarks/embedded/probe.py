"""Asks the embedded model in batches: what measuring it needs, and nothing that a run of cai uses."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from benchmarks.embedded.tokenizer import load_tokenizer
from cai.core.records import Message

Conversation = Sequence[Message]
BATCH = 64


class Probe:
    """A checkpoint, open for measuring on this machine's CPU."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer = load_tokenizer(directory)
        self._model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def _encode(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        return [
            self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
            for messages in conversations
        ]

    def _padded(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, rows))
        tokens = torch.full((len(rows), longest), self._tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for place, row in enumerate(rows):
            tokens[place, longest - len(row) :] = torch.tensor(row)
            mask[place, longest - len(row) :] = 1
        return tokens, mask

    @torch.no_grad()
    def complete(self, conversations: Sequence[Conversation], *, greedy: bool = False, seed: int = 0) -> list[str]:
        """Return the next turn of each conversation, at temperature 1 unless `greedy`."""
        torch.manual_seed(seed)
        rows = self._encode(conversations)
        texts = [""] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            tokens, mask = self._padded([rows[place] for place in places])
            how = (
                {"do_sample": False, "temperature": None, "top_k": None}
                if greedy
                else {"do_sample": True, "temperature": 1.0, "top_k": 0}
            )
            made = self._model.generate(input_ids=tokens, attention_mask=mask, max_new_tokens=192, **how)
            decoded = self._tokenizer.batch_decode(made[:, tokens.shape[1] :], skip_special_tokens=True)
            for place, text in zip(places, decoded, strict=True):
                texts[place] = text
        return texts

    @torch.no_grad()
    def choose(self, conversations: Sequence[Conversation], options: tuple[str, str]) -> list[float]:
        """Return the probability of the first option against the second as each conversation's next token."""
        first, second = (self._tokenizer.convert_tokens_to_ids(option) for option in options)
        rows = self._encode(conversations)
        found = [0.0] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            tokens, mask = self._padded([rows[place] for place in places])
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            logits = self._model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1
            ).logits[:, -1]
            share = torch.softmax(logits[:, [first, second]], dim=1)[:, 0]
            for place, value in zip(places, share.tolist(), strict=True):
                found[place] = value
        return found
