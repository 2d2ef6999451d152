"""The ledger: every item that was left out, cleaned or reported, with the filter, the reason and the place in its text.

`quality/ledger.parquet` lies beside what was exported or checked, in the order in which items were looked at. Excerpts
have masks in the place of all that looks private, whichever filter an entry is of.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cai.core.arrow import table_from_json
from cai.core.errors import InputError
from cai.data.quality.personal import Private, find_private

Outcome = Literal["left out", "cleaned", "reported"]
OUTCOMES: tuple[Outcome, ...] = ("left out", "cleaned", "reported")

SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("id", pa.string()),
        ("place", pa.string()),
        ("filter", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("field", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("excerpt", pa.string()),
    ]
)

_AROUND = 60
"""Characters that an excerpt has before and after what was found."""
_LONGEST = 300
_REACH = 8_000
"""Characters on either side that are looked through for what is private: as long as a private key may be."""
_PER_GROUP = 4000


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What became of one item, and why.

    `place` says where the item comes from, `field` which of its texts is meant (`prompt.0` a prompt's first turn), and
    `start` and `end` where in it, counted in characters of the text that the filter saw.
    """

    dataset: str
    id: str
    place: str
    filter: str
    outcome: Outcome
    reason: str
    field: str
    start: int
    end: int
    excerpt: str


Record: TypeAlias = Callable[[LedgerEntry], None]
"""Takes an entry: a ledger, or a count."""


def excerpt(text: str, start: int, end: int, private: Iterable[Private] = ()) -> str:
    """Return what was found with a little around it, an ellipsis where something is left out.

    What is known to be `private`, and all else that looks so, is behind masks.
    """
    low = max(0, start - _AROUND - _REACH)
    high = min(len(text), end + _AROUND, start + _LONGEST) + _REACH
    known = ((max(0, first - low), last - low, mask) for first, last, mask in private if low < last and first < high)
    shown, start, end = _masked(text[low:high], start - low, end - low, known)
    first = max(0, start - _AROUND)
    last = min(len(shown), end + _AROUND, first + _LONGEST)
    return ("…" if low or first else "") + shown[first:last] + ("…" if last < len(shown) or high < len(text) else "")


def _masked(text: str, start: int, end: int, known: Iterable[Private]) -> tuple[str, int, int]:
    """Return a text behind masks, and where in it lies what lay from `start` to `end`; a mask is in that as a whole."""
    shown, done = "", 0
    moved_start, moved_end = start, end
    for first, last, mask in find_private(text, known):
        shown += text[done:first]
        if first <= start:
            moved_start = len(shown) if start < last else len(shown) + len(mask) + start - last
        shown += mask
        if first < end:
            moved_end = len(shown) + max(0, end - last)
        done = last
    return shown + text[done:], moved_start, moved_end


def whole(dataset: str, item: str, place: str, name: str, reason: str, field: str, text: str) -> LedgerEntry:
    """Return the entry of an item that is left out for all of a text."""
    return LedgerEntry(dataset, item, place, name, "left out", reason, field, 0, len(text), excerpt(text, 0, len(text)))


def count_left_out(counter: "Counter[str]") -> Record:
    """Return what counts by filter what is left out, and forgets the rest."""

    def record(entry: LedgerEntry) -> None:
        if entry.outcome == "left out":
            counter[entry.filter] += 1

    return record


class LedgerWriter:
    """Writes a ledger; the same entries give the same bytes. Methods raise OSError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=False)
        self._waiting: list[LedgerEntry] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """How many entries there are by dataset, outcome and filter."""

    def record(self, entry: LedgerEntry) -> None:
        """Add an entry."""
        self._waiting.append(entry)
        self.counts[entry.dataset, entry.outcome, entry.filter] += 1
        if len(self._waiting) == _PER_GROUP:
            self._write()

    def count(self, dataset: str, outcome: Outcome) -> dict[str, int]:
        """Return how many items of a dataset ended so, by filter."""
        return {
            name: n for (where, what, name), n in sorted(self.counts.items()) if (where, what) == (dataset, outcome)
        }

    def _write(self) -> None:
        if self._waiting:
            lines = b"\n".join(map(orjson.dumps, self._waiting))
            self._file.write_table(table_from_json(lines, SCHEMA), row_group_size=_PER_GROUP)
            self._waiting = []

    def close(self) -> None:
        """Write what waits and end the file."""
        self._write()
        self._file.close()


def read_ledger(path: Path, name: str | None = None, outcome: Outcome | None = None) -> Iterator[LedgerEntry]:
    """Yield a ledger's entries, those of one filter or outcome if that is said; raises InputError for no ledger."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_PER_GROUP, columns=SCHEMA.names):
                for row in batch.to_pylist():
                    entry = LedgerEntry(**row)
                    if (name is None or entry.filter == name) and (outcome is None or entry.outcome == outcome):
                        yield entry
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a ledger: {error}; write it again.") from error
