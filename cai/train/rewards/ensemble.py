"""Several reward models as one: what they agree on counts, and where they disagree less.

A single model is right where it was trained and anything elsewhere, and a policy that learns from it goes elsewhere.
Models of the same data and other seeds err in other ways there, so that their disagreement tells of it. Two ways to be
careful (Coste et al., "Reward model ensembles help mitigate overoptimization", arXiv 2310.02743, section 3):

| way | reward |
|---|---|
| `penalty` | the mean less c times the deviation of the members' scores |
| `worst` | the lowest of the members' scores |

The paper subtracts the variance; we take the deviation in its place, which has the unit of the scores, so that c means
the same whatever the unit is. Of models that share a body the errors are alike, and none of this helps (Eisenstein et
al., 2312.09244): it mitigates.

Scores of two models compare only after each is put on the scale of its own training data, (score - mean) / deviation,
which `cai train reward` wrote into train.json; the ensemble's reward is in these deviations.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.core.errors import ModelError
from cai.train.folder import MANIFEST

EnsembleName = Literal["penalty", "worst"]


@dataclass(frozen=True, slots=True)
class Scale:
    """The mean and the deviation of a model's scores on answers that it was trained on."""

    mean: float
    deviation: float

    @classmethod
    def read(cls, directory: Path) -> "Scale":
        """Return a model's scale from its train.json; raises ModelError where it has none that can be divided by."""
        try:
            found = json.loads((directory / MANIFEST).read_text())["measured"]["scale"]
            scale = cls(float(found["mean"]), float(found["deviation"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelError(
                f"{directory} does not tell the scale of its scores, without which reward models do not compare: "
                "train it with this version of `cai train reward`, or give it alone"
            ) from None
        if not scale.deviation > 0:
            raise ModelError(f"{directory} gives all answers one score, so it cannot be one of several reward models")
        return scale


@dataclass(frozen=True, slots=True)
class Ensemble:
    """How the scores of several models become one reward; `disagreement` is c of `penalty`."""

    way: EnsembleName
    disagreement: float
    scales: tuple[Scale, ...]

    def combine(self, scores: Sequence[Sequence[float | None]]) -> tuple[list[float | None], float | None]:
        """Return a reward an answer from each model's scores of all, and how far the models disagree on average.

        An answer that one of them cannot score has none. The disagreement is the mean of the deviations of the members'
        scores, in units of their own; None where nothing was scored.
        """
        rewards: list[float | None] = []
        deviations: list[float] = []
        for answer in zip(*scores, strict=True):
            told = [
                (score - scale.mean) / scale.deviation
                for score, scale in zip(answer, self.scales, strict=True)
                if score is not None
            ]
            if len(told) < len(self.scales):
                rewards.append(None)
                continue
            deviations.append(statistics.pstdev(told))
            penalized = statistics.fmean(told) - self.disagreement * deviations[-1]
            rewards.append(min(told) if self.way == "worst" else penalized)
        return rewards, statistics.fmean(deviations) if deviations else None
