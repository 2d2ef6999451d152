"""`cai show RUN [ID]`: the chains in a run, to read."""

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from cai.cli.chain import print_row
from cai.cli.console import Screen
from cai.cli.options import Count
from cai.cli.places import EXISTING_RUN
from cai.cli.terminal import print_json, say
from cai.core.errors import RunError
from cai.core.records import Row
from cai.rundir import Run
from cai.rundir.origin import location


@click.command()
@click.argument("run", type=EXISTING_RUN)
@click.argument("prompt_id", metavar="[ID]", required=False)
@click.option("--limit", type=Count(), default=10, show_default=True, help="Rows to print.")
@click.option("--revised", is_flag=True, help="Only rows in which something was revised and a pair was decided.")
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")
def show(run: Path, prompt_id: str | None, limit: int, revised: bool, as_json: bool) -> None:
    """Print a run's chains: prompt, response, critique, revision, verdict."""
    stored = Run.read(run)
    if prompt_id is None:
        rows: Iterator[Row] = (row for row in stored.rows() if not revised or _tells_a_story(row))
    else:
        row = stored.row(prompt_id)
        if row is None:
            raise RunError(f"{location(run)} has no row {prompt_id!r}; `cai show {location(run)}` lists some")
        rows = iter([row])
    console = Screen()
    shown = 0
    for row in islice(rows, limit):
        shown += 1
        if as_json:
            print_json(dataclasses.asdict(row))
        else:
            print_row(console, row)
    if not shown:
        say(f"cai: {location(run)} has no {'revised ' if revised else ''}rows to show", err=True)


def _tells_a_story(row: Row) -> bool:
    return any(trace.final != trace.response for trace in row.traces) and any(
        verdict.probability is not None for verdict in row.verdicts
    )
