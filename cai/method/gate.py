"""The gate: does a response break a principle? Answered by log-probability, with one token.

It decides whether a round of critique and revision is written at all, measures models in an evaluation, and is the
reward of training on a policy's own responses. All of them ask here; a rubric's criteria are asked likewise.
"""

from dataclasses import dataclass

from cai.core.identity import steady
from cai.core.records import Message
from cai.method.choosing import MINIMUM_MASS, Choose, choose_word
from cai.method.templates import PrincipleTexts, Templates
from cai.models.base import NOT_THINKING, Request, Sampling, Thinking


@dataclass(frozen=True, slots=True)
class YesOrNo:
    """A question about a response, the two answers to it, and how the assistant's turn begins before them."""

    text: str
    options: tuple[str, str]
    prefill: str


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """The probability that a response breaks a principle; None where the two answers' `mass` was too small for one.

    Of another question it is the probability of the first of its options. `reasoning` is what the model thought before
    it answered, None where it did not.
    """

    probability: float | None
    mass: float
    reasoning: str | None = None


async def ask_gate(
    choose: Choose,
    templates: Templates,
    dialogue: tuple[Message, ...],
    principle: PrincipleTexts,
    *,
    thinking: Thinking = NOT_THINKING,
    sampling: Sampling = Sampling(),
    seed: int = 0,
) -> GateAnswer:
    """Return how likely the dialogue's last response breaks the principle; raises what `choose` raises.

    `sampling` (its temperature, top-p and limit) and `seed` are for a thought alone.
    """
    question = YesOrNo(templates.gate(principle), templates.gate_options, templates.gate_prefill)
    return await ask_yes_or_no(choose, question, dialogue, thinking=thinking, sampling=sampling, seed=seed)


async def ask_yes_or_no(
    choose: Choose,
    question: YesOrNo,
    dialogue: tuple[Message, ...],
    *,
    thinking: Thinking = NOT_THINKING,
    sampling: Sampling = Sampling(),
    seed: int = 0,
) -> GateAnswer:
    """Return how likely the answer is the first of the question's two options, asked behind the dialogue.

    Takes and raises what `ask_gate` does.
    """
    asked: Message = {"role": "user", "content": question.text}
    drawn = Sampling(sampling.temperature, sampling.top_p, sampling.max_tokens)
    request = Request((*dialogue, asked), drawn, seed, thinking)
    choice = await choose_word(choose, request, question.options, question.prefill)
    mass = steady(choice.mass)
    probability = steady(choice.probabilities[0]) if mass >= MINIMUM_MASS else None
    return GateAnswer(probability, mass, choice.reasoning or None)
