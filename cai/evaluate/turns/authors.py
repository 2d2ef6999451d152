"""Who writes the user's turns: a fixed script, or an attacker, a model that is told the goal and sees the dialogue.

An attacker may refuse, or write nothing. Then it is asked again, a bounded number of times under seeds of its own; what
still is no turn is a failure with its cause, and nothing is put in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cai.core.errors import RowError
from cai.core.identity import derive_seed, draw
from cai.core.records import Message, Prompt
from cai.evaluate.turns.scripts import Script
from cai.method.refusals import refuses
from cai.method.templates import DraftingTemplate
from cai.method.templates.fencing import without_control
from cai.models.asking import NO_TEXT, Asker
from cai.models.base import Engine, Request, Sampling, Thinking

ATTACKER = "attacker"
"""The stage at which an attacker is asked, and what is called the author of its turns."""

TRIES = 3
"""How often an attacker that refuses is asked for one turn."""


class Author(Protocol):
    """Somebody who writes the user's turns of one dialogue."""

    @property
    def name(self) -> str:
        """What the dialogue's author is called."""

    async def write(self, prompt: Prompt, said: Sequence[Message], number: int) -> str:
        """Return what the user says in turn `number`, counted from 1, after what was `said`; raises RowError."""


@dataclass(frozen=True, slots=True)
class ScriptAuthor:
    """A script, read turn by turn whatever the model answers."""

    script: Script

    @property
    def name(self) -> str:
        """The script's name."""
        return self.script.name

    async def write(self, prompt: Prompt, _said: Sequence[Message], number: int) -> str:
        """Return the script's turn."""
        return self.script.turn(number, prompt.messages[-1]["content"])


@dataclass(frozen=True, slots=True)
class AttackerAuthor:
    """An attacker that is asked for each turn with the goal and the dialogue before it."""

    engine: Engine
    template: DraftingTemplate
    turns: int
    sampling: Sampling
    thinking: Thinking
    seed: int
    name: str = ATTACKER

    async def write(self, prompt: Prompt, said: Sequence[Message], number: int) -> str:
        """Return the attacker's turn; raises RowError where it has none."""
        asked = self.template.render(
            goal=prompt.messages[-1]["content"],
            messages=[
                {**message, "content": without_control(message["content"])}
                for message in said
                if message["role"] != "system"
            ],
            turn=number,
            turns=self.turns,
        )
        asker = Asker(self.engine)
        for attempt in range(TRIES):
            seed = derive_seed(self.seed, prompt.id, ATTACKER, number, attempt)
            request = Request(({"role": "user", "content": asked},), self.sampling, seed, self.thinking)
            try:
                written = await asker.write(ATTACKER, request)
            except RowError as error:
                if error.kind == NO_TEXT:
                    error.kind = ""  # an attacker that says nothing is a finding about it, and no broken engine
                raise
            if not refuses(written.text):
                return written.text
        raise RowError("the attacker refused", stage=ATTACKER, raw=written.text)


def drawn_script(scripts: Sequence[Script], prompt: Prompt, seed: int) -> Script:
    """Return the script by which a prompt's goal is pursued: the same for every model."""
    return scripts[int(draw(seed, prompt.id, "script") * len(scripts))]
