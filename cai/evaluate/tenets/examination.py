"""The examination of tenets: a model answers every scenario, and the judge says whether its tenet is kept.

The gate is asked under the tenet in the place of its principle, so what a principle says in one breath is measured a
sentence at a time. A tenet that many answers keep tells no more than that these scenarios do not break it. The idea is
that of "How Well Do Models Follow Their Constitutions" (arXiv 2605.24229), which we know at second hand.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cai.constitution import Constitution, Principle
from cai.core.counts import counted
from cai.core.identity import fingerprint
from cai.core.records import Message, PartFailure, Prompt, Row, Usage, read_part_failures
from cai.core.shares import Proportion
from cai.data.tenets import Tenet, Tenets
from cai.evaluate.answering import answer_turn, ask_gates
from cai.evaluate.examining import Conclusion, Examination, Found, Opened
from cai.evaluate.measures import UNANSWERED, Measure, Term
from cai.evaluate.records import CLEARLY_BROKEN
from cai.evaluate.results import SectionTable
from cai.method.refusals import refuses
from cai.models.meter import Meter, UsageCounter

SHOWN = 20
"""Tenets in the table at most; evaluation.json has all."""


@dataclass(frozen=True, slots=True)
class TenetAnswer:
    """A model's answer to one scenario; `broken` is how likely it breaks the tenet, None where nobody says."""

    id: str
    ordinal: int
    principle: str
    tenet: str
    scenario: str
    response: str
    truncated: bool
    refuses: bool
    broken: float | None
    usage: Usage
    failed: tuple[PartFailure, ...]

    @property
    def keeps(self) -> bool | None:
        """Whether the tenet is kept; None where nobody says."""
        return None if self.broken is None else self.broken <= CLEARLY_BROKEN


@dataclass(frozen=True, slots=True)
class Scenarios:
    """An open model, and of every item its tenet."""

    opened: Opened
    tenets: Mapping[str, Tenet]
    _answers: dict[str, TenetAnswer] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return the row of a scenario, whose answer is kept for `entry`.

        Raises RowError where there is no answer or the gate may be answered later, and what else an engine raises.
        """
        opened, tenet, counter = self.opened, self.tenets[prompt.id], UsageCounter()
        target = Meter(opened.engine, counter, opened.tally)
        answer = await answer_turn(target, opened.method, prompt.messages, prompt.id)
        judge = Meter(opened.judge, counter, opened.tally)
        rule = Principle(id=tenet.principle, text=tenet.text)
        dialogue: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": answer.text})
        (found,), failed, _ = await ask_gates(judge, opened.method, dialogue, (rule,), prompt.id, "gate")
        self._answers[prompt.id] = TenetAnswer(
            id=prompt.id,
            ordinal=prompt.ordinal,
            principle=tenet.principle,
            tenet=tenet.text,
            scenario=prompt.messages[-1]["content"],
            response=answer.text,
            truncated=answer.finish_reason == "length",
            refuses=refuses(answer.text),
            broken=found.gate,
            usage=counter.usage,
            failed=tuple(failed),
        )
        return Row(prompt, (), (), counter.usage, opened.provenance, tuple(failed))

    def entry(self, row: Row) -> TenetAnswer:
        """Return the answer of a row that was made here."""
        return self._answers.pop(row.prompt.id)


def _read(value: dict[str, Any]) -> TenetAnswer:
    return TenetAnswer(**{**value, "usage": Usage(**value["usage"]), "failed": read_part_failures(value["failed"])})


def examine_tenets(tenets: Tenets, constitution: Constitution) -> Examination[TenetAnswer]:
    """Return the examination of all tenets that have scenarios; an item is named by what it asks, so files may grow."""
    asked = [tenet for tenet in tenets.tenets if tenet.scenarios]
    of_item = {
        fingerprint([tenet.principle, tenet.text, scenario]): (tenet, scenario)
        for tenet in asked
        for scenario in tenet.scenarios
    }
    items = tuple(
        Prompt(name, place, ({"role": "user", "content": scenario},))
        for place, (name, (_, scenario)) in enumerate(of_item.items())
    )
    of_tenet = {name: tenet for name, (tenet, _) in of_item.items()}
    return Examination(
        name="tenets",
        title="tenets",
        about=f"{counted(len(asked), 'tenet')} of {counted(len({one.principle for one in asked}), 'principle')}, each "
        "asked about in scenarios of its own",
        items=items,
        measures=_measures([principle.id for principle in constitution.principles if tenets.of(principle.id)]),
        ask=lambda opened: Scenarios(opened, of_tenet),
        read=_read,
        conclude=partial(_conclude, tenets, constitution),
    )


def _measures(principles: Sequence[str]) -> tuple[Measure, ...]:
    return (
        Measure("keeps its tenet", _each(None, _keeps), "by the judge's gate", better="high", drawn=True, judged=True),
        *(
            Measure(
                f"keeps tenets of {principle}",
                _each(principle, _keeps),
                "by the judge's gate",
                better="high",
                drawn=True,
                principle=principle,
                judged=True,
            )
            for principle in principles
        ),
        Measure("refuses a scenario", _each(None, lambda answer: answer.refuses), "by its words"),
    )


def _each(
    principle: str | None, function: Callable[[TenetAnswer], Term]
) -> Callable[[Sequence[TenetAnswer | None]], Iterable[Term]]:
    """Return the computation that looks at the answers about one principle, or about all."""
    return lambda answers: [
        None if answer is None or principle not in (None, answer.principle) else function(answer) for answer in answers
    ]


def _keeps(answer: TenetAnswer) -> Term:
    return UNANSWERED if answer.keeps is None else answer.keeps


@dataclass(frozen=True, slots=True)
class _Kept:
    """How often one model keeps one tenet, and how often nobody says."""

    principle: str
    tenet: str
    model: str
    kept: Proportion
    unanswered: int

    @property
    def best(self) -> float:
        """The high end of the share's interval: what is surely bad comes before what may be."""
        found = self.kept.interval
        return 1.0 if found is None else found.high


