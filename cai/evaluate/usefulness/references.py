"""Answers beside right answers: the prompts' column `reference`, a text or several.

The judge says of each answer whether it agrees with what a reference says; `overlap` how much of the wording it has.
The wording is compared when measurements are computed, so that packages may come later; what is kept is the judge's
word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.core.records import Message, PartFailure, Prompt, Row, Score, Usage, read_part_failures
from cai.evaluate.examining import Conclusion, Examination, Opened
from cai.evaluate.measures import UNANSWERED, Measure, Term, each
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.usefulness.asking import Statements, answer_of
from cai.evaluate.usefulness.overlap import MISSING, ROUGE, bleu_of, chrf_of, installed, overlap, signatures
from cai.models.meter import UsageCounter

NAME = "references"
AGREES = "agrees with the reference"
_AGREED = 0.5

_STATEMENTS = {
    "en": "It says in substance what a reference answer says, and nothing that contradicts it. {references}",
    "ko": "기준 답변과 실질적으로 같은 내용을 말하며, 그에 어긋나는 내용이 없다. {references}",
}
_REFERENCES = {"en": ("Reference answer: ", "Or: "), "ko": ("기준 답변: ", "또는: ")}


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """An answer beside its references; `agrees` is how likely it says the same, by the judge, None: it did not say."""

    id: str
    ordinal: int
    response: str
    references: tuple[str, ...]
    agrees: float | None
    usage: Usage
    failed: tuple[PartFailure, ...]


@dataclass(frozen=True, slots=True)
class ReferenceExaminer:
    """Asks the judge about one model's answers."""

    opened: Opened

    async def row(self, prompt: Prompt) -> Row:
        """Return an answer's row with the judge's word on it; raises RowError where there is no answer."""
        opened, answer, tally = self.opened, answer_of(self.opened, prompt.id), UsageCounter()
        failed: list[PartFailure] = []
        dialogue: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": answer.response})
        statement = agreement(opened.method.templates.language, prompt.references)
        finding = await Statements(opened, prompt.id, tally, failed).ask(dialogue, statement, AGREES)
        scores = (Score("response:0", NAME, opened.judge.name, finding.probability, (finding,)),)
        return Row(prompt, (), (), tally.usage, opened.provenance, tuple(failed), scores)

    def entry(self, row: Row) -> ReferenceEntry:
        """Return what is kept."""
        answer, prompt = self.opened.answers[row.prompt.id], row.prompt
        (score,) = row.scores
        return ReferenceEntry(
            prompt.id, prompt.ordinal, answer.response, prompt.references, score.value, row.usage, row.failed
        )


def agreement(language: str, references: Sequence[str]) -> str:
    """Return the statement that an answer agrees with one of the references, in a language or else in English."""
    language = language if language in _STATEMENTS else "en"
    first, others = _REFERENCES[language]
    told = " ".join(f"{others if place else first}{text}" for place, text in enumerate(references))
    return _STATEMENTS[language].format(references=told)


def read_reference_entry(value: dict[str, Any]) -> ReferenceEntry:
    """Return an entry from what JSON says; raises KeyError or TypeError when it is none."""
    texts = {"references": tuple(value["references"]), "usage": Usage(**value["usage"])}
    return ReferenceEntry(**{**value, **texts, "failed": read_part_failures(value["failed"])})


def with_references(_plan: EvaluatePlan, prompts: Sequence[Prompt]) -> tuple[Examination[ReferenceEntry], ...]:
    """Return the examination of the prompts that have references; none without any."""
    items = tuple(prompt for prompt in prompts if prompt.references)
    if not items:
        return ()
    return (
        Examination(
            name=NAME,
            title="Beside right answers",
            about="of the prompts that have references",
            items=items,
            measures=reference_measures(),
            ask=ReferenceExaminer,
            read=read_reference_entry,
            conclude=_conclude,
        ),
    )


def reference_measures() -> tuple[Measure, ...]:
    """Return the measures, those of wording only where their packages are installed."""
    wording = (
        Measure(
            "BLEU",
            each(lambda entry: overlap(entry.response, entry.references).bleu),
            "n-grams of words in a reference, 0 to 100, of all answers together (sacrebleu)",
            "number",
            "high",
            combine=bleu_of,
        ),
        Measure(
            "chrF",
            each(lambda entry: overlap(entry.response, entry.references).chrf),
            "n-grams of characters in a reference, 0 to 100, of all answers together (sacrebleu)",
            "number",
            "high",
            combine=chrf_of,
        ),
        *(_rouge(place, name) for place, name in enumerate(ROUGE)),
    )
    return (
        Measure(AGREES, each(_agrees), "by the judge, above 0.5", better="high", drawn=True, judged=True),
        *(wording if installed() else ()),
    )


def _rouge(place: int, name: str) -> Measure:
    told = "the longest common subsequence" if name == "rougeL" else f"n-grams of {name[-1]}"
    return Measure(
        f"ROUGE-{name.removeprefix('rouge')}",
        each(lambda entry: overlap(entry.response, entry.references).rouge[place]),
        f"F1 of {told} with the reference that fits best, on average (rouge-score)",
        better="high",
        drawn=name == "rougeL",
    )


def _agrees(entry: ReferenceEntry) -> Term:
    return UNANSWERED if entry.agrees is None else entry.agrees > _AGREED


def _conclude(_found: Mapping[str, Mapping[str, ReferenceEntry]], _seed: int) -> Conclusion:
    return Conclusion(details=signatures()) if installed() else Conclusion(remarks=(MISSING,))
