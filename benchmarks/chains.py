"""A run's requests, rebuilt from its rows: who was asked what, stage by stage, in the words that cai used.

For runs of one round without a gate, in the continued form: responses, critiques, revisions, judgements. The texts may
be those of the rows or others in their place, so that somebody else can carry the same chains on with texts of his own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.constitution import Constitution
from cai.core.records import Message, Row, Trace
from cai.method.templates import Templates
from cai.rundir import Run

STAGES = ("response", "critique", "revision")
"""What is written, in this order; judgements follow."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One sampled response and what became of it; `texts` are those of the stages."""

    row: Row
    sample: int
    principle: str
    texts: tuple[str, ...]


class Chains:
    """The chains of a finished run under a constitution, in the order of their prompts."""

    def __init__(self, run: Path, constitution: Constitution) -> None:
        self._templates = Templates.load(constitution.language)
        self._principles = {principle.id: principle for principle in constitution.principles}
        self.options = self._templates.judge_options
        self.rows = list(Run.read(run).rows())
        self.all = [_chain(row, trace) for row in self.rows for trace in row.traces]

    def writing(self, chain: Chain, texts: Sequence[str]) -> list[Message]:
        """Return the conversation that the next text answers, when these were written before it."""
        principle = self._principles[chain.principle]
        requests = (self._templates.critique(principle), self._templates.revision(principle))
        turns = list(chain.row.prompt.messages)
        for text, request in zip(texts, requests, strict=False):
            turns += [Message(role="assistant", content=text), Message(role="user", content=request)]
        return turns

    def judging(self, row: Row, texts: Sequence[Sequence[str]]) -> Iterator[list[Message]]:
        """Yield what the judge is asked about a row, in both orders, when these are its samples' texts."""
        shown = {f"response:{sample}": chain[0] for sample, chain in enumerate(texts)}
        shown |= {f"final:{sample}": chain[-1] for sample, chain in enumerate(texts)}
        for verdict in row.verdicts:
            if verdict.first is None:  # nobody was asked: the two texts were the same
                continue
            principle = self._principles[verdict.principle_id]
            for pair in ((verdict.a_source, verdict.b_source), (verdict.b_source, verdict.a_source)):
                first, second = (shown[source] for source in pair)
                question = self._templates.judge(principle, row.prompt.messages, first, second)
                yield [Message(role="user", content=question)]


def _chain(row: Row, trace: Trace) -> Chain:
    """Return a row's chain; raises ValueError when it is not one of a single written round."""
    (turn,) = trace.rounds
    if turn.critique is None or turn.revision is None:
        raise ValueError(f"{row.prompt.id}: a round without a revision")
    return Chain(row, trace.sample, turn.principle_id, (trace.response, turn.critique, turn.revision))
