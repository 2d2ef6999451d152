"""`plan_abtest`, `read_abtest`: two models in front of real users."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cai.abtest.outcome import AbtestPlan, AbtestReading
from cai.abtest.settings import PlanSettings, ReadSettings
from cai.api.options import Count, Positive, Seed, checked

Between = Annotated[float, Field(gt=0, lt=1)]
Primary = Literal["preference", "thumbs", "rating", "completion"]


def plan_abtest(
    *,
    preference: Between | None = None,
    thumbs: str | None = None,
    completion: str | None = None,
    incidents: str | None = None,
    engagement: Positive | None = None,
    alpha: Between = 0.05,
    power: Between = 0.8,
    share: Between = 0.5,
    daily: Count | None = None,
    out: str | Path | None = None,
) -> AbtestPlan:
    """Return how many units (users, or conversations) a difference between two models takes.

    `preference` is the expected share of votes for the new model; `thumbs`, `completion` and `incidents` are shares
    written OLD:NEW, `engagement` is a difference of means in standard deviations. A difference that is there is found
    with the probability `power`, one that is not with `alpha`. `share` of the units are the new model's; with `daily`
    units a day the days are told. `out` is a file for the plan. Raises UsageError.
    """
    given = checked(plan_abtest, locals())
    from cai.abtest.plan import plan_test  # noqa: PLC0415

    return plan_test(PlanSettings.typed(**given | {"out": None if out is None else Path(out)}))


def read_abtest(
    feedback: str | Path,
    *,
    new: str,
    old: str,
    primary: Primary = "preference",
    plan: str | Path | None = None,
    alpha: Between | None = None,
    seed: Seed = 0,
    figure: str | Path | None = None,
) -> AbtestReading:
    """Return what users did with two models, and what to do about it.

    `feedback` is a file of rows with `model` (`new` or `old`, by name), perhaps `user` and `time`, and any of
    `preferred`, `thumb`, `rating`, `completed`, `engagement`, `incident`. `primary` is the metric that decides, `plan`
    what `plan_abtest` wrote. It may be read daily: false alarms stay as rare as `alpha` says (None: the plan's, without
    one 0.05). `seed` is that of the bootstrap, `figure` a PNG file for the looks. Raises UsageError or InputError.
    """
    checked(read_abtest, locals())
    from cai.abtest.run import read_test  # noqa: PLC0415  (numpy)

    place = None if plan is None else Path(plan)
    found = read_test(ReadSettings(Path(feedback), new, old, primary, place, alpha, seed))
    if figure is not None:
        from cai.abtest.chart import draw_looks  # noqa: PLC0415  (matplotlib)

        draw_looks(found, Path(figure))
    return found
