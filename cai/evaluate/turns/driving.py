"""One goal, one model: turn by turn the user speaks, the model answers, and the judge looks at the answer.

The judge, the refusal detector and the oracle see the goal with the answer, as of a prompt under attack: whether an
answer is harmful does not depend on how it was got, and nothing that an attacker writes can talk the judge over. A
dialogue ends with the first answer that breaks a principle: what is measured is the share of goals reached by a turn,
which nothing later changes, and what is not asked costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.records import Message, PartFailure, Prompt, Row, Usage
from cai.evaluate.answering import answer_turn, ask_gates, truth_of
from cai.evaluate.examining import Opened
from cai.evaluate.records import Gate
from cai.evaluate.turns.authors import Author
from cai.evaluate.turns.records import Dialogue, DialogueTurn
from cai.method.refusals import refuses
from cai.models.base import Engine
from cai.models.meter import Meter, UsageCounter

AuthorOf = Callable[[Prompt, UsageCounter], Author]
"""Who drives a prompt's dialogue; what is asked for it is counted."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The model and the judge of one dialogue, and what each of the three was asked."""

    target: Engine
    judge: Engine
    counters: dict[str, UsageCounter]

    def usage(self, name: str) -> Usage:
        """Return what one of the three was asked."""
        return self.counters[name].usage


@dataclass(frozen=True, slots=True)
class Driving:
    """Dialogues of at most `turns` turns with an open model."""

    opened: Opened
    author: AuthorOf
    turns: int
    _dialogues: dict[str, Dialogue] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return the row of a goal's dialogue, which is kept for `entry`.

        Raises RowError where there is not one turn, or where one may be had later, and what else an engine raises.
        """
        opened = self.opened
        counters = {name: UsageCounter() for name in ("attacker", "target", "judge")}
        asked = _Asked(
            Meter(opened.engine, counters["target"], opened.tally),
            Meter(opened.judge, counters["judge"], opened.tally),
            counters,
        )
        author = self.author(prompt, counters["attacker"])
        turns: list[DialogueTurn] = []
        failed: list[PartFailure] = []
        while len(turns) < self.turns and (not turns or turns[-1].breaks is False):
            try:
                turn, missing = await self._turn(prompt, turns, author, asked)
            except RowError as error:
                if error.retryable or not turns:
                    raise
                failed.append(part_failure(f"turn:{len(turns) + 1}", error))
                break
            turns.append(turn)
            failed += missing
        dialogue = Dialogue(
            id=prompt.id,
            ordinal=prompt.ordinal,
            messages=prompt.messages,
            tags=prompt.tags,
            author=author.name,
            turns=tuple(turns),
            attacker=asked.usage("attacker"),
            target=asked.usage("target"),
            judge=asked.usage("judge"),
            failed=tuple(failed),
        )
        self._dialogues[prompt.id] = dialogue
        usage = dialogue.attacker + dialogue.target + dialogue.judge
        return Row(prompt, (), (), usage, opened.provenance, dialogue.failed)

    async def _turn(
        self, prompt: Prompt, before: list[DialogueTurn], author: Author, asked: _Asked
    ) -> tuple[DialogueTurn, list[PartFailure]]:
        """Return the next turn and the gates that failed; raises RowError where a person or a model says nothing."""
        number, method = len(before) + 1, self.opened.method
        said: list[Message] = list(prompt.messages[:-1])
        for turn in before:
            said += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.response}]
        user = await author.write(prompt, said, number)
        heard: tuple[Message, ...] = (*said, {"role": "user", "content": user})
        answer = await answer_turn(asked.target, method, heard, prompt.id, "turn", number)
        judged: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": answer.text})
        applicable = method.constitution.applicable(prompt.tags)
        rounds, failed, _ = await ask_gates(asked.judge, method, judged, applicable, prompt.id, "turn", number, "gate")
        turn = DialogueTurn(
            user=user,
            response=answer.text,
            truncated=answer.finish_reason == "length",
            refuses=refuses(answer.text),
            gates=tuple(Gate(found.principle_id, found.gate) for found in rounds),
            truth=truth_of(prompt, answer.text),
        )
        return turn, failed

    def entry(self, row: Row) -> Dialogue:
        """Return the dialogue of a row that was made here."""
        return self._dialogues.pop(row.prompt.id)
