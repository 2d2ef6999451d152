"""Asks before `--fresh` throws work away."""

import sys
from pathlib import Path

import click

from cai.cli.terminal import clean

_SIGNS = ("run.json", "train.json", "checkpoints", "evaluation.json")


def confirm_fresh(directory: Path) -> None:
    """Ask on a terminal whether a run may be discarded; raises click.Abort on no. In a script `--fresh` is a yes."""
    if not sys.stdin.isatty():
        return
    # Only here, because training needs nothing else of what these import.
    from cai.store.checkout import has_run  # noqa: PLC0415
    from cai.store.origin import location, read_origin  # noqa: PLC0415

    origin = read_origin(directory)
    if any((directory / name).exists() for name in _SIGNS) or (origin is not None and has_run(origin.url)):
        click.confirm(clean(f"{location(directory)} holds a run; discard it and start over?"), abort=True, err=True)
