"""Where runs lie, as a person says it on the command line: a directory, or a URL on any filesystem that fsspec knows.

A URL becomes the path of its working copy here, so that nobody further in has to know of URLs, nor of what they carry.
"""

from pathlib import Path
from typing import Any

import click

from cai.cli.options import WrittenPath, require_no_slip
from cai.core.addresses import DataSource
from cai.rundir import checkout, working_copy


class _NewRun(WrittenPath):
    """Where a run is written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the directory to write in; asks nobody whether the URL can be reached."""
        if isinstance(value, str) and (named := DataSource.parse(value)).is_url:
            return working_copy(str(named))
        require_no_slip(self, value, param, ctx)
        return super().convert(value, param, ctx)


class _ExistingRun(WrittenPath):
    """A run to be read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the directory to read from, with all that is at the URL; raises as `checkout` does."""
        if isinstance(value, str) and (named := DataSource.parse(value)).is_url:
            return checkout(str(named))
        require_no_slip(self, value, param, ctx)
        return super().convert(value, param, ctx)


NEW_RUN = _NewRun(path_type=Path)
EXISTING_RUN = _ExistingRun(file_okay=False, exists=True, path_type=Path)
