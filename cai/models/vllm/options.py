"""`--engine-option key=value`: vLLM's own engine arguments, checked by vLLM's own parser.

Keys are the fields of `AsyncEngineArgs` with dashes (`max-model-len`, `compilation-config.mode` for one key inside a
mapping), values are spelled as after `vllm serve --key`; `true` and `false` switch what is on or off.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from vllm import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

from cai.core.errors import ModelError

OURS = frozenset(
    {
        "enable-lora",
        "max-lora-rank",
        "max-loras",
        "model",
        "tokenizer",
        "trust-remote-code",  # never
        "worker-extension-cls",
    }
)
"""What the engine sets itself, most of it from the model's name."""

SAME_ANSWERS = frozenset(
    {
        "async-scheduling",
        "block-size",
        "compilation-config",
        "cudagraph-capture-sizes",
        "data-parallel-size",
        "disable-custom-all-reduce",
        "distributed-executor-backend",
        "download-dir",
        "dtype",  # stands in the name anyway, as vLLM resolved it
        "enable-chunked-prefill",
        "enable-prefix-caching",
        "enforce-eager",
        "gpu-memory-utilization",
        "kv-cache-memory-bytes",
        "max-cudagraph-capture-size",
        "max-model-len",
        "max-num-batched-tokens",
        "max-num-seqs",
        "max-parallel-loading-workers",
        "pipeline-parallel-size",
        "tensor-parallel-size",
        "use-tqdm-on-load",
    }
)
"""Where and how fast a model runs, not what it says. Every other option becomes a part of the engine's name."""


def read_options(options: Sequence[str]) -> dict[str, str]:
    """Return `key=value` texts as a mapping; a key has dashes. Raises ModelError when one is not of that form."""
    values: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        key = key.strip().lstrip("-").replace("_", "-")
        if not equals or not key:
            raise ModelError(f"--engine-option {option!r} is not of the form key=value, e.g. max-model-len=4096")
        if key in values:
            raise ModelError(f"--engine-option {key} is given twice")
        values[key] = value.strip()
    return values


def engine_arguments(values: dict[str, str]) -> dict[str, Any]:
    """Return the options as arguments of `AsyncEngineArgs`; raises ModelError for what vLLM does not take."""
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(AsyncEngineArgs)} - OURS
    for key in values:
        name = key.partition(".")[0]
        if name in OURS:
            raise ModelError(f"--engine-option {name}: cai sets that; the model's name says it (vllm:BASE+ADAPTER)")
        if name not in fields:
            near = difflib.get_close_matches(name, sorted(fields), n=1)
            hint = f"did you mean {near[0]}?" if near else "`vllm serve --help=all` lists them"
            raise ModelError(f"--engine-option {name}: this vLLM has no such option; {hint}")
    parser = AsyncEngineArgs.add_cli_args(_Parser(add_help=False))
    parsed = parser.parse_args([_flag(key, value) for key, value in values.items()])
    return {name: getattr(parsed, name) for name in (key.partition(".")[0].replace("-", "_") for key in values)}


def _flag(key: str, value: str) -> str:
    if value.lower() in ("true", "false"):
        return f"--{key}" if value.lower() == "true" else f"--no-{key}"
    return f"--{key}={value}"


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    """vLLM's parser, which says what is wrong instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Raise ModelError with the parser's own words."""
        raise ModelError(f"--engine-option: vLLM says: {message}")
