"""Diversity and length of answers beside the baseline's: what training makes of them that no single answer shows.

Preference training tends to longer answers (Singhal et al. 2023, arXiv 2310.03716) and to answers that are alike
(Kirk et al. 2023, arXiv 2310.06452). Self-BLEU (Zhu et al. 2018, arXiv 1802.01886) takes each answer's n-grams of one
to four tokens and counts those that any other answer has, as often as that has them; here of all answers together, as
BLEU is. Lengths are characters. Intervals resample prompts; the other answers stay as they are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from cai.core.records import Prompt
from cai.evaluate.measures import Measure, Term, each, tokens
from cai.evaluate.measuring import ModelAnswers, ModelEntries, measure_entries
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.records import Answer
from cai.evaluate.results import EvaluationSection
from cai.evaluate.statistics import Numbers

_ORDERS = (1, 2, 3, 4)


def drift(
    plan: EvaluatePlan, prompts: Sequence[Prompt], answered: Sequence[ModelAnswers]
) -> tuple[EvaluationSection, ...]:
    """Return the section on diversity and length."""
    others = answered if len(answered) > 1 else ()
    before = next((model.answers for model in others if model.label == plan.baseline), None)
    measures = drift_measures(before)
    entries = [ModelEntries(one.label, one.engine, one.answers, one.failures) for one in answered]
    return (
        EvaluationSection(
            name="drift",
            title="Diversity and length",
            about="of the answers" if before is None else f"of the answers, beside {plan.baseline}'s",
            items=len(prompts),
            measures=measures,
            models=measure_entries(prompts, entries, plan.baseline, measures, plan.settings.seed),
        ),
    )


def drift_measures(before: Mapping[str, Answer] | None) -> tuple[Measure, ...]:
    """Return the measures, those of length only with the baseline's answers."""
    alike = Measure(
        "self-BLEU",
        _alike,
        "n-grams that another answer has too, 0 to 100: higher is less diverse",
        "number",
        "low",
        combine=self_bleu_of,
    )
    if before is None:
        return (alike,)

    def length(answer: Answer) -> Term:
        other = before.get(answer.id)
        return None if other is None else (float(len(answer.response)), float(len(other.response)))

    def is_longer(answer: Answer) -> Term:
        other = before.get(answer.id)
        return None if other is None else len(answer.response) > len(other.response)

    return (
        alike,
        Measure("length by the baseline's", each(length), "characters by the baseline's, of all answers", "number"),
        Measure("longer than the baseline's", each(is_longer), "answers with more characters than the baseline's"),
    )


def self_bleu_of(sums: Numbers) -> Numbers:
    """Return self-BLEU, 0 to 100, by sums of shape (rows, 8): n-grams in other answers of each length, then all."""
    shared, whole = np.hsplit(sums, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * np.exp(np.log(shared / whole).mean(axis=1)))


def _alike(answers: Sequence[Answer | None]) -> list[Term]:
    found = iter(shared_ngrams([answer.response for answer in answers if answer is not None]))
    return [None if answer is None else next(found) for answer in answers]


def shared_ngrams(texts: Sequence[str]) -> list[tuple[float, ...]]:
    """Return of each text how many of its n-grams others have, of each length, and how many it has."""
    found = [([], []) for _ in texts]  # type: list[tuple[list[float], list[float]]]
    for order in _ORDERS:
        counted = [_ngrams(text, order) for text in texts]
        most: dict[tuple[str, ...], tuple[int, int, int]] = {}  # how often, in which text, how often in another at most
        for place, grams in enumerate(counted):
            for gram, count in grams.items():
                first, where, second = most.get(gram, (0, -1, 0))
                most[gram] = (count, place, first) if count > first else (first, where, max(second, count))
        for place, grams in enumerate(counted):
            shared = sum(
                min(count, second if where == place else first)
                for gram, count in grams.items()
                for first, where, second in [most[gram]]
            )
            found[place][0].append(float(shared))
            found[place][1].append(float(grams.total()))
    return [(*shared, *whole) for shared, whole in found]


def _ngrams(text: str, order: int) -> Counter[tuple[str, ...]]:
    words = tokens(text)
    return Counter(tuple(words[place : place + order]) for place in range(len(words) - order + 1))