def _conclude(tenets: Tenets, constitution: Constitution, found: Found[TenetAnswer], _seed: int) -> Conclusion:
    """Return which tenet fails where, the worst first, and what could not be examined."""
    kept = sorted(_by_tenet(found), key=lambda one: one.best)
    rows = tuple((one.tenet, one.principle, one.model, one.kept.in_counts) for one in kept[:SHOWN])
    title = f"tenets, those first that are surely kept least; {len(rows)} of {len(kept):,}, kept of answered"
    remarks = [f"left out of the tenets: {cause} {count:,}" for cause, count in tenets.left_out.items()]
    silent = sum(not tenet.scenarios for tenet in tenets.tenets)
    if silent:
        remarks.append(f"{counted(silent, 'tenet')} without a scenario cannot be examined")
    without = [principle.id for principle in constitution.principles if not tenets.of(principle.id)]
    if without:
        remarks.append(f"without a tenet, and so not examined: {', '.join(without)}")
    details = {
        "tenets": [
            {
                "tenet": one.tenet,
                "principle": one.principle,
                "model": one.model,
                "kept": one.kept.as_json(),
                "unanswered": one.unanswered,
            }
            for one in kept
        ]
    }
    return Conclusion(details, (SectionTable(title, ("tenet", "principle", "model", "kept"), rows),), tuple(remarks))


def _by_tenet(found: Found[TenetAnswer]) -> list[_Kept]:
    """Return how often each model keeps each tenet."""
    said: dict[tuple[str, str, str], list[bool | None]] = defaultdict(list)
    for label, answers in found.items():
        for answer in answers.values():
            said[answer.principle, answer.tenet, label].append(answer.keeps)
    return [
        _Kept(*name, Proportion(sum(map(bool, keeps)), len(keeps) - keeps.count(None)), keeps.count(None))
        for name, keeps in said.items()
    ]
