"""Several judges: what each says alone, how far they agree, and what they say together, over prompts and judges.

Each judge's own figures are measured as the evaluation's are, from its own gates and verdicts. Agreement is told with
Cohen's kappa of two judges and Krippendorff's alpha of any number (`cai.annotation.agreement.coefficients`); its
intervals resample prompts, because what is said of one prompt belongs together. Means over prompts and judges have
intervals that count the chance in both (`cai.evaluate.crossed`), over the prompts of which every judge said something.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from cai.annotation.agreement.coefficients import coincidences, estimate, kappa, nominal_alpha, percent, resampled
from cai.core.records import JurorVote, Prompt
from cai.core.shares import holm, sign_test
from cai.evaluate.crossed import crossed_mean
from cai.evaluate.measures import Measure, Unit
from cai.evaluate.measuring import ModelAnswers, align, measure_models, tabulate
from cai.evaluate.pairs import TIES, PairDecisions, measure_pairs, points_of
from cai.evaluate.records import CLEARLY_BROKEN, Answer, Decision, Gate
from cai.evaluate.results import EvaluationSection, Measurement, ModelResult, PairResult, SectionTable
from cai.evaluate.statistics import DIFFERENCES, SHARES, Numbers, known_ends
from cai.method.jury import juror_verdict
from cai.method.verdicts import combine

GATES, PAIRS = "gates", "pairs"
"""What judges agree on: whether a principle is broken, and which of two answers is better."""

_UNDECIDED = 2


@dataclass(frozen=True, slots=True)
class Judgements:
    """What the judges said of an evaluation: `judges` are their names, in the order of their votes."""

    prompts: Sequence[Prompt]
    answered: Sequence[ModelAnswers]
    compared: Sequence[PairDecisions]
    judges: tuple[str, ...]


def jury_section(
    judged: Judgements, baseline: str | None, measures: Sequence[Measure], seed: int
) -> EvaluationSection | None:
    """Return what several judges say alone and together; None of one judge."""
    if len(judged.judges) < 2:
        return None
    own = tuple(measure for measure in measures if measure.judged and measure.corrected)
    places = range(len(judged.judges))
    answered = [[_answers_of(model, place) for model in judged.answered] for place in places]
    compared = [[_decisions_of(pair, place) for pair in judged.compared] for place in places]
    alone = [measure_models(judged.prompts, one, baseline, own, seed) for one in answered]
    pairs = [measure_pairs(judged.prompts, one, judged.answered, seed) for one in compared]
    together = _over_models(judged.prompts, answered, baseline, own)
    win_rates = list(_over_pairs(judged.prompts, compared))
    agreement = list(_agreement(judged, seed))
    tables = [
        SectionTable(
            "agreement of the judges, intervals over prompts",
            ("", "value", "judgements"),
            tuple((one.name, _told(one), f"{one.count:,}") for one in agreement),
        ),
        SectionTable(
            "each judge alone, intervals over prompts",
            ("", "model", *judged.judges),
            tuple(_alone(own, alone)),
        ),
        SectionTable(
            "which answer is better, ties counting half",
            ("", *judged.judges, "over prompts and judges"),
            tuple(_preferred(pairs, win_rates)),
        ),
    ]
    return EvaluationSection(
        name="judges",
        title="several judges",
        about="means of what each says alone, with intervals over prompts and judges",
        items=len(judged.prompts),
        measures=own,
        models=together,
        tables=tuple(table for table in tables if table.rows),
        remarks=(_REMARK,),
        details={
            "judges": list(judged.judges),
            "alone": [[asdict(result) for result in one] for one in alone],
            "win_rates": [asdict(one) for one in win_rates],
            "agreement": [asdict(one) for one in agreement],
        },
    )


_REMARK = (
    "over prompts and judges an interval says what other judges of this kind might say of other prompts: the fewer "
    "judges there are and the more they differ, the wider it is"
)


def _alone(measures: Sequence[Measure], alone: Sequence[Sequence[ModelResult]]) -> Iterator[tuple[str, ...]]:
    for measure in measures:
        for place, model in enumerate(alone[0]):
            if any(one[place].counts(measure.name)[1] for one in alone):
                told = [_told(found) if (found := one[place].told(measure)) else "too few" for one in alone]
                yield measure.name, model.label, *told


def _preferred(pairs: Sequence[Sequence[PairResult]], together: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
    known = {found.name: found for found in together}
    for place, pair in enumerate(pairs[0]):
        name = f"{pair.a} over {pair.b}"
        found = known.get(name)
        told = [f"{one[place].wins + one[place].ties / 2:g} of {_decided(one[place]):,}" for one in pairs]
        yield name, *told, "-" if found is None else f"{_told(found)} of {found.count:,}"


def _decided(pair: PairResult) -> int:
    return pair.wins + pair.losses + pair.ties


def _told(found: Measurement) -> str:
    scale, digits = (100, 1) if found.unit == "share" else (1, 2)
    value = f"{scale * found.value:.{digits}f}"
    if found.low is None or found.high is None:
        return value
    return f"{value} [{scale * found.low:.{digits}f}, {scale * found.high:.{digits}f}]"


def _answers_of(model: ModelAnswers, place: int) -> ModelAnswers:
    """Return a model's answers with the gates as one judge answered them."""
    answers = {
        name: replace(
            answer,
            gates=tuple(Gate(gate.principle_id, gate.jurors[place] if gate.jurors else None) for gate in answer.gates),
        )
        for name, answer in model.answers.items()
    }
    return replace(model, answers=answers)


