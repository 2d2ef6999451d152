"""`cai drop RUN`: rows taken out of a run on purpose, and back."""

import dataclasses
import sys
from pathlib import Path

import click

from cai.cli.options import EXISTING_RUN
from cai.cli.terminal import print_json, remark, say
from cai.core.errors import UsageError
from cai.core.paths import expand, open_file
from cai.rundir.drop import Dropped, RowChoice, drop_rows, parse_condition
from cai.rundir.origin import location
from cai.rundir.reader import RunReader


@click.command()
@click.argument("run", type=EXISTING_RUN)
@click.option("--ids", metavar="FILE", help="The rows of these prompts: an id a line, - for standard input.")
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Rows of which this holds (tag, prompt, principle, truncated, abstained, failed); given again, all of it.",
)
@click.option("--undo", is_flag=True, help="Take rows back: the chosen ones, or all that were dropped.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def drop(run: Path, ids: str | None, where: tuple[str, ...], undo: bool, as_json: bool) -> None:
    """Leave rows of a run out of all that reads it, and take them back.

    They stay on disk, and exports as they are until `cai export` writes them again. What was dropped, when, by whom and
    with which words is recorded in the run.
    """
    conditions = tuple(map(parse_condition, where))
    choice = RowChoice(None if ids is None else frozenset(_read_ids(ids)), conditions)
    words = [f"--ids {ids}"] * (ids is not None) + [f"--where {text}" for text in where] + ["--undo"] * undo
    dropped = drop_rows(run, choice, " ".join(words), undo=undo)
    left_out = RunReader(run).left_out().counts()
    if as_json:
        print_json(dataclasses.asdict(dropped) | {"left_out": left_out})
        return
    _tell(run, dropped, undo=undo)
    if left_out:
        say(f"left out now: {', '.join(f'{count:,} {reason}' for reason, count in left_out.items())}")
    say(f"the exports are as they were until `cai export {location(run)}` writes them again")


def _tell(run: Path, dropped: Dropped, *, undo: bool) -> None:
    done, already = ("taken back", "were not dropped") if undo else ("dropped", "were dropped before")
    before = f" ({dropped.before:,} {already})" if dropped.before else ""
    say(f"{dropped.changed:,} {'row' if dropped.changed == 1 else 'rows'} of {location(run)} {done}{before}")
    if dropped.absent:
        remark(f"{dropped.absent:,} of the ids have no row in the run")


def _read_ids(source: str) -> list[str]:
    """Return the ids in a file, blank lines left out; raises UsageError."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read()
        else:
            with open_file(expand(source)) as file:
                data = file.read()
        lines = data.decode("utf-8-sig").split("\n")  # not splitlines: an id may hold what else ends a line in Unicode
        return [line.removesuffix("\r") for line in lines if line.strip()]
    except OSError as error:
        raise UsageError(f"--ids {source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--ids {source} is not UTF-8 text (byte {error.start + 1})") from error
