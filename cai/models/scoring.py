"""How likely whole options are, from log-probabilities of their tokens.

An option's probability is the sum of its spellings' (`spelling.py`); a spelling of several tokens is scored whole, each
token given those before it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from cai.core.errors import RequestError
from cai.models.base import Choice

Spelling = tuple[int, ...]


def paths(spellings: Iterable[Spelling]) -> list[Spelling]:
    """Return the fewest token paths after the prompt that show the next-token distributions every spelling needs.

    Spellings of one token need the empty path alone: the prompt itself.
    """
    needed = {spelling[:-1] for spelling in spellings}
    longest_first = sorted(needed, key=lambda path: (-len(path), path))
    chosen: list[Spelling] = []
    covered: set[Spelling] = set()
    for path in longest_first:
        if path not in covered:
            chosen.append(path)
            covered.update(path[:length] for length in range(len(path) + 1))
    return chosen


def exclusive(probabilities: Mapping[Spelling, float]) -> dict[Spelling, float]:
    """Return the probability of each spelling without that of the longer ones it begins.

    `1` also begins `10`; without this the two would overlap and their sum could pass 1.
    """
    alone: dict[Spelling, float] = {}
    for spelling in sorted(probabilities, key=len, reverse=True):
        longer = sum(weight for other, weight in alone.items() if other[: len(spelling)] == spelling)
        alone[spelling] = max(0.0, probabilities[spelling] - longer)
    return alone


def weigh(
    options: Sequence[Sequence[Spelling]],
    probabilities: Mapping[Spelling, float],
    prompt_tokens: int,
    begun: Sequence[Spelling] = (),
) -> Choice:
    """Return the choice between `options`, from the probability of each spelling as the next tokens.

    Where there are any, `begun` are paths that together are the whole of which the options are shares. Raises
    RequestError when a probability is not a number, as overflowing weights give.
    """
    if not all(map(math.isfinite, probabilities.values())):
        raise RequestError("the model's probabilities are not numbers", retryable=False)
    alone = exclusive({spelling: probabilities[spelling] for spellings in options for spelling in spellings})
    weights = [sum(alone[spelling] for spelling in spellings) for spellings in options]
    mass = sum(weights)
    shares = tuple(w / mass for w in weights) if mass > 0 else (1 / len(options),) * len(options)
    whole = sum(probabilities[path] for path in begun) if begun else 1.0
    return Choice(shares, min(mass / whole, 1.0) if whole > 0 else 0.0, prompt_tokens, 0)
