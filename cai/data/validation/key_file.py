"""Records of unsigned 64-bit numbers on disk, parted by their key, so that equal keys meet without a table in memory.

`KeySet` answers "seen before?" at once and costs 8 bytes a key. Here the question is asked in the end, with whatever
else a record has, and memory holds one of 64 parts: of a million records of five numbers that is less than a megabyte.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

PARTS = 64
_SHIFT = np.uint64(64 - 6)
_WAITING = 1 << 18
"""Bytes of records that wait to be parted together."""

Records = NDArray[np.uint64]


class KeyFile:
    """Records of so many numbers, the first being the key, which has to be a hash: records are parted by it."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._folder = tempfile.TemporaryDirectory(prefix="cai-keys-")
        paths = [Path(self._folder.name, str(part)) for part in range(PARTS)]
        self._files = [path.open("w+b") for path in paths]
        self._waiting: list[Records] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for file in self._files:
            file.close()
        self._folder.cleanup()

    def add(self, records: Records) -> None:
        """Take in records, of shape (records, columns); raises OSError when the disk refuses."""
        self._waiting.append(records)
        self._bytes += records.nbytes
        if self._bytes >= _WAITING:
            self._write()

    def parts(self) -> Iterator[Records]:
        """Yield the parts, each with all records of its keys in the order of their coming."""
        self._write()
        for file in self._files:
            file.seek(0)
            found = np.frombuffer(file.read(), np.uint64).reshape(-1, self._columns)
            if len(found):
                yield found

    def _write(self) -> None:
        if not self._waiting:
            return
        records = np.concatenate(self._waiting)
        self._waiting, self._bytes = [], 0
        part = (records[:, 0] >> _SHIFT).astype(np.int64)
        order = np.argsort(part, kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=PARTS))
        for file, some in zip(self._files, np.split(records[order], ends[:-1]), strict=True):
            if len(some):
                file.write(some.tobytes())
