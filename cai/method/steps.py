"""The texts that a row's samples went through, each with where it stands: responses, revisions and final texts.

Every text has a source: `response:0` is the first sample's response, `final:0` its last revision, `revision:0:2` the
revision of its second round where others followed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cai.core.records import Trace


@dataclass(frozen=True, slots=True)
class Step:
    """A text, the round that gave it (from 1; 0: the response itself), and the principles that led to it so far.

    `reasoning` is what the model thought before it, `critique` what it had said of the text before.
    """

    text: str
    round: int
    principles: tuple[str, ...]
    truncated: bool
    reasoning: str | None
    critique: str | None = None


def revisions(trace: Trace) -> list[Step]:
    """Return the response, then every revision that changed it; the last is the final text."""
    steps = [Step(trace.response, 0, (), trace.truncated, trace.reasoning)]
    for number, turn in enumerate(trace.rounds, start=1):
        last = steps[-1]
        if turn.revision is not None and turn.revision != last.text:
            principles = (*last.principles, turn.principle_id)
            steps.append(
                Step(turn.revision, number, principles, turn.truncated, turn.revision_reasoning, turn.critique)
            )
    return steps


def sourced(trace: Trace) -> Iterator[tuple[str, Step]]:
    """Yield the texts of a sample with their sources, in their order; one that was not revised has its response."""
    steps = revisions(trace)
    for place, step in enumerate(steps):
        if place == 0:
            yield f"response:{trace.sample}", step
        elif step is steps[-1]:
            yield f"final:{trace.sample}", step
        else:
            yield f"revision:{trace.sample}:{step.round}", step


def answers(traces: tuple[Trace, ...]) -> dict[str, Step]:
    """Return the texts that can be an answer, by their sources: whole, not empty, and each only where it came first."""
    found: dict[str, Step] = {}
    texts: set[str] = set()
    for trace in traces:
        for source, step in sourced(trace):
            text = step.text.strip()
            if text and not step.truncated and text not in texts:
                texts.add(text)
                found[source] = step
    return found
