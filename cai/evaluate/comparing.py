"""One prompt to the judge: which of two models answered better, under principles drawn as `cai generate` draws them.

Where the prompt has a reference, the judge is shown the first.
"""

from dataclasses import dataclass

from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.records import Comparison, PartFailure, Prompt, Provenance, Row, Trace, Verdict
from cai.evaluate.records import Decision
from cai.method.judge import JudgeConfiguration, draw_principles, failed_verdict, judge
from cai.method.verdicts import combine
from cai.models.base import Engine
from cai.models.meter import Meter, UsageCounter


@dataclass(frozen=True, slots=True)
class Comparing:
    """A judge, and the answers of two models to one prompt; `labels` name the models. `tally` counts all tokens."""

    judge: Engine
    judge_configuration: JudgeConfiguration
    labels: tuple[str, str]
    answers: tuple[Trace, Trace]
    provenance: Provenance
    tally: UsageCounter

    async def row(self, prompt: Prompt) -> Row:
        """Return the prompt's row with a verdict a principle, some of which may have failed.

        Raises RowError when all did, or one that may be had later, and what else an engine raises.
        """
        tally = UsageCounter()
        engine = Meter(self.judge, tally, self.tally)
        a, b = (answer.response for answer in self.answers)
        comparison = Comparison(prompt.messages, a, b, *self.labels, prompt.reference)
        verdicts: list[Verdict] = []
        failed: list[PartFailure] = []
        principles = draw_principles(self.judge_configuration, prompt.id, prompt.tags, self.labels)
        for principle in principles:
            try:
                verdicts.append(await judge(engine, self.judge_configuration, comparison, principle, prompt.id))
            except RowError as error:
                failed.append(part_failure(f"verdict:{principle.id}", error))
                if error.retryable or len(failed) == len(principles):
                    raise
                verdicts.append(failed_verdict(comparison, principle))
        return Row(prompt, (), tuple(verdicts), tally.usage, self.provenance, tuple(failed))


def make_decision(row: Row) -> Decision:
    """Return what is kept of a row: who is better, or why that is not said."""
    combined = combine(row.verdicts)
    return Decision(
        row.prompt.id,
        row.prompt.ordinal,
        combined.probability,
        combined.abstained,
        row.verdicts,
        row.usage,
        row.failed,
    )
