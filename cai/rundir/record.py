"""`.cai/record.jsonl`: what cai wrote in a directory, a line an entry, and the lock of whoever fills the directory.

After the mark (`cai.core.mark`) lines say `wrote` (a file, or a folder, whose name ends in a slash), `tree` (a folder
whose content a library writes, under names that only it knows), `removed`, or `session`: the beginning of the names of
one process's temporary files in `.cai`, drawn so that nobody else's have it. Names are relative, with slashes. An entry
is made before what it names is, so a file of cai's is on record wherever a process is killed. Every entry begins a line
of its own, so that a torn one spoils no other; lines that say nothing are passed over, and so are names that lead out
of the directory.

The lock is the kernel's, on this file: it goes when its holder dies, however it dies.
"""

import fcntl
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cai.core.mark import FOLDER, Kind, parse_mark


@dataclass(frozen=True, slots=True)
class Session:
    """A process that wrote here, and the beginning of its temporary files' names."""

    prefix: str
    process: int
    host: str
    holds: bool

    def may_live(self) -> bool:
        """Tell whether the process may still be at work here, for a process that has the lock.

        So did the one that held it before; of those that only joined, one on another machine may be.
        """
        if self.holds:
            return False
        if self.host != platform.node():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            pass
        return True


class DirectoryRecord:
    """An open record. Every method may raise OSError when the disk refuses.

    A run's threads put names on record at the same time: lines are written one at a time, and the sets are replaced
    whole, so that who goes through one goes through what it was then.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over a descriptor that is open for reading and appending; the file may still be empty."""
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.names: frozenset[str] = frozenset()
        self.trees: frozenset[str] = frozenset()
        self.sessions: dict[str, Session] = {}

    @property
    def kind(self) -> Kind | None:
        """What the mark says, or None when there is none."""
        return parse_mark(os.pread(self._descriptor, 4096, 0))

    def is_blank(self) -> bool:
        """Tell whether nothing was written yet: a process died, or the power failed, before the mark was there."""
        return not os.pread(self._descriptor, 65536, 0).strip(b"\0")

    def begin(self, mark: bytes) -> None:
        """Write the mark into a blank record, once, whichever processes try."""
        while self.is_blank():
            if self.lock():
                try:
                    if self.is_blank():
                        os.ftruncate(self._descriptor, 0)
                        self._write(mark)
                finally:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            else:
                time.sleep(0.001)  # another process is about to write the mark, and may then keep the lock

    def lock(self) -> bool:
        """Take the lock, until `close`, and tell whether it was free."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_locked(self) -> bool:
        """Tell whether a living process holds the lock."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def read(self) -> None:
        """Take in what the file says now."""
        names, trees = set[str](), set[str]()
        self.sessions = {}
        for entry in parse_entries(os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)):
            name = entry.get("wrote") or entry.get("tree") or entry.get("removed")
            if name is not None:
                if not stays_inside(name):
                    continue
                for known in (names, trees):
                    known.discard(name)
                if "removed" not in entry:
                    (trees if "tree" in entry else names).add(name)
            elif (session := _session(entry)) is not None:
                self.sessions[session.prefix] = session
        self.names, self.trees = frozenset(names), frozenset(trees)

    def begin_session(self, *, holds: bool) -> str:
        """Note that this process writes here, and return the beginning of its temporary files' names."""
        session = Session(secrets.token_hex(8), os.getpid(), platform.node(), holds)
        self._append(
            [{"session": session.prefix, "process": session.process, "host": session.host, "holds": session.holds}]
        )
        self.sessions[session.prefix] = session
        return session.prefix

    def holder(self) -> int | None:
        """Return the process that took the lock last."""
        self.read()
        holders = [session.process for session in self.sessions.values() if session.holds]
        return holders[-1] if holders else None

    def add(self, names: list[str]) -> None:
        """Put names on record, durably."""
        with self._lock:
            self._append([{"wrote": name} for name in names])
            self.names, self.trees = self.names.union(names), self.trees.difference(names)

    def add_tree(self, name: str) -> None:
        """Put a folder on record, durably, with all that a library is going to write into it."""
        with self._lock:
            self._append([{"tree": name}])
            self.names, self.trees = self.names - {name}, self.trees | {name}

    def forget(self, names: list[str]) -> None:
        """Take names off the record: who writes them next is somebody else."""
        with self._lock:
            self._append([{"removed": name} for name in names])
            self.names, self.trees = self.names.difference(names), self.trees.difference(names)

    def restart(self, names: list[str], session: str) -> None:
        """Forget everything but the mark, some names and a session."""
        os.ftruncate(self._descriptor, os.pread(self._descriptor, 4096, 0).index(b"\n") + 1)
        kept = self.sessions[session]
        self.names, self.trees, self.sessions = frozenset(names), frozenset(), {session: kept}
        self._append(
            [
                {"session": kept.prefix, "process": kept.process, "host": kept.host, "holds": kept.holds},
                *({"wrote": name} for name in names),
            ]
        )

    def _append(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            self._write(b"".join(b"\n" + json.dumps(entry).encode() for entry in entries))

    def _write(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.write(self._descriptor, data[written:])
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, and let go of the lock."""
        os.close(self._descriptor)


def parse_entries(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield what the lines after the mark say; those that say nothing are passed over."""
    for line in data.splitlines()[1:]:
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def _session(entry: dict[str, Any]) -> Session | None:
    prefix, process, host, holds = (entry.get(name) for name in ("session", "process", "host", "holds"))
    if not (isinstance(prefix, str) and isinstance(process, int) and isinstance(host, str)):
        return None
    is_ours = len(prefix) == 16 and set(prefix) <= set("0123456789abcdef")
    return Session(prefix, process, host, holds is True) if is_ours else None


def stays_inside(name: object) -> bool:
    """Tell whether something names a place below a directory, and none that cai keeps for itself."""
    if not isinstance(name, str) or "\0" in name:
        return False
    parts = name.removesuffix("/").split("/")
    return not {"", ".", ".."} & set(parts) and parts[0] != FOLDER and str(PurePosixPath(*parts)) == "/".join(parts)
