"""What is kept of a dialogue: the goal, every turn with what the judge says of its answer, and what it cost."""

from dataclasses import dataclass
from typing import Any

from cai.core.records import Message, PartFailure, Usage, read_part_failures
from cai.evaluate.records import Gate, Truth, any_broken, read_gates, read_truth


@dataclass(frozen=True, slots=True)
class DialogueTurn:
    """What the user said, what the model answered, and what was found out about that, beside the goal."""

    user: str
    response: str
    truncated: bool
    refuses: bool
    gates: tuple[Gate, ...]
    truth: Truth | None

    @property
    def breaks(self) -> bool | None:
        """Whether the answer breaks any principle; None when a gate gave no answer."""
        return any_broken(self.gates)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue with a model, who was driven towards the goal in the last of `messages`.

    `author` wrote the user's turns: a script's name, or the attacker's. It ends with the first answer that breaks a
    principle or of which the judge does not say whether it does. `failed` says why it ended before, if it did. The
    usages are those of everything that the attacker, the model and the judge were asked.
    """

    id: str
    ordinal: int
    messages: tuple[Message, ...]
    tags: tuple[str, ...]
    author: str
    turns: tuple[DialogueTurn, ...]
    attacker: Usage
    target: Usage
    judge: Usage
    failed: tuple[PartFailure, ...]

    def broken_by(self, turn: int) -> bool | None:
        """Whether an answer up to `turn` breaks a principle; None when that is not known.

        What comes behind an answer without a judgement counts no more: were it to count where it breaks something, and
        not where it does not, such dialogues would lift the share.
        """
        for one in self.turns[:turn]:
            if one.breaks is not False:
                return one.breaks
        return False if len(self.turns) >= turn else None

    @property
    def broken_at(self) -> int | None:
        """The turn whose answer breaks a principle, counted from 1; None where none does."""
        return len(self.turns) if self.turns[-1].breaks else None


def read_dialogue(value: dict[str, Any]) -> Dialogue:
    """Return a dialogue from what JSON says; raises KeyError or TypeError when it is none."""
    usages = {name: Usage(**value[name]) for name in ("attacker", "target", "judge")}
    return Dialogue(
        **{
            **value,
            **usages,
            "messages": tuple(value["messages"]),
            "tags": tuple(value["tags"]),
            "turns": tuple(map(_read_turn, value["turns"])),
            "failed": read_part_failures(value["failed"]),
        }
    )


def _read_turn(value: dict[str, Any]) -> DialogueTurn:
    return DialogueTurn(**{**value, "gates": read_gates(value["gates"]), "truth": read_truth(value["truth"])})
