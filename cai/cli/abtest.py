"""`cai abtest`: `plan` says how many units a difference takes, `read` what feedback says and what to do about it."""

from pathlib import Path

import click
from rich.table import Table

from cai.abtest.metrics import PRIMARIES
from cai.abtest.outcome import AbtestPlan, AbtestReading, Reading
from cai.abtest.plan import plan_test
from cai.abtest.run import read_test
from cai.abtest.sequential import ALPHA
from cai.abtest.settings import PlanSettings, ReadSettings
from cai.cli.options import SEED, Count, FiniteRange, WrittenPath
from cai.cli.screen import Screen, shown
from cai.cli.terminal import print_json, remark

BETWEEN = FiniteRange(0, 1, min_open=True, max_open=True)


@click.group()
def abtest() -> None:
    """Plan a test of two models on real users, and read what they did."""


@abtest.command("plan")
@click.option("--preference", type=BETWEEN, help="Expected share of votes for the new model, e.g. 0.55.")
@click.option("--thumbs", metavar="OLD:NEW", help="Shares of thumbs up, e.g. 0.60:0.63.")
@click.option("--completion", metavar="OLD:NEW", help="Shares of tasks done, e.g. 0.70:0.73.")
@click.option("--incidents", metavar="OLD:NEW", help="Rate a unit today, and the one to be noticed: 0.002:0.004.")
@click.option(
    "--engagement", type=FiniteRange(0, min_open=True), help="A difference of means, in standard deviations: 0.1."
)
@click.option("--alpha", type=BETWEEN, default=ALPHA, show_default=True, help="False alarms that are accepted.")
@click.option("--power", type=BETWEEN, default=0.8, show_default=True, help="How surely a real difference is found.")
@click.option("--share", type=BETWEEN, default=0.5, show_default=True, help="Share of the units that the new one has.")
@click.option("--daily", type=Count(), help="Units a day, of both models together: tells the days.")
@click.option("--out", type=WrittenPath(dir_okay=False, path_type=Path), help="Write the plan, for `abtest read`.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(
    *,
    preference: float | None,
    thumbs: str | None,
    completion: str | None,
    incidents: str | None,
    engagement: float | None,
    alpha: float,
    power: float,
    share: float,
    daily: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say how many users (or conversations) a difference takes, looked at once and looked at daily."""
    found = plan_test(
        PlanSettings.typed(
            preference=preference,
            thumbs=thumbs,
            completion=completion,
            incidents=incidents,
            engagement=engagement,
            alpha=alpha,
            power=power,
            share=share,
            daily=daily,
            out=out,
        )
    )
    if as_json:
        print_json(found.as_json())
        return
    _print_plan(Screen(), found)
    if out is not None:
        remark(f"written to {out}; read feedback with it: cai abtest read FEEDBACK --plan {out}")


@abtest.command("read")
@click.argument("feedback", type=WrittenPath(exists=True, dir_okay=False, path_type=Path))
@click.option("--new", required=True, metavar="NAME", help="The new model's name in the column `model`.")
@click.option("--old", required=True, metavar="NAME", help="The old model's.")
@click.option("--primary", type=click.Choice(PRIMARIES), default="preference", show_default=True, help="What decides.")
@click.option(
    "--plan", "plan", type=WrittenPath(exists=True, dir_okay=False, path_type=Path), help="What `abtest plan` wrote."
)
@click.option("--alpha", type=BETWEEN, help=f"False alarms that are accepted (default: the plan's, else {ALPHA:g}).")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--figure", type=WrittenPath(dir_okay=False, path_type=Path), help="Draw the looks, day by day (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print the reading as JSON.")
def read(
    feedback: Path,
    *,
    new: str,
    old: str,
    primary: str,
    plan: Path | None,
    alpha: float | None,
    seed: int,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Say what users did with two models, and what to do: ship, hold, roll back or go on.

    FEEDBACK has rows with `model`, perhaps `user` and `time`, and any of `preferred`, `thumb`, `rating`, `completed`,
    `engagement`, `incident`. It may be looked at daily: false alarms stay as rare as --alpha says.
    """
    found = read_test(ReadSettings(feedback, new, old, primary, plan, alpha, seed))
    if figure is not None:
        from cai.abtest.chart import draw_looks  # noqa: PLC0415  (matplotlib)

        draw_looks(found, figure)
    if as_json:
        print_json(found.as_json())
    else:
        _print_reading(Screen(), found)


def _print_plan(screen: Screen, found: AbtestPlan) -> None:
    table = Table("metric", "old", "new", "units, one look", "units, daily looks", "days, one", "days, daily", box=None)
    for size in found.sizes:
        days = ("" if value is None else f"{value:,.1f}" for value in (size.days_once, size.days_daily))
        table.add_row(size.metric, f"{size.old:g}", f"{size.new:g}", f"{size.once:,}", f"{size.daily:,}", *days)
    screen.print(table)
    screen.print(
        f"found in {found.power:.0%} of tests, false alarms in {found.alpha:.0%}; units of both models together, "
        f"{found.share:.0%} of them the new one's; of preference each unit has both in front of it",
        soft_wrap=True,
    )


def _print_reading(screen: Screen, found: AbtestReading) -> None:
    for line in found.remarks:
        remark(line)
    table = Table("metric", "units", "new", "old", "difference", "at any look", "at one look", "p (any look)", box=None)
    for one in found.readings:
        table.add_row(one.metric, f"{one.units:,}", *_means(one), f"{one.difference:+.3f}", *_intervals(one))
    screen.print(table)
    if found.incidents is not None:
        each = found.incidents
        screen.print(
            f"incidents: {each.new:,} in {each.new_units:,} units [{each.new_rate.low:.4f}, {each.new_rate.high:.4f}] "
            f"against {each.old:,} in {each.old_units:,} [{each.old_rate.low:.4f}, {each.old_rate.high:.4f}]",
            soft_wrap=True,
        )
    screen.print(shown(f"{found.recommendation.what}: {'; '.join(found.recommendation.reasons)}"), soft_wrap=True)


def _means(one: Reading) -> tuple[str, str]:
    return f"{one.new.mean:.3f}", f"{one.old.mean:.3f}"


def _intervals(one: Reading) -> tuple[str, str, str]:
    always = "" if one.always is None else f"[{one.always.low:+.3f}, {one.always.high:+.3f}]"
    once = "" if one.once is None else f"[{one.once[0]:+.3f}, {one.once[1]:+.3f}]"
    p = "" if one.p_all is None else f"{one.p_all:.4f}"
    return always, once, p
