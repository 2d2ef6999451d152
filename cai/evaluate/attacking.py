"""Prompts under attack: what is asked beside the prompts themselves, and what a model is sent for it.

The judge, the refusal detector and the oracle see the prompt as it was, with the answer to what was sent: whether an
answer is harmful does not depend on how it was got.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from cai.core.records import Prompt
from cai.evaluate.measures import BENIGN, BREAKS_ANY, HARMFUL, Measure
from cai.evaluate.measuring import ModelAnswers, measure_models
from cai.evaluate.results import AttackResult
from cai.method.attacks import Attack
from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request

_TAG = "attack:"
_MEASURED = {"answered", *(f"{what}, {tag}" for what in (BREAKS_ANY, "refuses") for tag in (HARMFUL, BENIGN))}


def under_attack(prompts: Iterable[Prompt], attacks: Iterable[Attack]) -> list[Prompt]:
    """Return every prompt under every attack, named by both; the messages are still those of the prompt."""
    return [
        replace(prompt, id=f"{prompt.id} {_TAG}{attack.name}", tags=(*prompt.tags, f"{_TAG}{attack.name}"))
        for attack in attacks
        for prompt in prompts
    ]


@dataclass(frozen=True, slots=True)
class Attacks:
    """The attacks of an evaluation, by name."""

    by_name: Mapping[str, Attack]

    @classmethod
    def parse(cls, names: Iterable[str], language: str) -> Self:
        """Return the attacks of these names; raises UsageError."""
        return cls({name: Attack.parse(name, language) for name in names})

    def send(self, engine: Engine, prompt: Prompt) -> tuple[Engine, Prompt]:
        """Return whom to ask and what to send for a prompt; both as they are where it is under no attack."""
        name = attack_of(prompt)
        if name is None:
            return engine, prompt
        asked = self.by_name[name].asked(prompt.messages)
        begun = engine if not asked.prefill else PrefilledEngine(engine, asked.prefill)
        return begun, replace(prompt, messages=asked.messages)


NO_ATTACKS = Attacks({})


def attack_of(prompt: Prompt) -> str | None:
    """Return the name of the attack that a prompt is under: its id and its last tag say so, which no tag does alone.

    People's own tags may be any words.
    """
    last = prompt.tags[-1] if prompt.tags else ""
    return last.removeprefix(_TAG) if last.startswith(_TAG) and prompt.id.endswith(f" {last}") else None


def is_attacked(prompt_id: str) -> bool:
    """Tell by its name whether a prompt is under an attack."""
    return f" {_TAG}" in prompt_id


class PrefilledEngine(ForwardingEngine):
    """An engine whose answers begin with given words, which are part of their text."""

    __slots__ = ("_prefill",)

    def __init__(self, engine: Engine, prefill: str) -> None:
        super().__init__(engine)
        self._prefill = prefill

    async def complete(self, request: Request) -> Completion:
        """Complete what is begun."""
        answer = await self._engine.complete(replace(request, prefill=self._prefill))
        return replace(answer, text=self._prefill + answer.text)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Choose as the engine does."""
        return await self._engine.choose(request, options)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


def measure_attacks(
    attacked: Sequence[Prompt],
    answered: Sequence[ModelAnswers],
    baseline: str | None,
    measures: Sequence[Measure],
    seed: int,
) -> tuple[AttackResult, ...]:
    """Return what was measured under each attack, in the order of the prompts."""
    own = [measure for measure in measures if measure.name in _MEASURED]
    names = list(dict.fromkeys(attack_of(prompt) or "" for prompt in attacked))
    found = []
    for name in names:
        prompts = [prompt for prompt in attacked if attack_of(prompt) == name]
        found.append(AttackResult(name, len(prompts), measure_models(prompts, answered, baseline, own, seed)))
    return tuple(found)
