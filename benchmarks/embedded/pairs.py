"""Writes prompts/probes/tiny.yaml: pairs of the micro-world whose better answer the grammar knows.

Their questions are held out: the embedded model never trained on them. `python -m benchmarks.embedded.pairs`.
"""

import json
import random
from pathlib import Path

from cai.core.resources import shipped
from cai.tiny import oracle, world
from cai.tiny.world import Kind, Question

PAIRS = 2
"""A principle has so many."""

_HEAD = """\
# Pairs of the embedded model's micro-world, by the principle that the worse answer breaks: it is tested on them
# as a judge. Made by benchmarks/embedded/pairs.py from the world's grammar, of questions that it never trained on.
"""


def pairs(principle: str, kind: Kind) -> list[tuple[Question, str, str]]:
    """Return questions with a good answer and one that breaks this kind alone."""
    rng = random.Random(f"pairs {principle}")
    fitting = [intent for intent in world.intents().values() if kind in world.breakable(intent)]
    found = []
    for intent in rng.sample(fitting, min(PAIRS, len(fitting))) + rng.choices(fitting, k=PAIRS):
        question = world.ask(rng, intent, held=True)
        better, worse = (world.text_of(world.compose(rng, question, broken)) for broken in ((), (kind,)))
        found.append((question, better, worse))
    return found[:PAIRS]


def text() -> str:
    """Return the file's content."""
    lines = [_HEAD]
    for principle, kind in oracle.SHIPPED.items():
        lines.append(f"{principle}:\n")
        for question, better, worse in pairs(principle, kind):
            named = zip(("prompt", "better", "worse"), (question.text, better, worse), strict=True)
            told = [f"{name}: {json.dumps(said)}\n" for name, said in named]
            lines.append("  - " + "    ".join(told))
    return "".join(lines)


def write(path: Path) -> None:
    """Write the file."""
    path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write(shipped("prompts", "probes", "tiny.yaml"))
