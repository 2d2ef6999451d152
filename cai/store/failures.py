"""failures.jsonl: prompts that could not be done, one JSON line each, in the order they failed.

For one prompt the last line counts, and none does once the prompt has a row. In a working copy every copy of the run
has a file of its own; they are read one after the other.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson

from cai.identity import key
from cai.keyset import KeySet
from cai.records import Failure
from cai.store.layout import failure_files
from cai.store.lines import LineFile, cut, read_lines


class FailureFile(LineFile):
    """The writing end of failures.jsonl."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and cut off a torn tail; raises StoreError."""
        if path.exists():
            cut(path, max((end for end, _ in _entries([(path, path.stat().st_size)])), default=0))
        super().__init__(path)

    def add(self, failure: Failure) -> None:
        """Append a failure, whole or not at all; raises StoreError."""
        try:
            line = orjson.dumps(failure, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:
            # What could not be used may be no Unicode (a lone surrogate): keep its escapes.
            cause, raw = (text.encode(errors="backslashreplace").decode() for text in (failure.cause, failure.raw))
            line = orjson.dumps(replace(failure, cause=cause, raw=raw), option=orjson.OPT_APPEND_NEWLINE)
        self.append(line)


class Tally:
    """How many prompts have a failure that counts; a key is in it when the failure is one for good."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        """Start from the failures that count now."""
        self._for_good = KeySet()
        self._owed: set[int] = set()
        self._superseded = 0
        for failure in failures:
            self.add(failure)

    def __len__(self) -> int:
        return len(self._for_good) + len(self._owed) - self._superseded

    def __contains__(self, name: int) -> bool:
        return name in self._for_good

    def add(self, failure: Failure) -> None:
        """Count a failure of a prompt that has none for good."""
        name = key(failure.id)
        if failure.retryable:
            self._owed.add(name)
        else:
            self._owed.discard(name)
            self._for_good.add(name)

    def supersede(self, name: int) -> None:
        """Count a prompt's failure no more, because it has its first row now."""
        self._owed.discard(name)
        if name in self._for_good:
            self._superseded += 1


def read_failures(directory: Path, finished: KeySet) -> Iterator[Failure]:
    """Yield the failures that count now, in their order; `finished` are the keys of prompts that have a row.

    The files are read twice, so that some bytes a failure are in memory, and no text.
    """
    # As long as they are now, because lines that are added meanwhile would shift those of the next file.
    files = [(path, size) for path in failure_files(directory) if (size := path.stat().st_size)]
    if not files:
        return
    import numpy as np  # noqa: PLC0415  (a run without failures does not wait for it)

    keys = np.frombuffer(array("Q", (key(failure.id) for _, failure in _entries(files))), dtype=np.uint64)
    _, from_behind = np.unique(keys[::-1], return_index=True)
    is_last = np.zeros(len(keys), dtype=bool)
    is_last[len(keys) - 1 - from_behind] = True
    for (_, failure), last in zip(_entries(files), is_last.tolist(), strict=False):
        if last and key(failure.id) not in finished:
            yield failure


def _entries(files: Iterable[tuple[Path, int]]) -> Iterator[tuple[int, Failure]]:
    """Yield where each line in the files' first bytes ends and what it says, up to a file's first that is none."""
    for path, size in files:
        with path.open("rb") as file:
            for offset, data in read_lines(file):
                end = offset + len(data) + 1
                try:
                    failure = Failure(**orjson.loads(data))
                except (orjson.JSONDecodeError, TypeError):
                    break
                if end > size:
                    break
                yield end, failure
