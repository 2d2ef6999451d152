"""failures.jsonl: prompts that could not be done, one JSON line each, in the order they failed.

For one prompt the last line counts, and none does once the prompt has a row, or the run is given another input than the
one in which it failed: that is asked anew. In a working copy every copy of the run
has a file of its own; they are read one after the other. A damaged line says nothing: its prompt is owed again. In its
own file a copy sets such lines aside (`mend_failures`); in those it fetched they are passed over.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import orjson

from cai.core.errors import DamageError
from cai.core.identity import key
from cai.core.keyset import KeySet
from cai.core.paths import open_file
from cai.core.records import INPUT, Failure
from cai.rundir.layout import FAILURES, failure_files
from cai.rundir.lines import LineFile, mend, read_lines, salt


def failures_salt(run: str) -> int:
    """Return the salt of the failures of a run, whose identity has this fingerprint."""
    return salt(f"failures of {run}")


class FailureFile(LineFile):
    """The writing end of failures.jsonl."""

    def __init__(self, path: Path, run: str, inputs: str) -> None:
        """Open or create the file, which `mend_failures` has been through; raises StoreError.

        `inputs` is the fingerprint of the input that is asked.
        """
        super().__init__(path, failures_salt(run))
        self._inputs = inputs

    def add(self, failure: Failure) -> None:
        """Append a failure, whole or not at all; raises StoreError."""
        try:
            value = orjson.dumps({"inputs": self._inputs, **asdict(failure)})
        except orjson.JSONEncodeError:
            # What could not be used may be no Unicode (a lone surrogate): keep its escapes.
            cause, raw = (text.encode(errors="backslashreplace").decode() for text in (failure.cause, failure.raw))
            value = orjson.dumps({"inputs": self._inputs, **asdict(replace(failure, cause=cause, raw=raw))})
        self.append(value)


def mend_failures(path: Path, run: str) -> int:
    """Leave in a file of failures nothing else; return how many lines were set aside. Raises StoreError."""
    return mend(path, failures_salt(run), lambda data: _failure(data) is not None) if path.exists() else 0


class FailureTally:
    """How many prompts have a failure that counts; a key is in it when the failure is one for good."""

    def __init__(self, failures: Iterable[Failure], *, retry_failed: bool = False) -> None:
        """Start from the failures that count now.

        With `retry_failed` none of them is for good but those of the input, which is the same as it was.
        """
        self._for_good = KeySet()
        self._owed: set[int] = set()
        self._superseded = 0
        for failure in failures:
            self.add(replace(failure, retryable=True) if retry_failed and failure.stage != INPUT else failure)

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


def read_failures(directory: Path, run: str, inputs: str, finished: KeySet) -> Iterator[Failure]:
    """Yield the failures that count now, in their order; `finished` are the keys of prompts that have a row.

    `inputs` is the fingerprint of the input that is asked. The files are read twice, so that some bytes a failure are
    in memory, and no text. Raises DamageError when a line of a run that is here alone is damaged.
    """
    # As long as they are now, because lines that are added meanwhile would shift those of the next file.
    files = [(path, size) for path in failure_files(directory) if (size := path.stat().st_size)]
    if not files:
        return
    import numpy as np  # noqa: PLC0415  (a run without failures does not wait for it)

    keys = np.frombuffer(array("Q", (key(failure.id) for failure in _entries(files, run, inputs))), dtype=np.uint64)
    _, from_behind = np.unique(keys[::-1], return_index=True)
    is_last = np.zeros(len(keys), dtype=bool)
    is_last[len(keys) - 1 - from_behind] = True
    for failure, last in zip(_entries(files, run, inputs), is_last.tolist(), strict=False):
        if last and key(failure.id) not in finished:
            yield failure


def _entries(files: Iterable[tuple[Path, int]], run: str, inputs: str) -> Iterator[Failure]:
    """Yield what the whole lines in the files' first bytes say of an input; raises as `read_failures` does."""
    for path, size in files:
        with open_file(path) as file:
            for line in read_lines(file, failures_salt(run)):
                if line.end > size:
                    break
                if (entry := _failure(line.data)) is not None:
                    if entry[0] == inputs:
                        yield entry[1]
                elif path.name == FAILURES:
                    raise DamageError(f"{path} has damaged lines")


def _failure(data: bytes | None) -> tuple[str, Failure] | None:
    """Return the input and the failure that a line spells, or None when it is damaged or spells something else."""
    try:
        value = orjson.loads(data or b"")
        return value.pop("inputs"), Failure(**value)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