def _decisions_of(pair: PairDecisions, place: int) -> PairDecisions:
    """Return a pair's decisions as one judge made them."""
    return replace(pair, decisions={name: _decision_of(one, place) for name, one in pair.decisions.items()})


def _decision_of(decision: Decision, place: int) -> Decision:
    verdicts = tuple(juror_verdict(verdict, place) for verdict in decision.verdicts)
    combined = combine(verdicts)
    return replace(decision, verdicts=verdicts, probability=combined.probability, abstained=combined.abstained)


@dataclass(frozen=True, slots=True)
class _OfJudges:
    """What the judges say of a model in one measure: `values` (prompts, judges), nan where a judge says nothing.

    `asked` is of how many prompts any of them was asked.
    """

    values: Numbers
    asked: int


def _of_judges(measure: Measure, judges: Sequence[Sequence[Answer | None]]) -> _OfJudges:
    """Return what each judge's answers, in the order of the prompts, say in a measure."""
    columns = [tabulate(answers, [measure]) for answers in judges]
    terms = zip(*(measure.compute(answers) for answers in judges), strict=True)
    return _OfJudges(
        _by_judge([(one.above[:, 0], one.below[:, 0]) for one in columns]),
        sum(any(term is not None for term in of_prompt) for of_prompt in terms),
    )


def _over_models(
    prompts: Sequence[Prompt],
    answered: Sequence[Sequence[ModelAnswers]],
    baseline: str | None,
    measures: Sequence[Measure],
) -> tuple[ModelResult, ...]:
    """Return each model's shares over prompts and judges, and their differences to the baseline's."""
    known = {}
    for place, model in enumerate(answered[0]):
        aligned = [align(prompts, judge[place]) for judge in answered]
        known[model.label] = [_of_judges(measure, aligned) for measure in measures]
    results = []
    for model in answered[0]:
        own = list(zip(measures, known[model.label], strict=True))
        surpluses: dict[str, Numbers] = {}
        if baseline is not None and model.label != baseline:
            others = known[baseline]
            surpluses = {one.name: found.values - other.values for (one, found), other in zip(own, others, strict=True)}
        of_principles = {one.name: surpluses[one.name] for one in measures if one.principle and one.name in surpluses}
        results.append(
            ModelResult(
                model.label,
                model.engine,
                tuple(one for measure, found in own for one in _measured(measure.name, found.values, SHARES)),
                tuple(one for name, found in surpluses.items() for one in _measured(name, found, DIFFERENCES)),
                None,
                {},
                {},
                {measure.name: found.asked - _complete(found.values) for measure, found in own},
                _p_values(of_principles),
            )
        )
    return tuple(results)


def _p_values(surpluses: Mapping[str, Numbers]) -> dict[str, float]:
    """Return the sign test's p-values of differences (prompts, judges) by name, for all at once (Holm 1979).

    What counts of a prompt is the judges' mean; the judges' own chance is in the intervals of the differences.
    """
    found = {}
    for name, values in surpluses.items():
        means = values[~np.isnan(values).any(axis=1)].mean(axis=1)
        if len(means):
            found[name] = sign_test(int((means > 0).sum()), int((means < 0).sum()))
    return dict(zip(found, holm(list(found.values())), strict=True))


