"""What a reward model can learn from, and by which likelihood: a descriptor an objective, in one table.

The command line, the plan and the trainers read the table; the equations are in `cai.train.trainers.reward_equations`.
Where no objective is named the data decide: pairs and ranked answers give `bradley-terry`, scores `regression`.
Scores in steps are `ordinal` and rankings are `plackett-luce` only where somebody says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cai.data.examples.shaping import ExampleKind

ObjectiveName = Literal["bradley-terry", "plackett-luce", "regression", "ordinal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One way to learn scores: `data` is the kind of examples, `description` stands on model cards.

    `compares`: it learns from comparisons alone, so that a prompt's scores may all move together and can be centred.
    """

    name: ObjectiveName
    data: ExampleKind
    description: str
    compares: bool = False


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            name="bradley-terry",
            data="pairs",
            description="the better of two answers, Bradley and Terry's likelihood (arXiv 2203.02155, equation 1)",
            compares=True,
        ),
        Objective(
            name="plackett-luce",
            data="ranked",
            description="the order of several answers, Plackett and Luce's likelihood (ListMLE, Xia et al. 2008)",
            compares=True,
        ),
        Objective(name="regression", data="scored", description="scores, by their squared error"),
        Objective(
            name="ordinal",
            data="scored",
            description="scores in steps, the proportional-odds model (McCullagh 1980)",
        ),
    )
}
"""All objectives by name."""
