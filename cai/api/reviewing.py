"""`review`: people read and annotate on a page of this machine; `agreement`: what they said, compared."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cai.api.given import Model, data_source, model_spec, several_models
from cai.api.options import Overlap, Port, Seed, checked
from cai.api.runs import RunDirectory as Run
from cai.api.showing import Showing
from cai.api.working import run_watched
from cai.core.paths import expand
from cai.pipeline.watch import Watch
from cai.review.settings import Order, ReviewSettings

if TYPE_CHECKING:
    from cai.annotation.agreement import Agreement


def review(
    data: str | Path | Run,
    *,
    annotator: Sequence[str] = (),
    annotator_groups: str | Path | None = None,
    overlap: Overlap = 0.2,
    order: Order = "random",
    seed: Seed = 0,
    constitution: str | Path | None = None,
    shape: str | None = None,
    talk: Sequence[Model] = (),
    port: Port = 0,
    open_browser: bool = True,
    progress: bool = True,
) -> None:
    """Open a page on this machine on which people read and annotate; returns when it is interrupted.

    `data` is a run, an evaluation, or a file or set as after `cai review`. `annotator` are the names of who may say
    something (none: anybody, by a name of their own), `annotator_groups` a table of what they are (`name`, role …) by
    which agreement is told too, `overlap` the share in [0, 1] of the items that all of them are
    asked. `order` says which item is next: `random`, `uncertainty` of the judge, `disagreement` of people. `seed`
    decides what is drawn. `constitution` has the criteria (None: the run's own, else general ones), `shape` is the
    layout of a public set, `talk` are one or two models to talk to. `port` 0 is any that is free; `open_browser=False`
    only tells the address, and `progress=False` tells nothing.

    What people say is appended to `annotations/` of the run, line by line. Raises UsageError when the data cannot be
    reviewed, or the port is taken.
    """
    checked(review, locals())
    from cai.review.plan import plan_review  # noqa: PLC0415  (Arrow)
    from cai.review.run import review as serve  # noqa: PLC0415

    settings = ReviewSettings(
        data=data_source(data),
        annotator=tuple(annotator),
        annotator_groups=None if annotator_groups is None else expand(str(annotator_groups)),
        overlap=overlap,
        order=order,
        seed=seed,
        constitution=None if constitution is None else str(constitution),
        shape=shape,
        talk=tuple(model_spec(model) for model in several_models(talk, "talk")),
        port=port,
        open_browser=open_browser,
    )
    plan = plan_review(settings)
    telling = Showing(progress=progress)

    async def job(watch: Watch) -> None:
        with watch.stop.at_once():
            await serve(plan, lambda address: telling.say(f"the page is at {address}, on this machine only"))

    with suppress(KeyboardInterrupt):
        run_watched(job, progress=False)


def agreement(
    data: str | Path | Run, *, annotator_groups: str | Path | None = None, shape: str | None = None
) -> "Agreement":
    """Return how far people agree in what they said of a run, an evaluation or data, and with its judge or labels.

    `data`, `annotator_groups` and `shape` are as for `review`. The result has `rows`, `leanings`
    and `remarks`; `as_text()` is all of it. Raises UsageError when the data cannot be reviewed.
    """
    from cai.review.plan import plan_review  # noqa: PLC0415  (Arrow)
    from cai.review.run import agreement as measure  # noqa: PLC0415

    groups = None if annotator_groups is None else expand(str(annotator_groups))
    return measure(plan_review(ReviewSettings(data_source(data), annotator_groups=groups, shape=shape)))
