"""What is judged: the rows of a run, or those that a data set gives.

Both have a `name`, `inputs` (what names the rows), `identity` and `settings` (what the run that is made has of them),
`remarks` and `duplicates`; `size()`, `rows()`, which reads from the beginning, and `out()`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.paths import expand
from cai.core.records import Failure, Row
from cai.rundir import Run, RunReader, checkout
from cai.rundir.checkout import beside, is_run
from cai.rundir.origin import location

if TYPE_CHECKING:
    from cai.judging.data_rows import DataRows


class RunRows:
    """The rows of a run, finished or not."""

    remarks: tuple[str, ...] = ()
    duplicates = 0

    def __init__(self, directory: Path) -> None:
        """Look at the run; raises RunError when there is none."""
        self.reader: RunReader = Run.read(directory)
        self.name = location(directory)
        self.place = location(directory.absolute())
        self.inputs = self.reader.inputs
        self.identity: Mapping[str, str] = self.reader.manifest.identity
        self.settings: Mapping[str, Any] = self.reader.manifest.settings

    def size(self) -> int | None:
        """Return how many rows there are."""
        return self.reader.count()

    def rows(self) -> Iterator[Row | Failure]:
        """Yield them."""
        return self.reader.rows()

    def out(self, ending: str) -> Path:
        """Return where they are judged when nobody says."""
        return beside(self.reader.directory, ending)


Judged: TypeAlias = Union[RunRows, "DataRows"]


def open_judged(source: DataSource, split: str | None, shape: str | None) -> Judged:
    """Open what is judged; raises RunError or InputError, in one sentence, when it is no run and has no two answers."""
    if not is_run(source):
        from cai.judging.data_rows import open_data  # noqa: PLC0415  (those who judge a run wait for no pyarrow)

        return open_data(source, split, shape)
    for name, given in (("--split", split), ("--shape", shape)):
        if given is not None:
            raise UsageError(f"{name} is for files and datasets, and {source} is a run.")
    return RunRows(checkout(str(source)) if source.is_url else expand(source.reveal()))
