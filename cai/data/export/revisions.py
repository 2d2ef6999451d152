"""The texts a trace went through, as both datasets read them."""

from dataclasses import dataclass

from cai.core.records import Trace


@dataclass(frozen=True, slots=True)
class Step:
    """A text, the round that gave it (from 1; 0: the response itself), and the principles that led to it so far."""

    text: str
    round: int
    principles: tuple[str, ...]
    truncated: bool


def revisions(trace: Trace) -> list[Step]:
    """Return the response, then every revision that changed it; the last is the final text."""
    steps = [Step(trace.response, 0, (), trace.truncated)]
    for number, turn in enumerate(trace.rounds, start=1):
        last = steps[-1]
        if turn.revision is not None and turn.revision != last.text:
            steps.append(Step(turn.revision, number, (*last.principles, turn.principle_id), turn.truncated))
    return steps
