"""Critique and revision: how one response is made, and mended under the constitution's principles.

The method of Constitutional AI's supervised stage (arXiv 2212.08073, section 3): respond; then, round by round,
criticise the response under a principle and revise it; a revision replaces the response. Two schedules: `sample` draws
a principle a round by weight, as in the paper; `walk` goes through every applicable principle, most severe first. With
the gate (`gate.py`) the model first says whether the response breaks the principle at all.
"""

from dataclasses import dataclass
from functools import partial

from cai.constitution import Constitution, Principle, RevisionPlan, Severity
from cai.core.identity import derive_seed, draw
from cai.core.records import CRITIQUE, GATE, RESPONSE, REVISION, Message, Prompt, Round, Trace
from cai.method.gate import ask_gate
from cai.method.templates import Templates
from cai.models.asking import Asker
from cai.models.base import Engine, Request, Sampling

CLEARLY_KEPT = 0.25
"""Below this probability of a broken principle the gate skips critique and revision."""


@dataclass(frozen=True, slots=True)
class Method:
    """All that decides how a response is revised, apart from the model and the prompt."""

    constitution: Constitution
    templates: Templates
    plan: RevisionPlan
    sampling: Sampling
    few_shot: bool
    seed: int


def pick_principle(principles: tuple[Principle, ...], place: float) -> Principle:
    """Return the principle at `place` in [0, 1) of the line in which each takes its weight's share."""
    remaining = place * sum(principle.weight for principle in principles)
    for principle in principles:
        remaining -= principle.weight
        if remaining < 0:
            return principle
    return principles[-1]


def schedule_principles(method: Method, prompt: Prompt, sample: int) -> tuple[Principle, ...]:
    """Return the principles of each round in order; empty when none applies to the prompt's tags."""
    applicable = method.constitution.applicable(prompt.tags)
    if not applicable:
        return ()
    if method.plan.schedule == "walk":
        worst_first = list(Severity)
        return tuple(sorted(applicable, key=lambda item: worst_first.index(item.severity))) * method.plan.rounds
    places = (draw(method.seed, prompt.id, sample, "principle", number) for number in range(method.plan.rounds))
    return tuple(pick_principle(applicable, place) for place in places)


def exemplar_messages(method: Method) -> tuple[Message, ...]:
    """Return the constitution's few-shot chains as turns that precede a critique; empty without `few_shot`."""
    if not method.few_shot:
        return ()
    by_id = {principle.id: principle for principle in method.constitution.principles}
    turns: list[Message] = []
    for exemplar in method.constitution.exemplars:
        principle = by_id[exemplar.principle]
        turns += (
            _user(exemplar.prompt),
            _assistant(exemplar.response),
            _user(method.templates.critique(principle)),
            _assistant(exemplar.critique),
            _user(method.templates.revision(principle)),
            _assistant(exemplar.revision),
        )
    return tuple(turns)


async def respond_and_revise(engine: Engine, method: Method, prompt: Prompt, sample: int) -> Trace:
    """Return the `sample`-th response to the prompt and its revisions.

    A chain that stops is no chain: an unrevised text never stands for a final one. Raises RowError, with the stage,
    when a request fails or a text stays empty, and EngineGoneError as the engine does.
    """
    asker = Asker(engine)
    ask = partial(asker.choose, GATE)
    seed = derive_seed(method.seed, prompt.id, sample)
    opening, turns = _split_system(prompt.messages)
    lead = (*opening, *exemplar_messages(method), *turns)
    response, truncated = await _write(asker, method, prompt.messages, derive_seed(seed, "response"), RESPONSE)
    rounds: list[Round] = []
    final = response
    for number, principle in enumerate(schedule_principles(method, prompt, sample)):
        dialogue = (*prompt.messages, _assistant(final))
        gate = await ask_gate(ask, method.templates, dialogue, principle) if method.plan.gate else None
        if gate is not None and gate < CLEARLY_KEPT:
            rounds.append(Round(principle.id, gate, None, None, truncated=False))
            continue
        asked = (*lead, _assistant(final), _user(method.templates.critique(principle)))
        critique, _ = await _write(asker, method, asked, derive_seed(seed, "critique", number), CRITIQUE)
        asked = (*asked, _assistant(critique), _user(method.templates.revision(principle)))
        final, cut = await _write(asker, method, asked, derive_seed(seed, "revision", number), REVISION)
        rounds.append(Round(principle.id, gate, critique, final, truncated=cut))
    return Trace(sample, seed, response, tuple(rounds), final, truncated)


async def _write(
    asker: Asker, method: Method, messages: tuple[Message, ...], seed: int, stage: str
) -> tuple[str, bool]:
    """Return the next turn, stripped, and whether the token limit cut it."""
    completion = await asker.write(stage, Request(messages, method.sampling, seed))
    return completion.text, completion.finish_reason == "length"


def _split_system(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return the leading system turns and the rest; chat templates want the former before everything else."""
    count = next((index for index, message in enumerate(messages) if message["role"] != "system"), 0)
    return messages[:count], messages[count:]


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
