"""The kinds of adapters: the one table that command line, plan, learning rates, card and loop read.

An adapter begins as its base, so that DPO's policy begins as its reference: LoRA's and bottlenecks' outputs are zero at
first, (IA)³'s factors one. Prompts and prefixes cannot: whatever stands before a text is read. Dropout is left out:
with it, policy and reference would differ from the start.
"""

from typing import Any

from cai.train.adapters.configurations import bottleneck, factors, low_rank, prefix, prompt
from cai.train.adapters.descriptor import Adapter
from cai.train.settings import AdapterKind

_LOW_RANK: dict[str, Any] = {
    "build": low_rank,
    "size": "rank",
    "default": 16,
    "faster": 10.0,
    "most": 5e-3,
    "source": '"LoRA Without Regret", Thinking Machines, 2025; the cap measured on the embedded model',
    "folds": True,
    "quantizes": True,
}
_BOTTLENECK: dict[str, Any] = {
    "build": bottleneck,
    "size": "bottleneck",
    "default": 16,
    "faster": 10.0,
    "most": 5e-3,
    "source": "as lora",
    "bends": True,
}
_VIRTUAL: dict[str, Any] = {
    "size": "virtual_tokens",
    "default": 16,
    "source": "measured on the embedded model",
    "virtual": True,
}

ADAPTERS: dict[AdapterKind, Adapter] = {
    each.name: each
    for each in (
        Adapter(name="lora", description="two thin matrices beside every linear layer (arXiv 2106.09685)", **_LOW_RANK),
        Adapter(name="dora", description="LoRA with a length for every column (2402.09353)", **_LOW_RANK),
        Adapter(
            name="ia3",
            description="(IA)³: factors on keys, values and the feed-forward's inner activations (2205.05638)",
            build=factors,
            faster=100.0,
            most=5e-2,
            source="measured on the embedded model",
            folds=True,
        ),
        Adapter(
            name="houlsby",
            description="bottlenecks behind attention and feed-forward (1902.00751)",
            **_BOTTLENECK,
        ),
        Adapter(name="pfeiffer", description="a bottleneck behind the feed-forward (2005.00247)", **_BOTTLENECK),
        Adapter(
            name="prompt",
            description="prompt tuning: embeddings before the text (2104.08691)",
            build=prompt,
            faster=100.0,
            most=5e-2,
            **_VIRTUAL,
        ),
        Adapter(
            name="prefix",
            description="prefix tuning: keys and values before the text, in every layer (2101.00190)",
            build=prefix,
            faster=60.0,
            most=3e-2,
            checkpoints=False,
            **_VIRTUAL,
        ),
    )
}
"""All kinds by name."""
