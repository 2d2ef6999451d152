"""Contextual embeddings of a text's tokens, from one layer of a model; it blocks while it reads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cai.models.checkpoint.pretrained import open_encoder, open_tokenizer, quiet
from cai.models.local.loading import torch_device

_DEPTH = 0.72
"""Of the layers, the share that a text goes through: 9 of 12 and 17 of 24, which BERTScore's authors chose by agreement
with people for BERT base and RoBERTa large (1904.09675, appendix B)."""
_LONGEST = 512


class EmbeddingModel:
    """An open encoder, or a language model as one; `name` and `layer` say what the embeddings are."""

    def __init__(self, name: str, device: str = "auto") -> None:
        """Load a directory or a hub id; raises ModelError when it cannot be."""
        place = torch_device(device)
        with quiet():
            self._tokenizer: Any = open_tokenizer(name)
            self._model: Any = open_encoder(name)
        self._model = self._model.to(place).eval().requires_grad_(False)
        layers = self._model.config.get_text_config().num_hidden_layers
        self.name, self.layer = name, max(1, round(_DEPTH * layers))
        longest = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._longest = min(_LONGEST, longest or _LONGEST) - 2  # RoBERTa counts its positions from two

    def embed(self, text: str) -> Tensor:
        """Return the text's embeddings, of length one, of shape (tokens, width); special tokens have none.

        Of a long text they are those of its beginning; of an empty one there are none.
        """
        read = self._tokenizer(
            text, truncation=True, max_length=self._longest, return_special_tokens_mask=True, return_tensors="pt"
        )
        special = read.pop("special_tokens_mask")[0].bool()
        if not read["input_ids"].shape[1]:
            return torch.zeros((0, 1))
        inputs = {name: read[name].to(self._model.device) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            states = self._model(**inputs, output_hidden_states=True).hidden_states[self.layer][0]
        return torch.nn.functional.normalize(states.float(), dim=-1).cpu()[~special]


def match(candidate: Tensor, reference: Tensor) -> tuple[float, float, float]:
    """Return precision, recall and F1 of greedy matching (1904.09675, section 3), each token counting alike.

    Precision is how similar (cosine) a candidate's token is to the reference's most similar one, on average; recall is
    the other way round. Law: swapping the texts swaps precision and recall. Where either is empty all are 0.
    """
    if not len(candidate) or not len(reference):
        return 0.0, 0.0, 0.0
    similar = candidate @ reference.T
    precision, recall = float(similar.amax(dim=1).mean()), float(similar.amax(dim=0).mean())
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def best_match(embedded: Tensor, references: Sequence[Tensor]) -> tuple[float, float, float]:
    """Return precision, recall and F1 beside the reference with the highest F1."""
    return max((match(embedded, reference) for reference in references), key=lambda found: found[2])
