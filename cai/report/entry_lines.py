"""The lines of an evaluation or a bench (`cai.rundir.entries`), read by whoever does not fill it: nothing is mended."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import orjson

from cai.core.errors import RunError
from cai.core.paths import open_file
from cai.core.records import Failure
from cai.rundir.entries import EntryType
from cai.rundir.lines import read_lines, salt


@dataclass(frozen=True, slots=True)
class EntryLines(Generic[EntryType]):
    """What a file holds, by the id of prompt or item: `failures` of those alone that have no entry."""

    entries: Mapping[str, EntryType]
    failures: Mapping[str, Failure]


def read_entry_lines(path: Path, read: Callable[[dict[str, Any]], EntryType]) -> EntryLines[EntryType]:
    """Return what a file holds, for one prompt the last line; raises RunError for a damaged line, OSError."""
    entries: dict[str, EntryType] = {}
    failures: dict[str, Failure] = {}
    for value in _values(path):
        if "failure" in value:
            failure = Failure(**value["failure"])
            failures[failure.id] = failure
        else:
            entry = read(value)
            entries[entry.id] = entry
    return EntryLines(entries, {name: one for name, one in failures.items() if name not in entries})


def _values(path: Path) -> Iterator[dict[str, Any]]:
    with open_file(path) as file:
        for line in read_lines(file, salt(f"{path.parent.name}/{path.name}")):
            if line.data is None:
                raise RunError(f"{path} has damaged lines; the same command again sets them aside and goes on.")
            yield orjson.loads(line.data)
