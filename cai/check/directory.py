"""What `cai check --out` leaves: the table for programs and for people, and the ledger.

check.json               the table, what was checked and with what
README.md                the same as a page
quality/ledger.parquet   every item that a filter found something of, with its place and the text
.cai/                    the record of what cai wrote here (`cai.rundir.claim`)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cai.core.addresses import DataSource
from cai.core.mark import kind_of
from cai.core.paths import expand
from cai.data.quality import LedgerWriter
from cai.rundir.claim import entering, read_recorded, require_identity
from cai.rundir.documents import Fields, make_document
from cai.rundir.layout import CARD, LEDGER, QUALITY
from cai.rundir.owned import Owned

FORMAT = 1
DOCUMENT = "check.json"


class CheckDirectory:
    """A directory that this process holds and writes one check into; made by `open`, ended by `close`."""

    def __init__(self, owned: Owned) -> None:
        self._owned = owned
        self._temporary = owned.temporary()
        self.ledger = LedgerWriter(self._temporary)

    @classmethod
    def open(cls, path: Path, data: str, *, fresh: bool) -> Self:
        """Enter a new or empty directory, or one that the same data was checked in; `fresh` removes what cai wrote.

        Raises RunError when it holds other things or a check of other data, StoreError when the disk refuses.
        """
        with entering(path, "check", fresh=fresh) as owned:
            if fresh:
                owned.clear()
            recorded = read_recorded(owned, [DOCUMENT], FORMAT, _parse)
            if recorded is not None:
                require_identity(path, recorded, {"data": data})
            owned.folder(QUALITY)
            owned.require_free(DOCUMENT, CARD, LEDGER)
            return cls(owned)

    def finish(self, result: Mapping[str, Any], page: str) -> None:
        """Put the result in place."""
        self.ledger.close()
        self._owned.place(self._temporary, LEDGER)
        self._owned.write(CARD, page.encode())
        self._owned.write(DOCUMENT, make_document({"format": FORMAT, "identity": {"data": result["data"]}, **result}))

    def close(self) -> None:
        """Let go of the directory."""
        self._owned.close()


def find_ledger(data: DataSource) -> Path | None:
    """Return the ledger of a check that lies in a directory, None where the data is anything else."""
    if data.is_url:
        return None
    path = expand(data.reveal())
    return path / LEDGER if kind_of(path) == "check" else None


def _parse(fields: Fields) -> dict[str, str]:
    return dict(fields.words("identity"))
