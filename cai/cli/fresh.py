"""Asks before `--fresh` throws work away."""

import sys
from pathlib import Path

import click

from cai.cli.terminal import clean
from cai.core.mark import kind_of


def confirm_fresh(directory: Path) -> None:
    """Ask on a terminal whether a run may be discarded; raises click.Abort on no. In a script `--fresh` is a yes.

    Only what cai wrote is ever discarded (`cai.rundir.claim`); there is nothing to ask where that is nothing.
    """
    if not sys.stdin.isatty():
        return
    # Only here, because training needs nothing else of what these import.
    from cai.rundir.checkout import has_run  # noqa: PLC0415
    from cai.rundir.origin import location, read_origin  # noqa: PLC0415

    origin = read_origin(directory)
    if has_run(origin.url) if origin is not None else kind_of(directory) is not None:
        click.confirm(clean(f"{location(directory)} holds a run; discard it and start over?"), abort=True, err=True)
