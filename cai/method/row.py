"""A row: everything made from one prompt, in the order the method makes it.

`Generation.row` samples responses, revises each, and has them judged (`comparing.py`). `Judging.row` keeps a row's
traces and judges them anew. One row is one coroutine; how many run at once is the pipeline's business.

A part that failed for good is that part's failure: the other samples live and are compared, the row says what is
missing. A row without any sample fails, and so does one of which a part may succeed later (a time-out, an overloaded
server): it is owed as a whole, because half of it would not be asked for again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cai.constitution import Principle
from cai.core.errors import RowError
from cai.core.evidence import of_row
from cai.core.records import Comparison, Prompt, Provenance, Row, Trace, Verdict
from cai.method.comparing import Turns
from cai.method.critique import Method, respond_and_revise
from cai.method.judge import JudgeConfiguration, draw_principles, failed_verdict, judge
from cai.method.parts import outcome_of, part_failures, together, whole_failure
from cai.method.scoring import Scoring
from cai.method.settings import RankingSettings
from cai.method.verdicts import ranked_outcome
from cai.models.base import Engine
from cai.models.meter import Meter, UsageCounter


@dataclass(frozen=True, slots=True)
class Judging:
    """A judge at its configuration; `tally` counts the tokens of all rows."""

    engine: Engine
    judge_configuration: JudgeConfiguration
    tally: UsageCounter
    ranking: RankingSettings = RankingSettings()

    async def judged(self, row: Row, tally: UsageCounter) -> Row:
        """Return the row with a verdict for each comparison under each of its principles.

        `tally` counts this row's tokens. Raises RowError when a verdict failed that may be had later.
        """
        engine = Meter(self.engine, tally, self.tally)
        verdicts: list[Verdict] = []
        errors: dict[str, RowError] = {}
        turns = Turns(self.ranking, self.judge_configuration.seed, row.prompt, row.traces)
        while turn := turns.next():
            wanted = list(to_be_judged(self.judge_configuration, row.prompt, turn))
            outcomes = await together(
                outcome_of(judge(engine, self.judge_configuration, comparison, principle, row.prompt.id))
                for comparison, principle in wanted
            )
            found: defaultdict[tuple[str, str], list[Verdict]] = defaultdict(list)
            for (comparison, principle), outcome in zip(wanted, outcomes, strict=True):
                if isinstance(outcome, RowError):
                    errors[f"verdict:{comparison.a_source}:{comparison.b_source}:{principle.id}"] = outcome
                    outcome = failed_verdict(comparison, principle)
                verdicts.append(outcome)
                found[comparison.a_source, comparison.b_source].append(outcome)
            for sources, on_pair in found.items():
                turns.note(sources, ranked_outcome(on_pair))
        judged = replace(row, verdicts=tuple(verdicts), failed=(*row.failed, *part_failures(errors)))
        if any(error.retryable for error in errors.values()):
            raise whole_failure(errors, of_row(judged).answered)
        return judged

    async def row(self, row: Row) -> Row:
        """Return the row with new verdicts and the tokens they took; its traces stay as they were."""
        tally = UsageCounter()
        samples = tuple(part for part in row.failed if part.part.startswith("sample:"))
        judged = await self.judged(replace(row, failed=samples), tally)
        provenance = replace(
            row.provenance,
            judge=self.engine.name,
            judge_constitution=self.judge_configuration.constitution.fingerprint,
            judge_templates=self.judge_configuration.templates.fingerprint,
            judge_seed=self.judge_configuration.seed,
        )
        return replace(judged, usage=tally.usage, provenance=provenance)


@dataclass(frozen=True, slots=True)
class Generation:
    """A model and a method that make traces, and the judging that follows.

    Each of `responders` answers, criticises and revises beside the model, as often as it does: the model's are samples
    0 … samples - 1, those of the first responder follow. `scoring` asks about every answer, to select one.
    """

    engine: Engine
    method: Method
    samples: int
    provenance: Provenance
    judging: Judging
    responders: tuple[Engine, ...] = ()
    scoring: Scoring | None = None

    async def row(self, prompt: Prompt) -> Row:
        """Make a row from a prompt; raises RowError or what an engine raises."""
        tally = UsageCounter()
        engines = [Meter(engine, tally, self.judging.tally) for engine in (self.engine, *self.responders)]
        outcomes = await together(
            outcome_of(respond_and_revise(engines[sample // self.samples], self.method, prompt, sample))
            for sample in range(self.samples * len(engines))
        )
        traces = tuple(outcome for outcome in outcomes if isinstance(outcome, Trace))
        errors = {f"sample:{number}": item for number, item in enumerate(outcomes) if isinstance(item, RowError)}
        row = Row(prompt, traces, (), tally.usage, self.provenance, part_failures(errors))
        if not traces or any(error.retryable for error in errors.values()):
            raise whole_failure(errors, of_row(row).answered)
        judged = await self.judging.judged(row, tally)
        if self.scoring is not None:
            judged = await self.scoring.scored(judged, tally)
        return replace(judged, usage=tally.usage)


def to_be_judged(
    configuration: JudgeConfiguration, prompt: Prompt, compared: Iterable[Comparison]
) -> Iterator[tuple[Comparison, Principle]]:
    """Yield each of a row's comparisons with each principle that is drawn for it."""
    for comparison in compared:
        sources = comparison.a_source, comparison.b_source
        for principle in draw_principles(configuration, prompt.id, prompt.tags, sources):
            yield comparison, principle
