"""How fluent answers are: a language model's log-probabilities of their tokens, behind the question that they answer.

An answer's fluency is the mean log-probability, in nats a token, of the 30 tokens in a row that the model expects
least. Word salad has such a run wherever it begins; the mean over a whole answer hides one behind fluent sentences
(docs/quality.md has both, measured). Of an answer of fewer tokens nothing is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cai.core.records import Message
from cai.models.checkpoint.adapters import apply_adapter
from cai.models.checkpoint.pretrained import open_tokenizer, open_weights, quiet
from cai.models.checkpoint.resolve import Checkpoint

_SETTLED = 3
"""Tokens at the beginning of an answer that are not counted: what an answer begins with, nobody can expect."""
_PROMPT, _ANSWER = 256, 512
"""Tokens that are read: the last of a question, the first of an answer."""
_TOGETHER = 1024
"""Tokens that go through the model at once; each takes as many logits as the vocabulary has words."""


@dataclass(frozen=True, slots=True)
class LeastFluent:
    """The least expected run of an answer: its mean log-probability, in nats a token, and its place in characters."""

    log_probability: float
    start: int
    end: int


class FluencyModel:
    """A language model that is open to read answers; it blocks while it reads."""

    def __init__(self, name: str, device: torch.device, run: int) -> None:
        """Load the directory, the hub id or `BASE+ADAPTER`; raises ModelError when it is none.

        `run` is how many tokens in a row are looked at.
        """
        self._run = run
        checkpoint = Checkpoint.resolve(name)
        with quiet():
            self._tokenizer: Any = open_tokenizer(checkpoint.tokenizer)
            model = open_weights(checkpoint.base)
            if checkpoint.adapter is not None:
                model = apply_adapter(model, checkpoint.adapter)
        self._model = model.to(device).eval().requires_grad_(False)
        self.name = checkpoint.label

    def read(self, answers: Sequence[tuple[Sequence[Message], str]]) -> list[LeastFluent | None]:
        """Return of each answer to a prompt its least fluent run, None where it is too short."""
        found: list[LeastFluent | None] = [None] * len(answers)
        encoded = [self._encode(prompt, answer) for prompt, answer in answers]
        long = [place for place, (_, tokens, _) in enumerate(encoded) if len(tokens) >= self._run + _SETTLED]
        long.sort(key=lambda place: len(encoded[place][0]) + len(encoded[place][1]))
        for batch in self._batches(long, encoded):
            rows = self._log_probabilities([encoded[place][:2] for place in batch])
            for place, row in zip(batch, rows, strict=True):
                found[place] = _least(row, encoded[place][2], self._run)
        return found

    def _encode(self, prompt: Sequence[Message], answer: str) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Return the tokens of the prompt's last turn, as the model is asked, and of the answer, with their places."""
        question = list(prompt[-1:])
        if question and self._tokenizer.chat_template is not None:
            text = str(self._tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True))
        else:
            text = "".join(f"{turn['content']}\n\n" for turn in question)
        before: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][-_PROMPT:]
        fast = self._tokenizer.is_fast
        said = self._tokenizer(answer, add_special_tokens=False, verbose=False, return_offsets_mapping=fast)
        tokens: list[int] = said["input_ids"][:_ANSWER]
        places = said["offset_mapping"] if fast else [(0, len(answer))] * len(tokens)
        return before or [self._tokenizer.bos_token_id or self._tokenizer.eos_token_id or 0], tokens, places

    @staticmethod
    def _batches(order: Sequence[int], encoded: Sequence[tuple[list[int], list[int], Any]]) -> list[list[int]]:
        """Cut the order, shortest first, where a padded batch would grow too large."""
        batches: list[list[int]] = []
        for place in order:
            width = len(encoded[place][0]) + len(encoded[place][1])
            if not batches or (len(batches[-1]) + 1) * width > _TOGETHER:
                batches.append([])
            batches[-1].append(place)
        return batches

    def _log_probabilities(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[torch.Tensor]:
        """Return the log-probability of every token of the second of each two, behind the first."""
        width = max(len(before) + len(said) for before, said in rows)
        tokens = torch.zeros((len(rows), width), dtype=torch.long, device=self._model.device)
        mask = torch.zeros_like(tokens)
        for place, (before, said) in enumerate(rows):
            tokens[place, : len(before) + len(said)] = torch.tensor([*before, *said])
            mask[place, : len(before) + len(said)] = 1
        with torch.inference_mode():
            logits = self._model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        found = []
        for row, (before, said) in zip(logits, rows, strict=True):
            own = row[len(before) - 1 : len(before) + len(said) - 1].float()
            chosen = own.gather(1, torch.tensor(said, device=own.device)[:, None])[:, 0]
            found.append((chosen - own.logsumexp(dim=1)).cpu())
        return found


def _least(row: torch.Tensor, places: Sequence[tuple[int, int]], run: int) -> LeastFluent:
    means = row[_SETTLED:].unfold(0, run, 1).mean(dim=1)
    first = int(means.argmin()) + _SETTLED
    return LeastFluent(float(means.min()), places[first][0], places[first + run - 1][1])
