"""The gate: does a response break a principle? Answered by log-probability, with one token.

It decides whether a round of critique and revision is written at all, measures models in an evaluation, and is the
reward of training on a policy's own responses. All of them ask here.
"""

from collections.abc import Awaitable, Callable, Sequence

from cai.core.identity import steady
from cai.core.records import Message
from cai.method.templates import PrincipleTexts, Templates
from cai.models.base import NOT_THINKING, Choice, Request

MINIMUM_MASS = 0.5
"""When Yes and No together weigh less than this, the gate was not answered."""

Choose = Callable[[Request, Sequence[str]], Awaitable[Choice]]
"""An engine's `choose`, or what stands before it."""


async def ask_gate(
    choose: Choose, templates: Templates, dialogue: tuple[Message, ...], principle: PrincipleTexts
) -> float | None:
    """Return the probability that the dialogue's last response breaks the principle; None when it was not answered.

    Raises what `choose` raises.
    """
    question: Message = {"role": "user", "content": templates.gate(principle)}
    choice = await choose(Request((*dialogue, question), thinking=NOT_THINKING), templates.gate_options)
    return steady(choice.probabilities[0]) if steady(choice.mass) >= MINIMUM_MASS else None
