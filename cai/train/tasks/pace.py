"""How soon hard examples come in: competence-based curricula (Platanios et al., NAACL 2019, arXiv 1903.09848).

Examples are ranked by difficulty, each task's among themselves. At a step the model's competence c, from 0 to 1, opens
the easiest share c of them, and the step's examples are drawn evenly from what is open (the paper's algorithm 1). With
c0 the competence at the first step and T the step from which on everything is open, the paper's section 2.2 has

    linear: c(t) = min(1, t (1 - c0) / T + c0)            sqrt: c(t) = min(1, sqrt(t (1 - c0^2) / T + c0^2))

The square root brings new examples in at a falling rate, since each of them comes up more rarely the more are open.
c0 is 0.01, as in the paper's experiments. (The paper itself could not be opened; other implementations have the same.)
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cai.train.data.mixing import Indices

Pace = Literal["sqrt", "linear"]

FIRST = 0.01
"""The competence at the first step."""


def competence(pace: Pace, step: int, full: float) -> float:
    """Return the share of a task's examples that is open at a step, counted from 0; from step `full` on all are."""
    if step >= full:
        return 1.0
    gone = step / full
    if pace == "linear":
        return min(1.0, gone * (1.0 - FIRST) + FIRST)
    return min(1.0, math.sqrt(gone * (1.0 - FIRST**2) + FIRST**2))


def easiest_first(examples: Indices, difficulty: NDArray[np.float64], seed: int) -> Indices:
    """Return examples of one task, easiest first; equally hard ones in an order that the seed draws.

    Their own order would order them by something else: prepared examples lie shortest first.
    """
    mixed: Indices = np.random.default_rng(seed).permutation(examples)
    return mixed[np.argsort(difficulty[mixed], kind="stable")]


def opened(ranked: Indices, share: float, least: int) -> Indices:
    """Return the easiest share of ranked examples, of which there are no fewer than `least`, where there are."""
    return ranked[: max(math.ceil(share * len(ranked)), least)]
