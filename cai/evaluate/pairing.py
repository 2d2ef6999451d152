"""Which pairs of models are judged on which prompts: all of them, those with the baseline, or a budget near n log n.

With a budget every prompt has a design of its own: the models are put in a circle in an order that is drawn from the
seed and the prompt, and each is compared with those 1, 2, 4, … places on, up to half the circle. These are cyclic
paired comparison designs (David 1963, Biometrika 50, 69-77): of n models a prompt has at most n log2 n comparisons,
every model as many as every other, and a chain of comparisons connects all on every single prompt, so that strengths
(Bradley and Terry 1952) are found from any resample of prompts. Over the prompts every pair comes up as often as every
other.

What is compared depends on the seed, the prompt and the models' labels, and on no answer. So what is left out biases
nothing, a killed evaluation goes on with the same pairs, and what was judged under another choice counts too.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

from cai.core.identity import draw
from cai.core.records import Prompt

PairChoice = Literal["all", "baseline", "budget"]
CHOICES: tuple[PairChoice, ...] = get_args(PairChoice)

Pair = tuple[str, str]


def pairs_of(labels: Sequence[str]) -> list[Pair]:
    """Return every pair of models, the later one first: the baseline, listed first, is who is to be beaten."""
    return [(later, earlier) for earlier, later in combinations(labels, 2)]


def pairs_to_judge(
    choice: PairChoice, labels: Sequence[str], baseline: str | None, prompts: Sequence[Prompt], seed: int
) -> dict[Pair, list[Prompt]]:
    """Return the prompts on which each pair is judged; pairs that are judged on none are not there."""
    every = [pair for pair in pairs_of(labels) if choice != "baseline" or baseline in pair]
    if choice != "budget":
        return {pair: list(prompts) for pair in every}
    chosen: dict[Pair, list[Prompt]] = {pair: [] for pair in every}
    for prompt in prompts:
        drawn = _drawn_pairs(labels, prompt, seed)
        for pair in every:
            if frozenset(pair) in drawn:
                chosen[pair].append(prompt)
    return {pair: own for pair, own in chosen.items() if own}


def _drawn_pairs(labels: Sequence[str], prompt: Prompt, seed: int) -> set[frozenset[str]]:
    circle = sorted(labels, key=lambda label: draw(seed, prompt.id, label, "pairs"))
    count, step = len(circle), 1
    found: set[frozenset[str]] = set()
    while 2 * step <= count:
        found |= {frozenset((label, circle[(place + step) % count])) for place, label in enumerate(circle)}
        step *= 2
    return found
