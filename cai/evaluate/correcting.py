"""The judge's shares as people's labels correct them, model by model and pair by pair.

Labels are `annotations/` in the evaluation (`cai review`), of items drawn at random. A model's own labels count where
they are enough (`cai.core.corrected`); where they are not, those on all models' answers do, and then the judge's errors
are taken to be alike on all; what several answered word for word is one case. Whether any principle is broken is known
of an answer whose gates are all labelled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cai.annotation.items import item_key
from cai.annotation.labels import AnswerLabels, read_labels
from cai.annotation.places import find_place
from cai.core.addresses import DataSource
from cai.core.corrected import TOO_FEW, CaseLabel, Confusion, CorrectedShare, LabelledSample, correct_share
from cai.evaluate.measures import Answers, Measure
from cai.evaluate.pairs import PairDecisions
from cai.evaluate.records import Answer
from cai.evaluate.results import ModelResult, PairResult


def people_of(directory: Path) -> AnswerLabels:
    """Return what people said of an evaluation; raises InputError when that cannot be read."""
    return read_labels(find_place(DataSource.parse(str(directory))))


def correct_models(
    results: Sequence[ModelResult], answers: Mapping[str, Answers], measures: Sequence[Measure], people: AnswerLabels
) -> tuple[ModelResult, ...]:
    """Return the results with what people's labels make of each share that they say something of."""
    found: dict[str, dict[str, CorrectedShare]] = {result.label: {} for result in results}
    for measure in measures if len(people) else ():
        if not measure.corrected:
            continue
        samples: dict[str, LabelledSample] = {}
        pooled = LabelledSample()
        told: dict[str, tuple[int, int]] = {}
        for label, own in answers.items():
            terms = list(measure.compute(own))
            told[label] = sum(term is True for term in terms), sum(isinstance(term, bool) for term in terms)
            samples[label] = _sample(measure, own, terms, people)
            pooled.add_all(samples[label])
        for label in found if pooled.confusion.labels else ():
            found[label][measure.name] = _corrected(*told[label], samples[label].confusion, pooled.confusion)
    return tuple(replace(result, corrected=found[result.label]) for result in results)


def correct_pairs(
    results: Sequence[PairResult],
    decided: Sequence[PairDecisions],
    answers: Mapping[str, Mapping[str, Answer]],
    people: AnswerLabels,
) -> tuple[PairResult, ...]:
    """Return the results with the corrected share of the decided prompts on which the first model is the better."""
    told = []
    for result, pair in zip(results, decided, strict=True):
        sample = Confusion()
        for name, decision in pair.decisions.items() if len(people) else ():
            a, b = answers[pair.a].get(name), answers[pair.b].get(name)
            if decision.probability is not None and a is not None and b is not None:
                truly = people.prefers(a.messages, a.response, b.response)
                sample += Confusion() if truly is None else Confusion.of(decision.probability > 0.5, truly)
        share = correct_share(result.wins, result.wins + result.losses, sample) if sample.labels else None
        told.append(replace(result, corrected=share))
    return tuple(told)


def _corrected(yes: int, count: int, own: Confusion, pooled: Confusion) -> CorrectedShare:
    by_own = correct_share(yes, count, own)
    return correct_share(yes, count, pooled) if by_own.refused == TOO_FEW else by_own


def _sample(measure: Measure, answers: Answers, terms: Sequence[object], people: AnswerLabels) -> LabelledSample:
    """Return what the judge said of the answers of which people tell the truth."""
    sample = LabelledSample()
    for answer, term in zip(answers, terms, strict=True):
        if answer is not None and isinstance(term, bool):
            label = _label(measure, answer, people)
            if label is not None:
                sample.add(label, said=term)
    return sample


def _label(measure: Measure, answer: Answer, people: AnswerLabels) -> CaseLabel | None:
    """Return what people's labels say of an answer in a measure; None where they say too little."""
    asked = [gate.principle_id for gate in answer.gates if measure.principle in (None, gate.principle_id)]
    said = [people.breaks(answer.messages, answer.response, principle) for principle in asked]
    if not said or None in said:
        return None
    keys = tuple(item_key("gate", answer.messages, [answer.response], principle) for principle in asked)
    return CaseLabel(keys, True in said)
