"""Files of lines, each a JSON object appended whole by one write, so that a crash can only tear the last one.

Every line ends in a checksum of itself, `…,"crc32":"1a2b3c4d"}`, counted on from a salt that names the file's purpose:
a changed digit is noticed, and so is a line that was meant for another file. `LineFile` is the writing end,
`read_lines` the reading end; `mend` takes off a torn tail and sets damaged lines aside. Knows nothing of what the lines
say.
"""

import fcntl
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cai.core.errors import StoreError
from cai.core.paths import open_file
from cai.rundir.files import refusal, sync_file, sync_folder
from cai.rundir.layout import DAMAGED, TEMPORARY

_CHECKSUM = b',"crc32":"%08x"}'
_CHECKSUM_SIZE = len(_CHECKSUM % 0)
_BLOCK = 1 << 20


def salt(purpose: str) -> int:
    """Return what the checksums of a file's lines are counted on from."""
    return zlib.crc32(purpose.encode())


def make_line(value: bytes, start: int) -> bytes:
    """Return the line that holds a JSON object, which has an entry and no newline."""
    body = value[:-1]
    return b"%b%b\n" % (body, _CHECKSUM % zlib.crc32(body, start))


def check_line(line: bytes, start: int) -> bytes | None:
    """Return the JSON object that a whole line without its newline holds, or None when its checksum does not fit."""
    body = line[:-_CHECKSUM_SIZE]
    return body + b"}" if line[-_CHECKSUM_SIZE:] == _CHECKSUM % zlib.crc32(body, start) else None


class LineFile:
    """A file that lines are appended to by one thread; `sync` and `close` may be called by another."""

    def __init__(self, path: Path, start: int) -> None:
        """Open or create the file, whose salt is `start`; raises StoreError."""
        self.path = path
        self._start = start
        self._broken: StoreError | None = None
        self._appended = False
        self._named = False
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
            self.size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise refusal(path, error) from error

    def lock(self) -> None:
        """Wait until no other process that asks for it appends to the file; raises StoreError."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self.size = os.fstat(self._descriptor).st_size  # others appended meanwhile: that is not taken back
        except OSError as error:
            raise refusal(self.path, error) from error

    def append(self, *values: bytes) -> None:
        """Append JSON objects as lines (`make_line`), all or none of them; raises StoreError."""
        if self._broken is not None:
            raise self._broken
        lines = b"".join([make_line(value, self._start) for value in values])
        try:
            written = os.write(self._descriptor, lines)
            while written < len(lines):
                # A full disk takes a part first and says why only when asked to take the rest.
                written += os.write(self._descriptor, lines[written:])
        except OSError as error:
            refused = refusal(self.path, error)
            self._take_back(refused)
            raise refused from error
        self.size += len(lines)
        self._appended = True

    def _take_back(self, refused: StoreError) -> None:
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            # A torn line stays at the end, to be cut when the run is opened again; nothing may come after it.
            self._broken = refused

    def sync(self) -> None:
        """Make the lines appended so far durable, and the file's name; raises StoreError."""
        if not self._appended:
            return
        self._appended = False
        try:
            os.fsync(self._descriptor)
            if not self._named:
                sync_folder(self.path.parent)
                self._named = True
        except OSError as error:
            raise refusal(self.path, error) from error

    def close(self) -> None:
        """Close the file without syncing it."""
        os.close(self._descriptor)


class StoredLine(NamedTuple):
    """A whole line: the bytes it takes in the file, newline included, and its JSON object (None: damaged)."""

    start: int
    end: int
    data: bytes | None


def read_lines(file: BinaryIO, start: int) -> Iterator[StoredLine]:
    """Yield the whole lines of a file from its beginning; a tail without a newline is left out."""
    offset = 0
    for line in file:
        end = offset + len(line)
        if line.endswith(b"\n"):
            yield StoredLine(offset, end, check_line(line[:-1], start))
        offset = end


def mend(path: Path, start: int, keep: Callable[[bytes], bool]) -> int:
    """Take off the torn tail of a file that nobody has open, and set aside what is no line of its own.

    That is a line whose checksum does not fit, or whose object `keep` does not want. Such lines are added to a file of
    the same name and `.damaged`. Return how many there were; raises StoreError.
    """
    kept: list[tuple[int, int]] = []
    damaged: list[tuple[int, int]] = []
    count = end = 0
    try:
        with open_file(path) as file:
            for line in read_lines(file, start):
                is_good = line.data is not None and keep(line.data)
                _extend(kept if is_good else damaged, line)
                count += not is_good
                end = line.end
        if damaged:
            temporary = path.with_name(path.name + TEMPORARY)
            _copy(path, damaged, path.with_name(path.name + DAMAGED), os.O_APPEND)
            _copy(path, kept, temporary, os.O_TRUNC)
            temporary.replace(path)
            sync_folder(path.parent)
        elif path.stat().st_size > end:
            os.truncate(path, end)
    except OSError as error:
        raise refusal(path, error) from error
    return count


def _extend(places: list[tuple[int, int]], line: StoredLine) -> None:
    """Add a line to the stretches of a file that belong together."""
    if places and places[-1][1] == line.start:
        places[-1] = (places[-1][0], line.end)
    else:
        places.append((line.start, line.end))


def _copy(path: Path, places: list[tuple[int, int]], target: Path, flag: int) -> None:
    """Copy stretches of a file to the end of another, durably; raises OSError, also when that is a symbolic link."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flag, 0o644)
    with open_file(path) as source, open(descriptor, "ab") as file:  # noqa: PTH123  (a descriptor)
        for start, end in places:
            source.seek(start)
            while start < end and (block := source.read(min(end - start, _BLOCK))):
                file.write(block)
                start += len(block)
    sync_file(target)
