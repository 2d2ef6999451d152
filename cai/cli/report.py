"""`cai report DIRECTORY`: one page on a run, an evaluation or a loop; or the rows behind a number of it."""

from pathlib import Path
from typing import Any, get_args

import click

from cai.cli.options import EXISTING_FOLDER, EXISTING_RUN, SEED, FiniteRange, WrittenPath
from cai.cli.terminal import print_json, say
from cai.report.plan import plan_report
from cai.report.run import rows_of, write_report
from cai.report.settings import Language, ReportSettings


@click.command()
@click.argument("directory", type=EXISTING_RUN)
@click.option(
    "--language", type=click.Choice(get_args(Language)), default="en", show_default=True, help="English or Korean."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides which examples are drawn.")
@click.option(
    "--price-prompt", type=FiniteRange(0), help="Price of a million prompt tokens, in any currency: the cost is told."
)
@click.option("--price-completion", type=FiniteRange(0), help="Price of a million generated tokens.")
@click.option("--bench", type=EXISTING_FOLDER, help="A directory of `cai judge bench` on its judge.")
@click.option("--beside", type=EXISTING_FOLDER, help="An earlier evaluation, which this one is compared with.")
@click.option("--out", type=WrittenPath(dir_okay=False, path_type=Path), help="The file (default: report.html in it).")
@click.option("--rows", metavar="NAME", help="Print the ids of all rows that a number comes from, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def report(rows: str | None, as_json: bool, **options: Any) -> None:
    """Write one HTML file on a run, an evaluation or a loop, for those who decide about it.

    It says what was asked, what came out, how well, and what is not known; it needs no network and no script, and any
    browser prints it as PDF. With --beside it says what changed between two evaluations, and which prompts flipped.
    """
    plan = plan_report(ReportSettings(**options))
    if rows is not None:
        found = rows_of(plan, rows)
        if as_json:
            print_json(list(found))
        else:
            for one in found:
                say(one)
        return
    written = write_report(plan)
    if as_json:
        print_json(written.as_json())
    else:
        for line in written.comparison:
            say(line)
        say(f"{written.out}: a report of {plan.called}, {written.size / 1000:,.0f} kB; {written.links:,} lists of rows")
