"""Llamas with random weights in the shapes of Meta's, for measurements of speed: learned weights would not change it.

Shapes: config.json of Llama 3.2 1B and of Llama 3.1 8B. The tokenizer is the embedded model's, whose 2,048 tokens are
the first of the vocabulary: texts are longer in tokens than Llama's own would make them, the arithmetic is the same.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

from benchmarks.embedded.train import CHECKPOINT

_COMMON = {
    "vocab_size": 128_256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
SHAPES: Mapping[int, Mapping[str, int | bool | None]] = {
    1: _COMMON
    | {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    8: _COMMON
    | {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "tie_word_embeddings": False},
}
"""By billions of parameters."""


def write_llama(folder: Path, shape: Mapping[str, int | bool | None], device: str) -> int:
    """Write a model in bfloat16 with its tokenizer into the folder; returns its number of parameters."""
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for path in CHECKPOINT.glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(CHECKPOINT / "chat_template.jinja", folder)
    return int(model.num_parameters())
