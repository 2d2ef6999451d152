"""Chat templates of many shapes, all that TRL ships and some that people write, and a tokenizer for each."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    import trl

SHIPPED = {path.stem: path for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))}

_LARGE = 9_500  # characters
_TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_BRACKETS = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
)
_ALTERNATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)

MADE = {
    "turns": _TURNS,
    "no system turn": "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    + _TURNS,
    "system turn left out": _BRACKETS,
    "strict alternation": _ALTERNATE + _TURNS,
    "beginning of text printed": "{{ bos_token }}" + _TURNS,
    "system turn first": "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('a system turn comes first') }}{% endif %}{% endfor %}" + _TURNS,
    "system turn of its own": "{% if messages[0].role != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}"
    + _TURNS,
    "asks for no answer": _TURNS.partition("{% if add")[0],
    "space before the answer": _TURNS.replace("assistant\\n' }}{% endif", "assistant\\n ' }}{% endif"),
    "answers begin with a space": "{% for m in messages %}{{ m.role + ': ' + m.content + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
    "thinks": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    "{{ '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
    "thinks where asked": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' and "
    "m.thinking %}{{ '<think>' + m.thinking + '</think>' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "for tools alone": "{% if tools %}" + _TURNS + "{% endif %}",
    "needs tools": "{% for tool in tools %}{{ tool.name }}{% endfor %}{{ tools[0].name }}" + _TURNS,
    "closes nothing": "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
    "parts of text alone": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{{ part.text }}"
    "{% endfor %}<|im_end|>\n{% endfor %}",
    "broken": "{% for m in messages %}{{ m.content }",
}
"""Shapes by name."""

TEMPLATES = {**{name: path.read_text(encoding="utf-8") for name, path in SHIPPED.items()}, **MADE}

_SPECIAL = re.compile(r"<\|?[A-Za-z_:/]+\|?>|<\uff5c[^<>]+\uff5c>")


def by_size(templates: Mapping[str, str]) -> list[Any]:
    """Return the names as a test's parameters; what takes a second to be compiled is for the slow lane."""
    return [
        pytest.param(name, marks=pytest.mark.slow if len(template) > _LARGE else ())
        for name, template in templates.items()
    ]


def make_tokenizer(
    template: Any, *, bos: bool = False, pad: str | None = None, eos: str = "</s>", merges: bool = False
) -> Any:
    """Return a byte-level tokenizer that has a token for whatever the template has in angle brackets.

    With `bos` it puts <s> before every text, as Llama's does; `pad` is its padding token; with `merges` two line breaks
    are one token, as are a space and the letter behind it, so that texts can melt into what stands before them.
    """
    special = list(dict.fromkeys(["<unk>", "</s>", "<s>", eos, *_SPECIAL.findall(str(template))]))
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pairs = [("Ċ", "Ċ"), *(("Ġ", letter) for letter in "abcdefghijklmnopqrstuvwxyz")] if merges else []
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet, *map("".join, pairs)])}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(special)
    if bos:
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=eos, bos_token="<s>", pad_token=pad, chat_template=template
    )
