"""One file of an evaluation or a bench: a line for each prompt that is finished, or that could not be done and why.

For one prompt the last line counts, a failure only where there is nothing else. A line is appended whole the moment its
prompt is done, so a killed process loses no more than a torn last one, which is cut off when the file is opened again.
Lines that are damaged, or that were written for another such file, are set aside then, and their prompts
are owed again. All lines are in memory: evaluations have thousands of prompts, not millions.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import orjson

from cai.core.errors import RowError
from cai.core.records import Failure, PartFailure, Row
from cai.rundir.files import refusal
from cai.rundir.layout import DAMAGED
from cai.rundir.lines import LineFile, mend, salt


class Entry(Protocol):
    """Anything that belongs to one prompt."""

    @property
    def id(self) -> str:
        """The prompt's id."""

    @property
    def failed(self) -> tuple[PartFailure, ...]:
        """What is missing of it."""


EntryType = TypeVar("EntryType", bound=Entry)


class EntryFile(Generic[EntryType]):
    """The pipeline's sink for one model's answers or one pair's decisions."""

    def __init__(
        self,
        path: Path,
        make: Callable[[Row], EntryType],
        read: Callable[[dict[str, Any]], EntryType],
        *,
        retry_failed: bool = False,
    ) -> None:
        """Open or create the file; `make` turns a row into what is kept, `read` takes it back; raises StoreError.

        With `retry_failed` nothing that failed for good, whole or in part, counts as finished.
        """
        self._make = make
        self._read = read
        self._entries: dict[str, EntryType] = {}
        self._failures: dict[str, Failure] = {}
        self.repair: str | None = None
        """What is to be said of damage that was found, in a sentence."""
        start = salt(f"{path.parent.name}/{path.name}")
        self._retry_failed = retry_failed
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refusal(path, error) from error
        if path.exists() and (damaged := mend(path, start, self._take_in)):
            self.repair = f"{path} had damaged lines: {damaged:,}; they are kept in {path.name}{DAMAGED}"
        self._file = LineFile(path, start)

    def _take_in(self, data: bytes) -> bool:
        """Take in a line and tell whether it is one of ours."""
        try:
            value = orjson.loads(data)
            if "failure" in value:
                self._keep_failure(Failure(**value["failure"]))
            else:
                self._keep(self._read(value))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return False
        return True

    @property
    def entries(self) -> Mapping[str, EntryType]:
        """What is finished, by prompt id."""
        return self._entries

    @property
    def failures(self) -> Mapping[str, Failure]:
        """What could not be done so far, by prompt id."""
        return self._failures

    def is_finished(self, prompt_id: str) -> bool:
        """Tell whether nothing is owed for this prompt: done, or failed in a way that asking again cannot mend."""
        entry, failure = self._entries.get(prompt_id), self._failures.get(prompt_id)
        if self._retry_failed:
            return entry is not None and not entry.failed
        return entry is not None or (failure is not None and not failure.retryable)

    def commit(self, row: Row) -> None:
        """Keep a finished row; raises RowError when a text of it is no Unicode, StoreError when the disk refuses."""
        entry = self._make(row)
        try:
            value = orjson.dumps(entry)
        except orjson.JSONEncodeError as error:
            raise RowError(f"the answer cannot be written as UTF-8: {error}", stage="commit") from error
        self._file.append(value)
        self._keep(entry)

    def fail(self, failure: Failure) -> None:
        """Keep a failure; raises StoreError."""
        cause, raw = (text.encode(errors="backslashreplace").decode() for text in (failure.cause, failure.raw))
        failure = replace(failure, cause=cause, raw=raw)
        self._file.append(orjson.dumps({"failure": failure}))
        self._keep_failure(failure)

    def close(self) -> None:
        """Make everything durable and close the file; raises StoreError."""
        try:
            self._file.sync()
        finally:
            self._file.close()

    def _keep(self, entry: EntryType) -> None:
        self._entries[entry.id] = entry
        self._failures.pop(entry.id, None)

    def _keep_failure(self, failure: Failure) -> None:
        if failure.id not in self._entries:  # one with gaps is more than none
            self._failures[failure.id] = failure
