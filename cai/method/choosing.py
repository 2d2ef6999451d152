"""Asking for one of two answers by log-probability, with the beginning of the answer where it needs one.

The question is asked as it is. Where the model wanted to say something else, and the answers weigh less together than
`SURE_MASS`, it is asked once more with the assistant's turn begun (`The answer is (`), as Constitutional AI begins it
(arXiv 2212.08073, section 4.1), and of the two the choice counts in which they weigh more. A model that answers by
itself is not disturbed: one that was trained on the bare answers may choose at random behind other words. A model that
is to think first is asked once, with the beginning behind its thought.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from cai.core.identity import steady
from cai.models.base import Choice, Request

MINIMUM_MASS = 0.5
"""When the answers together weigh less than this, the model wanted to say something else and decided nothing."""

SURE_MASS = 0.75
"""When the answers together weigh this much, the question need not be asked in another way."""

Choose = Callable[[Request, Sequence[str]], Awaitable[Choice]]
"""An engine's `choose`, or what stands before it."""


async def choose_word(choose: Choose, request: Request, options: Sequence[str], prefill: str) -> Choice:
    """Return how likely each option is as the answer; raises what `choose` raises.

    Of two choices it is the one in which the options weigh more.
    """
    if request.thinking.mode != "off":
        return await choose(replace(request, prefill=prefill), options)
    plain = await choose(request, options)
    if not prefill or steady(plain.mass) >= SURE_MASS:
        return plain
    begun = await choose(replace(request, prefill=prefill), options)
    return max(plain, begun, key=lambda choice: steady(choice.mass))
