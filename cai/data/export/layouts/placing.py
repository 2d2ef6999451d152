"""The folder of a format inside a run: taken before any work is done, filled when all of it is complete.

It has the name of the format: the parts' files below it, the settings for the tool, and README.md. Each file is
replaced in one step; what an earlier export had and this one has not is removed.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from cai.core.errors import UsageError
from cai.data.export.datasets import DatasetName, names_for
from cai.data.export.layouts import LAYOUTS
from cai.data.export.layouts.descriptor import ExportLayout
from cai.data.export.layouts.writing import LayoutWriter
from cai.data.export.summary import ExportOptions, ExportSummary, LayoutSummary, SplitCounts
from cai.data.quality import LedgerWriter
from cai.data.quality.ledger import OUTCOMES
from cai.rundir.layout import CARD, LEDGER
from cai.rundir.origin import location, read_origin
from cai.rundir.owned import Owned

TRL = "trl"
"""The format of a run's own datasets."""

FORMATS = (TRL, *LAYOUTS)


def layout_named(name: str) -> ExportLayout | None:
    """Return the format of this name, None for TRL's; raises UsageError when there is none."""
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}; there are {', '.join(FORMATS)}.")
    return LAYOUTS.get(name)


class LayoutFiles:
    """The files of one export in a format; called in the order of its methods, which raise as `Owned` does."""

    def __init__(self, layout: ExportLayout) -> None:
        self.folder = layout.name
        self._layout = layout
        self._writers: Mapping[DatasetName, LayoutWriter] = {}

    def take(self, owned: Owned) -> None:
        """Make the folders; raises RunError when a name in them is somebody else's."""
        names = [f"{self.folder}/{name}" for name in self.names()]
        folders = {folder for name in names for folder in accumulate(name.split("/")[:-1], "{}/{}".format)}
        for folder in sorted(folders):
            owned.folder(folder)
        owned.require_free(*names)

    def open(self, work: Path, options: ExportOptions, ledger: LedgerWriter) -> Mapping[DatasetName, LayoutWriter]:
        """Begin the files, below `work`; the ledger hears of what the format cannot hold."""
        self._writers = {
            name: LayoutWriter(work, self._layout, name, options.test_share, ledger.record)
            for name in names_for(options)
        }
        return self._writers

    def summary(self, ledger: LedgerWriter) -> LayoutSummary:
        """Return what the folders hold, once all writers have finished, and what the ledger has about them."""
        written = {part.folder: part for writer in self._writers.values() for part in writer.parts}
        parts = {}
        for folder in (part.folder for part in self._layout.parts):
            left_out, cleaned, reported = (ledger.count(folder, outcome) for outcome in OUTCOMES)
            not_held = dict(sorted(written[folder].not_held.items()))
            parts[folder] = SplitCounts(*written[folder].sizes(), left_out, cleaned, reported, not_held)
        without: dict[str, int] = {name: writer.without for name, writer in self._writers.items() if writer.without}
        settings = tuple(self._layout.fragments(parts))
        return LayoutSummary(self._layout.name, self._layout.title, parts, without, settings)

    def remarks(self, directory: Path, _summary: ExportSummary, _options: ExportOptions) -> tuple[str, ...]:
        """Return a sentence where the files are not where a person would look for them."""
        if read_origin(directory) is None:
            return ()
        return (
            f"{self._layout.name} lies in the working copy, {directory}, and was not sent to {location(directory)}",
        )

    def place(self, work: Path, owned: Owned, card: str, summary: ExportSummary) -> None:
        """Put all in place, the card last."""
        written = self._layout.fragments({} if summary.layout is None else summary.layout.parts)
        for below in self.names():
            name = f"{self.folder}/{below}"
            if below in written:
                owned.write(name, written[below].encode())
            elif (work / below).is_file():
                owned.place(work / below, name)
            elif below != CARD:
                owned.remove(name)
        owned.write(f"{self.folder}/{CARD}", card.encode())

    def names(self) -> Sequence[str]:
        """Return the names of all files that there may be in the folder, the data before its settings."""
        data = dict.fromkeys(file for part in self._layout.parts for file in part.files().values())
        return (*data, LEDGER, *self._layout.fragment_names, CARD)
