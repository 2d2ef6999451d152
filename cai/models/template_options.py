"""`--template-option key=value`: variables for a model's chat template, wherever it is rendered.

A value is read as JSON where it is some (`enable_thinking=false`, `budget=64`), else it is the text itself
(`reasoning_effort=low`). What cai says to a template itself, and secrets, are refused: options are written down.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cai.core.errors import ModelError
from cai.core.redaction import is_secret_name

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_OURS = re.compile(
    "add_generation_prompt|chat_template|continue_final_message|conversation|documents|max_length|messages|padding"
    "|return_.*|tokenize|tokenizer_kwargs|tools|truncation"
)
"""The conversation, and how transformers renders it."""


def read_template_options(options: Sequence[str]) -> dict[str, Any]:
    """Return the variables that `key=value` texts give; raises ModelError."""
    variables: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            example = "enable_thinking=false"
            raise ModelError(f"--template-option {name!r} is not of the form key=value, e.g. {example}")
        if is_secret_name(name):
            raise ModelError(f"--template-option {name} is a secret, and no chat template needs one: leave it out")
        if _OURS.fullmatch(name):
            raise ModelError(f"--template-option {name}: cai sets that; the template's own variables can be given")
        if name in variables:
            raise ModelError(f"--template-option {name} is given twice")
        variables[name] = _value(value)
    return variables


def told_variables(variables: Mapping[str, Any]) -> list[str]:
    """Return the variables as an engine's name has them: they change what a model says."""
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(variables.items())]


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(text: str) -> float:
    raise ValueError(text)
