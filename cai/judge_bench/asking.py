"""One item to one judge: its verdicts, under principles drawn as `cai generate` draws them, and how long they took.

A question with options is asked as it stands, without a principle: which letter is the answer.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from cai.constitution import Principle
from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.identity import derive_seed, steady
from cai.core.records import VERDICT, Finding, PartFailure, Prompt, Provenance, Row, Score, Verdict
from cai.judge_bench.items import FIRST, SECOND, LabelledItem
from cai.judge_bench.records import BenchEntry
from cai.method.choosing import choose_word
from cai.method.judge import JudgeConfiguration, draw_principles, failed_verdict, judge
from cai.models.asking import Asker
from cai.models.base import Engine, Request
from cai.models.meter import Meter, UsageCounter


@dataclass(frozen=True, slots=True)
class BenchAsking:
    """A judge at its configuration and the items by id.

    `inputs` is the fingerprint of the data, `tally` counts the tokens of all rows.
    """

    engine: Engine
    judge_configuration: JudgeConfiguration
    items: Mapping[str, LabelledItem]
    inputs: str
    tally: UsageCounter
    _times: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return the item's row with a verdict a principle, some of which may have failed.

        Raises RowError when all did, or one that may be had later, and what else an engine raises.
        """
        began, tally = time.time(), UsageCounter()
        engine = Meter(self.engine, tally, self.tally)
        item = self.items[prompt.id]
        verdicts: list[Verdict] = []
        failed: list[PartFailure] = []
        wanted = [(comparison, one) for comparison in item.comparisons for one in self._principles(item)]
        for comparison, principle in wanted:
            try:
                verdicts.append(await judge(engine, self.judge_configuration, comparison, principle, prompt.id))
            except RowError as error:
                failed.append(part_failure(f"verdict:{comparison.b_source}:{principle.id}", error))
                if error.retryable or len(failed) == len(wanted):
                    raise
                verdicts.append(failed_verdict(comparison, principle))
        scores = (await self._choose(engine, item),) if item.options else ()
        self._times[prompt.id] = began, time.time()
        return Row(prompt, (), tuple(verdicts), tally.usage, self._provenance(), tuple(failed), scores)

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
        return Score("options", "options", engine.name, None, findings)

    def _principles(self, item: LabelledItem) -> tuple[Principle, ...]:
        """Return the principle that the item's label is about, or those that are drawn for it."""
        configuration = self.judge_configuration
        if item.principle is not None:
            return tuple(one for one in configuration.constitution.principles if one.id == item.principle)
        return draw_principles(configuration, item.id, item.tags, (FIRST, SECOND))

    def entry(self, row: Row) -> BenchEntry:
        """Return what is kept of a row that was made here."""
        began, ended = (round(moment, 3) for moment in self._times.pop(row.prompt.id))
        findings = [finding for score in row.scores for finding in score.findings]
        return BenchEntry(
            id=row.prompt.id,
            ordinal=row.prompt.ordinal,
            verdicts=row.verdicts,
            usage=row.usage,
            failed=row.failed,
            began=began,
            ended=ended,
            options=tuple(finding.probability for finding in findings if finding.probability is not None),
            mass=findings[0].mass if findings else None,
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
