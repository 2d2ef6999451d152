"""What several judges come to: one verdict, with what each of them said.

Jurors that abstain have no vote. The label is the mean of the others' probabilities; with a calibration of the jury it
is the sigmoid of their log-odds, each times what the juror is worth. Their disagreement stays in the verdict.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from cai.core.identity import steady
from cai.core.records import JurorVote, Verdict
from cai.method.gate import GateAnswer
from cai.method.label_calibration import JudgeCalibration, log_odds
from cai.method.verdicts import FAILED, TIE, is_tie, mean_of_orders


def jury_verdict(names: Sequence[str], verdicts: Sequence[Verdict], calibration: JudgeCalibration | None) -> Verdict:
    """Return the verdict of the jury on one comparison under one principle; `verdicts` are the jurors', in their order.

    `first`, `second` and the masses are the jurors' means. Where no juror decided, the reason is the first one's.
    """
    probability, abstained = _label(verdicts, calibration)
    mute = [text for verdict in verdicts for text in verdict.unreadable]
    one = verdicts[0]
    return Verdict(
        a_source=one.a_source,
        b_source=one.b_source,
        principle_id=one.principle_id,
        first=_mean([verdict.first for verdict in verdicts]),
        second=_mean([verdict.second for verdict in verdicts]),
        first_mass=_mean([verdict.first_mass for verdict in verdicts]),
        second_mass=_mean([verdict.second_mass for verdict in verdicts]),
        probability=probability,
        abstained=abstained,
        rationales=tuple(text for verdict in verdicts for text in verdict.rationales),
        unreadable=tuple(mute) if all(verdict.unreadable for verdict in verdicts) else (),
        jurors=tuple(
            JurorVote(name, verdict.first, verdict.second, verdict.probability, verdict.abstained)
            for name, verdict in zip(names, verdicts, strict=True)
        ),
    )


def jury_gate(answers: Sequence[GateAnswer]) -> GateAnswer:
    """Return the gate of the jury, the mean of the jurors that answered; of one judge, its own."""
    if len(answers) == 1:
        return answers[0]
    decided = [answer.probability for answer in answers if answer.probability is not None]
    thought = "\n\n".join(answer.reasoning for answer in answers if answer.reasoning)
    return GateAnswer(
        steady(fmean(decided)) if decided else None, steady(fmean(one.mass for one in answers)), thought or None
    )


def juror_verdict(verdict: Verdict, place: int) -> Verdict:
    """Return what one juror of a jury's verdict says by itself; what was not put to the jurors is as it is."""
    if not verdict.jurors:
        return verdict
    vote = verdict.jurors[place]
    return replace(
        verdict, first=vote.first, second=vote.second, probability=vote.probability, abstained=vote.abstained, jurors=()
    )


def votes_of(verdict: Verdict) -> tuple[float, ...]:
    """Return the log-odds of each juror of a verdict, or of its one judge; 0 of one that abstained."""
    votes = [(one.first, one.second, one.probability) for one in verdict.jurors]
    votes = votes or [(verdict.first, verdict.second, verdict.probability)]
    means = [None if decided is None else mean_of_orders(first, second) for first, second, decided in votes]
    return tuple(0.0 if mean is None else log_odds(mean) for mean in means)


def disagree(verdict: Verdict) -> bool:
    """Tell whether jurors that decided prefer different answers."""
    decided = [vote.probability for vote in verdict.jurors if vote.probability is not None]
    return bool(decided) and min(decided) < 0.5 < max(decided)


def _label(verdicts: Sequence[Verdict], calibration: JudgeCalibration | None) -> tuple[float | None, str | None]:
    decided = [verdict.probability for verdict in verdicts if verdict.probability is not None]
    if not decided:
        reasons = (verdict.abstained for verdict in verdicts if verdict.abstained is not None)
        return None, next(reasons, FAILED)
    probability = (
        fmean(decided)
        if calibration is None
        else calibration.label([vote for verdict in verdicts for vote in votes_of(verdict)])
    )
    return (None, TIE) if is_tie(probability) else (probability, None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
