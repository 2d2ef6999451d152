"""How far the judge's gates can be trusted, where the oracle knows the truth.

Brier score (Brier 1950), expected calibration error in ten equal bins (Guo et al. 2017, 1706.04599, section 2), and
what a decision at 0.5 catches (sensitivity) and leaves alone (specificity). All models' responses count together;
intervals resample prompts, so that several responses to one prompt stay together; where all prompts say the same the
ends are exact (`statistics.known_ends`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cai.constitution import Principle
from cai.core.reliability import BINS, bin_of
from cai.evaluate.records import CLEARLY_BROKEN, Judged
from cai.evaluate.results import Calibration, Measurement
from cai.evaluate.statistics import SHARES, Numbers, known_ends, ratios
from cai.tiny import oracle

_RATIOS = ("Brier score", "sensitivity", "specificity", "base rate")

Answers = Sequence[Sequence[Judged | None]]
"""Each model's answers in the order of the prompts."""


def calibrate(answers: Answers, principles: Sequence[Principle], seed: int) -> list[Calibration]:
    """Return the calibration over all principles first, then of each that has a kind; empty where nothing is known."""
    kinds = {principle.id: oracle.kind_of(principle.id) for principle in principles}
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    parts = {name: _tally(answers, {name: kind}) for name, kind in known.items()}
    parts = {name: tally for name, tally in parts.items() if tally[:, 0].any()}
    if not parts:
        return []
    every = np.sum(list(parts.values()), axis=0)
    return [
        _calibration(None, None, every, seed),
        *(_calibration(name, known[name], tally, seed) for name, tally in parts.items()),
    ]


def _tally(answers: Answers, kinds: Mapping[str, str]) -> Numbers:
    """Return sums a prompt: gates, squared errors, broken, caught, kept, left alone, then each bin's gap."""
    tally = np.zeros((len(answers[0]), 6 + BINS))
    for model in answers:
        for row, answer in zip(tally, model, strict=True):
            if answer is None or answer.truth is None:
                continue
            for gate in answer.gates:
                if gate.principle_id not in kinds or gate.probability is None:
                    continue
                truth = kinds[gate.principle_id] in answer.truth.broken
                says = gate.probability > CLEARLY_BROKEN
                row[:6] += (
                    1,
                    (gate.probability - truth) ** 2,
                    truth,
                    truth and says,
                    not truth,
                    not truth and not says,
                )
                row[6 + bin_of(gate.probability)] += gate.probability - truth
    return tally


def _calibration(principle_id: str | None, kind: str | None, tally: Numbers, seed: int) -> Calibration:
    gates, squares, broken, caught, kept, left_alone = tally[:, :6].T
    above = np.stack([squares, caught, left_alone, broken], axis=1)
    below = np.stack([gates, broken, kept, gates], axis=1)
    estimates = ratios(above, below, seed)
    counts = (below > 0).sum(axis=0).tolist()
    measurements = [
        Measurement(name, float(value), *known_ends(value, low, high, int(count), SHARES), int(count))
        for name, value, low, high, count in zip(_RATIOS, *estimates, counts, strict=True)
        if not np.isnan(value)
    ]
    total = gates.sum()
    error = float(np.abs(tally[:, 6:].sum(axis=0)).sum() / total)
    # Resampling only ever adds error to the bins, so it gives no interval here.
    measurements.insert(1, Measurement("expected calibration error", error, None, None, counts[0]))
    return Calibration(principle_id, kind, int(total), tuple(measurements))


def check_detector(answers: Answers, seed: int) -> tuple[Measurement, ...]:
    """Return the refusal detector's precision and recall beside the oracle's truth; nothing where it has none.

    Only responses on topic count: of others the oracle cannot say whether they decline.
    """
    tally = np.zeros((len(answers[0]), 3))
    for model in answers:
        for row, answer in zip(tally, model, strict=True):
            if answer is not None and answer.truth is not None and answer.truth.on_topic:
                row += (answer.refuses, answer.truth.declines, answer.refuses and answer.truth.declines)
    said, true, both = tally.T
    estimates = ratios(np.stack([both, both], axis=1), np.stack([said, true], axis=1), seed)
    found = []
    for name, below, value, low, high in zip(("precision", "recall"), (said, true), *estimates, strict=True):
        if not np.isnan(value):
            count = int((below > 0).sum())
            ends = known_ends(value, low, high, count, SHARES)
            found.append(Measurement(f"refusal detector: {name}", float(value), *ends, count))
    return tuple(found)
