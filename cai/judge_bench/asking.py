"""One item to one judge: its verdicts, under principles drawn as `cai generate` draws them, and how long they took.

Or a score for each answer, which is asked about by itself, as when the best of a run's answers is selected
(`cai.method.scoring`). A question with options is asked as it stands, without a principle: which letter is the answer.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from cai.constitution import Principle
from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.identity import derive_seed, steady
from cai.core.records import VERDICT, Finding, Message, PartFailure, Prompt, Provenance, Row, Score, Verdict
from cai.judge_bench.items import FIRST, SECOND, LabelledItem, source
from cai.judge_bench.records import BenchEntry
from cai.judge_bench.settings import ScoreVariant
from cai.method.choosing import choose_word
from cai.method.judge import JudgeConfiguration, draw_principles, failed_verdict, judge
from cai.method.scoring import Scoring
from cai.models.asking import Asker
from cai.models.base import Engine, Request
from cai.models.meter import Meter, UsageCounter

OPTIONS = "options"
"""What the letters of a question are scored by: how likely each is chosen."""


@dataclass(frozen=True, slots=True)
class BenchAsking:
    """A judge at its configuration and the items by id.

    `inputs` is the fingerprint of the data, `tally` counts the tokens of all rows; `scores` is what gives each answer
    a score, None where answers are compared.
    """

    engine: Engine
    judge_configuration: JudgeConfiguration
    items: Mapping[str, LabelledItem]
    inputs: str
    tally: UsageCounter
    scores: ScoreVariant | None = None
    _times: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return the item's row with a verdict a principle, or its answers' scores, some of which may have failed.

        Raises RowError when all did, or one that may be had later, and what else an engine raises.
        """
        began, tally = time.time(), UsageCounter()
        item = self.items[prompt.id]
        row = Row(prompt, (), (), tally.usage, self._provenance())
        if self.scores is not None and not item.options:
            row = await self._scored(item, row, tally)
        else:
            row = await self._judged(item, row, Meter(self.engine, tally, self.tally))
        self._times[prompt.id] = began, time.time()
        return replace(row, usage=tally.usage)

    async def _scored(self, item: LabelledItem, row: Row, tally: UsageCounter) -> Row:
        """Return the row with the scores of the item's answers; raises as `row` does."""
        configuration = self.judge_configuration
        if item.principle is not None:
            own = configuration.constitution.model_copy(update={"principles": self._principles(item)})
            configuration = replace(configuration, constitution=own)
        assert self.scores is not None  # noqa: S101
        scoring = Scoring(self.scores, self.engine, configuration, self.tally)
        dialogues = {
            source(place): (*item.messages, Message(role="assistant", content=answer))
            for place, answer in enumerate(item.answers)
        }
        return await scoring.score(row, dialogues, tally)

    async def _judged(self, item: LabelledItem, row: Row, engine: Engine) -> Row:
        """Return the row with its verdicts, or with what is said of its options; raises as `row` does."""
        verdicts: list[Verdict] = []
        failed: list[PartFailure] = []
        wanted = [(comparison, one) for comparison in item.comparisons for one in self._principles(item)]
        for comparison, principle in wanted:
            try:
                verdicts.append(await judge(engine, self.judge_configuration, comparison, principle, item.id))
            except RowError as error:
                failed.append(part_failure(f"verdict:{comparison.b_source}:{principle.id}", error))
                if error.retryable or len(failed) == len(wanted):
                    raise
                verdicts.append(failed_verdict(comparison, principle))
        scores = (await self._choose(engine, item),) if item.options else ()
        return replace(row, verdicts=tuple(verdicts), failed=tuple(failed), scores=scores)

    async def _choose(self, engine: Engine, item: LabelledItem) -> Score:
        """Ask which option is the answer; raises as the engine does."""
        configuration = self.judge_configuration
        seed = derive_seed(configuration.seed, item.id, "options")
        request = Request(item.messages, configuration.sampling, seed, configuration.thinking)
        letters = sorted(item.answers)
        ask = partial(Asker(engine).choose, VERDICT)
        choice = await choose_word(ask, request, letters, configuration.templates.judge_prefill)
        said = dict(zip(letters, map(steady, choice.probabilities), strict=True))
        findings = tuple(Finding(letter, said[letter], steady(choice.mass)) for letter in item.answers)
        return Score(OPTIONS, OPTIONS, engine.name, None, findings)

    def _principles(self, item: LabelledItem) -> tuple[Principle, ...]:
        """Return the principle that the item's label is about, or those that are drawn for it."""
        configuration = self.judge_configuration
        if item.principle is not None:
            return tuple(one for one in configuration.constitution.principles if one.id == item.principle)
        return draw_principles(configuration, item.id, item.tags, (FIRST, SECOND))

    def entry(self, row: Row) -> BenchEntry:
        """Return what is kept of a row that was made here."""
        began, ended = (round(moment, 3) for moment in self._times.pop(row.prompt.id))
        options = [finding for score in row.scores if score.by == OPTIONS for finding in score.findings]
        return BenchEntry(
            id=row.prompt.id,
            ordinal=row.prompt.ordinal,
            verdicts=row.verdicts,
            usage=row.usage,
            failed=row.failed,
            began=began,
            ended=ended,
            options=tuple(finding.probability for finding in options if finding.probability is not None),
            mass=options[0].mass if options else None,
            scores=tuple(score for score in row.scores if score.by != OPTIONS),
        )

    def _provenance(self) -> Provenance:
        """Return where a row comes from: no model wrote anything for it."""
        constitution, templates = self.judge_configuration.constitution, self.judge_configuration.templates
        return Provenance(
            model="",
            judge=self.engine.name,
            constitution=constitution.fingerprint,
            judge_constitution=constitution.fingerprint,
            templates=templates.fingerprint,
            judge_templates=templates.fingerprint,
            inputs=self.inputs,
            seed=self.judge_configuration.seed,
            judge_seed=self.judge_configuration.seed,
        )
