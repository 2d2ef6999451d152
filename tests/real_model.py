"""The real model that `make test-real` installs and converts, and real dialogues to ask it."""

import json
from pathlib import Path

from cai.models.base import Request, Sampling

_ROOT = Path(__file__).parent.parent
MODEL = _ROOT / ".venv" / "smollm2"
"""SmolLM2-135M-Instruct in the usual form, from the package's GGUF file."""

PAIRS = _ROOT / "tests" / "data" / "hh_excerpt.jsonl"
"""Twelve pairs of Anthropic's HH-RLHF; tests/data/hh_excerpt.LICENSE."""

READY = MODEL.is_dir()
WHY_NOT = "no real model here: make test-real installs it"


def greedy_requests(count: int, tokens: int) -> list[Request]:
    """Return requests whose answers are the same in every backend, up to ties."""
    rows = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    return [
        Request(tuple(row["prompt"]), Sampling(temperature=0.0, max_tokens=tokens), seed=number)
        for number, row in enumerate(rows[:count])
    ]


def common_start(one: str, other: str) -> int:
    """Return how many words two texts begin with alike: greedy texts differ from where two tokens are tied."""
    pairs = list(zip(one.split(), other.split(), strict=False))
    return next((place for place, (a, b) in enumerate(pairs) if a != b), len(pairs))