def _by_judge(columns: Sequence[tuple[Numbers, Numbers]]) -> Numbers:
    """Return what each judge says of each prompt (prompts, judges); nan where it says nothing."""
    return np.stack(
        [np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0) for above, below in columns], axis=1
    )


def _complete(values: Numbers) -> int:
    return int((~np.isnan(values)).all(axis=1).sum())


def _measured(name: str, values: Numbers, bounds: tuple[float, float]) -> Iterator[Measurement]:
    """Yield a mean over prompts and judges; where all say the same the ends are exact, as for one judge."""
    whole = values[~np.isnan(values).any(axis=1)]
    found = crossed_mean(whole)
    if found is not None:
        low, high = max(bounds[0], found.low), min(bounds[1], found.high)
        yield Measurement(name, found.value, *known_ends(found.value, low, high, len(whole), bounds), count=len(whole))


def _over_pairs(prompts: Sequence[Prompt], compared: Sequence[Sequence[PairDecisions]]) -> Iterator[Measurement]:
    """Yield the points of each pair's first model, ties counting half, over the prompts that every judge decided."""
    for place, pair in enumerate(compared[0]):
        points = [[points_of(judge[place].decisions.get(prompt.id)) for judge in compared] for prompt in prompts]
        values = np.array([[np.nan if one is None else one for one in row] for row in points], dtype=float)
        yield from _measured(f"{pair.a} over {pair.b}", values, SHARES)


def _agreement(judged: Judgements, seed: int) -> Iterator[Measurement]:
    """Yield how often the judges say the same, and beyond chance, of gates and of pairs."""
    for name, values, tables in ((GATES, 2, _gate_votes(judged)), (PAIRS, 3, _pair_votes(judged))):
        by_prompt, count = [], 0
        for votes in tables:
            counted = [_table(vote, values, len(judged.judges)) for vote in votes if _several(vote)]
            count += len(counted)
            if counted:
                by_prompt.append(np.sum(counted, axis=0))
        if not by_prompt:
            continue
        every = np.stack(by_prompt)
        draws = resampled(every, seed)
        two = len(judged.judges) == 2
        chance = ("Cohen's kappa", kappa) if two else ("Krippendorff's alpha", nominal_alpha)
        for what, coefficient in (("agreement", percent), chance):
            found = estimate(coefficient, every, draws)
            if found.value is not None:
                unit: Unit = "share" if coefficient is percent else "number"
                yield Measurement(f"{name}: {what}", found.value, found.low, found.high, count, unit)


Votes = Sequence[int | None]
"""What each judge says of one thing; None: nothing."""


def _several(votes: Votes) -> bool:
    return sum(vote is not None for vote in votes) > 1


def _table(votes: Votes, values: int, judges: int) -> Numbers:
    """Return a thing's votes as a table of two judges' values, or as coincidences of more judges'."""
    known = [vote for vote in votes if vote is not None]
    if judges > 2:
        return coincidences(known, values)
    found = np.zeros((values, values))
    found[known[0], known[1]] = 1.0
    return found


def _gate_votes(judged: Judgements) -> Iterator[list[Votes]]:
    """Yield, a prompt at a time, what the judges say of every gate on every model's answer."""
    for prompt in judged.prompts:
        answers: list[Answer] = [model.answers[prompt.id] for model in judged.answered if prompt.id in model.answers]
        yield [
            [None if said is None else int(said > CLEARLY_BROKEN) for said in gate.jurors]
            for answer in answers
            for gate in answer.gates
        ]


def _pair_votes(judged: Judgements) -> Iterator[list[Votes]]:
    """Yield, a prompt at a time, what the judges say of every verdict: the one, the other, or neither."""
    for prompt in judged.prompts:
        found = [pair.decisions[prompt.id] for pair in judged.compared if prompt.id in pair.decisions]
        yield [[_vote(vote) for vote in verdict.jurors] for decision in found for verdict in decision.verdicts]


def _vote(vote: JurorVote) -> int | None:
    """Return which answer a judge finds the better; neither where it said that they are equally good."""
    if vote.probability is None:
        return _UNDECIDED if vote.abstained in TIES else None
    return int(vote.probability > 0.5)
