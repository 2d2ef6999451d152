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
from cai.method.forms import Requests
from cai.method.gate import GateAnswer, ask_gate
from cai.method.junk import Asked, find_junk
from cai.method.settings import StageThinking
from cai.method.templates import Templates
from cai.models.asking import Asker
from cai.models.base import Completion, Engine, Request, Sampling

CLEARLY_KEPT = 0.25
"""Below this probability of a broken principle the gate skips critique and revision."""

REVISION_TRIES = 3
"""How often a revision is asked for that is none (see `junk`): a weak model's next draw often is one."""


@dataclass(frozen=True, slots=True)
class Method:
    """All that decides how a response is made and revised, apart from the model and the prompt.

    `revising` is how critiques and revisions are drawn; None: as responses are.
    """

    constitution: Constitution
    templates: Templates
    plan: RevisionPlan
    sampling: Sampling
    few_shot: bool
    seed: int
    revising: Sampling | None = None
    thinking: StageThinking = StageThinking()

    def requests(self, prompt: Prompt) -> Requests:
        """Return what is asked about the prompt's answers."""
        form = self.plan.form
        return Requests(self.constitution, self.templates, form, prompt.messages, few_shot=self.few_shot)


def pick_principle(principles: tuple[Principle, ...], place: float) -> Principle:
    """Return the principle at `place` in [0, 1) of the line in which each takes its weight's share."""
    remaining = place * sum([principle.weight for principle in principles])
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


async def respond_and_revise(engine: Engine, method: Method, prompt: Prompt, sample: int) -> Trace:
    """Return the `sample`-th response to the prompt and its revisions.

    A chain that stops is no chain: an unrevised text never stands for a final one. Raises RowError, with the stage,
    when a request fails or a text stays empty, and EngineGoneError as the engine does.
    """
    asker = Asker(engine)
    seed = derive_seed(method.seed, prompt.id, sample)
    requests = method.requests(prompt)
    request = Request(prompt.messages, method.sampling, derive_seed(seed, "response"), method.thinking.response)
    response = await asker.write(RESPONSE, request)
    rounds: list[Round] = []
    final = response.text
    for number, principle in enumerate(schedule_principles(method, prompt, sample)):
        dialogue = (*prompt.messages, _assistant(final))
        gate = await _gate(asker, method, dialogue, principle, derive_seed(seed, "gate", number))
        if gate is not None and gate.probability is not None and gate.probability < CLEARLY_KEPT:
            rounds.append(make_round(principle, gate))
            continue
        asked = requests.critique(final, principle)
        critique = await _write(asker, CRITIQUE, method, asked, derive_seed(seed, "critique", number))
        asked = requests.revision(final, critique.text, principle)
        about = Asked(prompt.messages, principle.text, critique.text)
        revision = await _revise(asker, method, asked, about, derive_seed(seed, "revision", number))
        final = revision.text
        rounds.append(make_round(principle, gate, critique, revision))
    reasoning = response.reasoning or None
    return Trace(sample, seed, response.text, tuple(rounds), final, _is_cut(response), reasoning, engine.name)


async def _gate(
    asker: Asker, method: Method, dialogue: tuple[Message, ...], principle: Principle, seed: int
) -> GateAnswer | None:
    """Return whether the dialogue's last response breaks the principle; None without a gate."""
    if not method.plan.gate:
        return None
    ask, sampling = partial(asker.choose, GATE), method.sampling
    thinking = method.thinking.judging
    return await ask_gate(ask, method.templates, dialogue, principle, thinking=thinking, sampling=sampling, seed=seed)


async def _write(asker: Asker, stage: str, method: Method, messages: tuple[Message, ...], seed: int) -> Completion:
    """Return the next turn of a round."""
    sampling = method.sampling if method.revising is None else method.revising
    return await asker.write(stage, Request(messages, sampling, seed, method.thinking.revising))


async def _revise(asker: Asker, method: Method, messages: tuple[Message, ...], about: Asked, seed: int) -> Completion:
    """Return the revision; one that is junk is asked for again, under seeds of its own, and the last one stays."""
    for attempt in range(REVISION_TRIES):
        again = derive_seed(seed, "junk", attempt) if attempt else seed
        revision = await _write(asker, REVISION, method, messages, again)
        if not find_junk(revision.text, about):
            break
    return revision


def make_round(
    principle: Principle,
    gate: GateAnswer | None,
    critique: Completion | None = None,
    revision: Completion | None = None,
) -> Round:
    """Return the record of a round in which so much was asked."""
    return Round(
        principle_id=principle.id,
        gate=gate.probability if gate else None,
        critique=critique.text if critique else None,
        revision=revision.text if revision else None,
        truncated=revision is not None and _is_cut(revision),
        gate_mass=gate.mass if gate else None,
        gate_reasoning=gate.reasoning if gate else None,
        critique_reasoning=(critique.reasoning or None) if critique else None,
        revision_reasoning=(revision.reasoning or None) if revision else None,
    )


def _is_cut(completion: Completion) -> bool:
    """Tell whether the token limit ended a text."""
    return completion.finish_reason == "length"


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
