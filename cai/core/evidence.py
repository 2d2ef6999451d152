"""What failed in a row, as it is recorded, and what a row says of the engine behind it: where it answered, where not.

Nothing here decides anything; `cai.pipeline.breaker` does, from many rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cai.core.errors import RowError
from cai.core.records import CRITIQUE, GATE, REASONING, RESPONSE, REVISION, SCORE, VERDICT, PartFailure, Row


@dataclass(frozen=True, slots=True)
class Evidence:
    """The stages that were answered in a row at least once, and those at which a request failed, with its kind."""

    answered: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)

    def is_bad(self, stage: str) -> bool:
        """Tell whether the stage failed in the row and was never answered in it."""
        return stage in self.failed and stage not in self.answered


def of_row(row: Row) -> Evidence:
    """Return what a row says that was made, perhaps not all of it."""
    answered: set[str] = set()
    if row.traces:
        answered.add(RESPONSE)
    for turn in (turn for trace in row.traces for turn in trace.rounds):
        if turn.gate is not None or turn.gate_mass is not None:
            answered.add(GATE)
        if turn.revision is not None:
            answered |= {CRITIQUE, REVISION}
    for verdict in row.verdicts:
        if verdict.first is not None or verdict.second is not None or verdict.unreadable:
            answered.add(VERDICT)
        if verdict.rationales:
            answered.add(REASONING)
    if any(finding.mass is not None for score in row.scores for finding in score.findings):
        answered.add(SCORE)
    for part in row.failed:
        answered.update(part.answered)
    return Evidence(frozenset(answered), {part.stage: part.kind for part in row.failed if part.kind})


def of_error(error: RowError) -> Evidence:
    """Return what the failure of a whole row says."""
    return Evidence(error.answered, {error.stage: error.kind} if error.kind else {})


def part_failure(part: str, error: RowError) -> PartFailure:
    """Return the failure of a part as a record; what is no Unicode in it as escapes."""
    cause, raw = (text.encode(errors="backslashreplace").decode() for text in (str(error), error.raw))
    return PartFailure(part, error.stage, error.kind, cause, raw, tuple(sorted(error.answered)))
