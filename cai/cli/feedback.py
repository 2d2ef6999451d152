"""`cai feedback import FILE --run RUN`: what users said of a deployed model, into a run's annotations."""

import dataclasses
from pathlib import Path

import click

from cai.annotation.feedback import ImportedFeedback, import_feedback
from cai.annotation.places import find_place
from cai.cli.options import EXISTING_RUN
from cai.cli.terminal import print_json, remark, say
from cai.core.addresses import DataSource
from cai.rundir.origin import location


@click.group()
def feedback() -> None:
    """Take what users said of a deployed model into a run's annotations."""


@feedback.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--run", required=True, type=EXISTING_RUN, help="The run whose annotations it goes to.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def import_(file: Path, run: Path, as_json: bool) -> None:
    """Add the thumbs, ratings, comparisons and comments in FILE (CSV, JSON lines, Parquet …) to a run.

    FILE has a prompt, the time, and what a user said of a response; given again it adds what is new.
    """
    found = import_feedback(file, find_place(DataSource.parse(location(run))))
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _tell(run, found)


def _tell(run: Path, found: ImportedFeedback) -> None:
    added = ", ".join(f"{kind} {count:,}" for kind, count in found.added.items()) or "nothing new"
    say(f"{found.rows:,} rows: {added}; {found.in_run:,} on the run's own answers; there before: {found.before:,}")
    for line in found.examples:
        remark(line)
    if found.left_out:
        say("left out: " + ", ".join(f"{reason} {count:,}" for reason, count in found.left_out.items()))
    say(f"as data: cai export {location(run)} --labels both")
