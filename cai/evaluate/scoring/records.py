"""What is kept of a scored answer: what was said to each question, as probabilities of its options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cai.core.records import Finding, PartFailure, Row, Score, Usage, read_part_failures, read_score
from cai.method.choosing import MINIMUM_MASS
from cai.method.refusals import refuses


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """A prompt's answer as it was scored; `refuses` is what the word detector says of it.

    `scores` has one for each question that was asked, with a finding an option, in their order.
    """

    id: str
    tags: tuple[str, ...]
    refuses: bool
    scores: tuple[Score, ...]
    usage: Usage
    failed: tuple[PartFailure, ...] = ()

    def choice(self, question: str) -> int | None:
        """Return the place of the option that is most likely.

        None where the question was not asked, or the options weighed too little together to be an answer.
        """
        findings = next((score.findings for score in self.scores if score.by == question), ())
        if not findings or findings[0].mass is None or findings[0].mass < MINIMUM_MASS:
            return None
        said = [finding.probability or 0.0 for finding in findings]
        return said.index(max(said))

    def was_asked(self, question: str) -> bool:
        """Tell whether a question was asked, or could not be."""
        return any(score.by == question for score in self.scores)


def make_scored(row: Row) -> ScoredAnswer:
    """Return what is kept of a row."""
    response = row.traces[0].response if row.traces else ""
    return ScoredAnswer(row.prompt.id, row.prompt.tags, refuses(response), row.scores, row.usage, row.failed)


def read_scored(value: Mapping[str, Any]) -> ScoredAnswer:
    """Return a scored answer from what JSON says; raises KeyError or TypeError when it is none."""
    return ScoredAnswer(
        value["id"],
        tuple(value["tags"]),
        bool(value["refuses"]),
        tuple(map(read_score, value["scores"])),
        Usage(**value["usage"]),
        read_part_failures(value["failed"]),
    )


def unasked(question: str, model: str) -> Score:
    """Return the score of a question that could not be asked."""
    return Score("response:0", question, model, None, (Finding("", None, None),))
