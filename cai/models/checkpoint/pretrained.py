"""Calls of transformers' loaders that can never run code out of a checkpoint.

A checkpoint may bring Python files of its own (`auto_map`). transformers runs them when it is told to, and where it is
not told anything it asks on the terminal. Here it is told no, always: a checkpoint that cannot do without its own code
is refused; one whose kind transformers knows is read with transformers' code. A test sees to it that nothing else in
cai calls a loader.
"""

from collections.abc import Callable
from typing import Any

from cai.core.errors import ModelError


def load_pretrained(loader: Callable[..., Any], source: Any, **options: Any) -> Any:
    """Return what `loader`, an Auto class's `from_pretrained` or `from_config`, makes of `source`.

    Raises ModelError for a checkpoint that needs code of its own, and whatever else the loader raises.
    """
    try:
        return loader(source, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        name = source if isinstance(source, str) else getattr(source, "name_or_path", "") or type(source).__name__
        raise ModelError(
            f"model {name} needs Python code that comes with it, which cai never runs: use a model of a kind that "
            "transformers knows itself, or a server and openai:"
        ) from error
