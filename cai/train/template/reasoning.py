"""What a chat template does with what was thought before an answer: under which name it prints it, how it is off."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from cai.core.errors import UsageError
from cai.models.template_check import RenderError
from cai.models.template_thinking import read_thinking
from cai.train.template.rendering import THOUGHTS, exchange, render_chat

_KEYS = ("reasoning_content", "thinking", "reasoning")


def find_key(tokenizer: PreTrainedTokenizerBase, template: str | None) -> str:
    """Return under which name the template prints what was thought before an answer; raises UsageError."""
    for key in () if template is None else _KEYS:
        try:
            if THOUGHTS[0] in render_chat(tokenizer, str(template), exchange(1, key))[0]:
                return key
        except RenderError:
            continue
    raise UsageError(
        "The chat template prints no reasoning before an answer, so none can be learned; leave --reasoning out, or "
        "train a model whose own template does."
    )


def thinking_off(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """Return what stands before the template so that it does not think unless it is told to; empty if nothing does."""

    def rendering(turns: Sequence[Mapping[str, Any]], prompt: bool, variables: Mapping[str, Any]) -> str:
        return render_chat(tokenizer, template, turns, prompt=prompt, **variables)[0]

    off = read_thinking(rendering, template).off
    return "".join(f"{{% set {name} = {name} | default({json.dumps(value)}) +%}}" for name, value in off.items())
