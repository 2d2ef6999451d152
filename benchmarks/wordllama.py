"""A Llama with random weights that speaks in words and ends its texts, for measurements of speed.

Its layers are SmolLM2-135M's (huggingface.co/HuggingFaceTB/SmolLM2-135M, config.json), 106 million parameters; its
vocabulary is small, so that they are nearly all of it. Two things make its texts behave as a trained model's do:

- A token is a word, so that a text that it wrote becomes the tokens that it was, when it is read again.
- Its texts end, and are never empty: two channels of the hidden state are kept out of the layers' hands. One says the
  same after every word and the opposite where a turn opens, and the end token looks at it alone; so a text ends after
  each of its words with the same probability, about. The other never changes and keeps other special tokens away.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from benchmarks.prompts import WORDS
from cai.constitution import Constitution
from cai.core.records import Message
from cai.method.templates import Templates

_VOCABULARY = 2048
_SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|unknown|>")
_END, _ASSISTANT = 1, 4
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_WORD = r"\w+|[^\w\s]"
_TURNING, _STEADY = 0, 1  # channels
_NEVER = -20.0  # a weight on the steady channel that no token overcomes
_CALIBRATION = (16, 64)  # texts and words by which the end token's weight is found

SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
}


def vocabulary(constitution: Constitution) -> list[str]:
    """Return texts with every word of `write_prompts`' prompts and of what is asked about them under a constitution."""
    templates, texts = Templates.load(constitution.language), [*WORDS]
    for principle in constitution.principles:
        empty: list[Message] = [{"role": "user", "content": ""}]
        texts += [templates.critique(principle), templates.revision(principle)]
        texts.append(templates.judge(principle, empty, "", ""))
    return texts


def write_word_llama(
    folder: Path,
    texts: Sequence[str],
    mean_words: int,
    shape: Mapping[str, int | bool | None] = SHAPE,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> int:
    """Write the model, which knows the words of `texts`, into the folder; returns its number of parameters.

    Of `shape` the layers are taken; vocabulary and special tokens are this model's own.
    """
    tokenizer = _tokenizer(texts)
    torch.manual_seed(0)
    own = {"vocab_size": _VOCABULARY, "tie_word_embeddings": False}
    tokens = {"bos_token_id": None, "eos_token_id": _END, "pad_token_id": 0}
    config = transformers.LlamaConfig(**{**shape, **own, **tokens})
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        _let_end(model, mean_words)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def _tokenizer(texts: Sequence[str]) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of the texts' words, of single marks, and of invented words up to the vocabulary's size."""
    split = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    known = dict.fromkeys(word for text in texts for word, _ in split.pre_tokenize_str(text))
    words = [*_SPECIAL, *known][:_VOCABULARY]
    words += [f"word{number}" for number in range(_VOCABULARY - len(words))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token=_SPECIAL[-1]))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)  # no word begins so: a space between all of them
    tokenizer.add_special_tokens(list(_SPECIAL))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", unk_token=_SPECIAL[-1]
    )
    fast.chat_template = _TEMPLATE
    return fast


def _let_end(model: transformers.PreTrainedModel, mean_words: int) -> None:
    """Set the two channels, and the end token's weight so that it comes once in `mean_words` words on the average."""
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    channels = [_TURNING, _STEADY]
    embeddings[:, channels] = 1
    embeddings[_ASSISTANT, _TURNING] = -1
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[channels] = 0
        layer.mlp.down_proj.weight[channels] = 0
    head[:, channels] = 0
    head[: len(_SPECIAL)] = 0
    head[: len(_SPECIAL), _STEADY] = _NEVER
    words = torch.randint(len(_SPECIAL), _VOCABULARY, _CALIBRATION).to(model.device)
    states = model.model(words).last_hidden_state
    others = torch.logsumexp(model.lm_head(states).float(), -1)
    head[_END] = 0
    head[_END, _TURNING] = ((others - math.log(mean_words - 1)) / states[..., _TURNING]).mean()
