"""`cai review DATA`: a page on this machine, on which people read and annotate."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cai.cli.options import SEED, WrittenPath
from cai.cli.running import run_watched
from cai.cli.terminal import remark, say
from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch
from cai.review.plan import plan_review
from cai.review.run import agreement as measure
from cai.review.run import review as serve
from cai.review.settings import ReviewSettings


class Share(click.ParamType[float]):
    """A share, written as `20%` or 0.2."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what is no number from 0 to 1."""
        typed = str(value).strip()
        try:
            number = float(typed.removesuffix("%")) / (100 if typed.endswith("%") else 1)
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= 1.0:
            self.fail(f"{value} is no share; write 20% or 0.2.", param, ctx)
        return number


@click.command()
@click.argument("data", type=DataSource.parse)
@click.option(
    "--annotator", multiple=True, metavar="NAME", help="Who may annotate; may be repeated (default: anybody)."
)
@click.option(
    "--annotator-groups",
    type=WrittenPath(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A table of what annotators are (name, role, language …), whose leanings are told by group.",
)
@click.option(
    "--overlap", type=Share(), default=0.2, show_default=True, help="Share of the items that every annotator is asked."
)
@click.option(
    "--order",
    type=click.Choice(["random", "uncertainty", "disagreement"]),
    default="random",
    show_default=True,
    help="The next item: any, what the judge is least sure of, or what people disagree on.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides what is drawn.")
@click.option("--constitution", help="The criteria and guidelines (default: the run's own, else general criteria).")
@click.option("--shape", help="The layout of a public data set, where it cannot be told from its columns.")
@click.option(
    "--talk",
    type=ModelSpec.parse,
    multiple=True,
    metavar="MODEL",
    help="A model to talk to; twice: vote between two.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="The port; 0: any that is free."
)
@click.option("--open/--no-open", "open_browser", default=True, show_default=True, help="Open a browser on the page.")
@click.option("--agreement", is_flag=True, help="Print how far people agree, and end.")
def review(agreement: bool, **options: Any) -> None:
    """Read and annotate a run, an evaluation or a file of pairs on a page on this machine.

    It answers on 127.0.0.1 only, to whoever has the address with its token. What people say is appended to
    `annotations/` in the run, line by line. Ctrl-C ends it.
    """
    plan = plan_review(ReviewSettings(**options))
    if agreement:
        say(measure(plan).as_text().rstrip())
        return

    def opened(address: str) -> None:
        say(address)
        remark("the page is at this address, on this machine only; Ctrl-C ends it")

    async def job(watch: Watch) -> None:
        with watch.stop.at_once():
            await serve(plan, opened)

    with suppress(KeyboardInterrupt):
        run_watched(job, quiet=True)
