"""The background thread of a run: makes what was written durable about twice a second, and seals full journals.

The thread that commits never waits for the disk. When the disk refuses, the thread ends and `check` tells. Files are
handed over under a lock, so that at any time each one is watched, waits to be sealed, or is sealed.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cai.core.errors import StoreError
from cai.rundir.journal import Journal
from cai.rundir.layout import shard_path

SYNC_SECONDS = 0.5


class Synced(Protocol):
    """What has to be told twice a second to write what it holds."""

    def sync(self) -> None:
        """Do so; raises StoreError."""


class Sealer:
    """Syncs the files that are watched and seals the journals it is given, in their order."""

    def __init__(self, directory: Path, run: str, watched: tuple[Synced, ...], after_seal: Callable[[], None]) -> None:
        """Start the thread; `after_seal` is called from it after each shard and may raise StoreError.

        `run` is the fingerprint of the run's identity.
        """
        self._lock = threading.Lock()
        self._watched = watched
        self._directory = directory
        self._run = run
        self._after_seal = after_seal
        self._error: StoreError | None = None
        self._waiting: list[Journal] = []
        self._full: queue.SimpleQueue[Journal | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="cai-sealer", daemon=True)
        self._thread.start()

    def seal(self, journal: Journal, watched: tuple[Synced, ...] | None = None) -> None:
        """Hand over a journal that nobody appends to any more, to seal and close; `watched` are its successors."""
        with self._lock:
            self._waiting.append(journal)
            if watched is not None:
                self._watched = watched
        self._full.put(journal)

    def sync(self) -> None:
        """Make what was written until now durable; raises StoreError. Called from the thread itself."""
        with self._lock:
            files = (*self._waiting, *self._watched)
        for file in files:
            file.sync()

    def check(self) -> None:
        """Raise what stopped the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Seal what was handed over, sync the rest and end the thread; raises what stopped it."""
        self._full.put(None)
        self._thread.join()
        while not self._full.empty():  # the thread ended before it came to these
            if (journal := self._full.get()) is not None:
                journal.close()
        self.check()

    def _work(self) -> None:
        try:
            while self._step():
                self.sync()
        except StoreError as error:
            self._error = error
        except Exception as error:
            self._error = StoreError(f"{self._directory}: sealing stopped: {error!r}")

    def _step(self) -> bool:
        """Seal the next journal, if one comes in time; return whether to go on."""
        try:
            journal = self._full.get(timeout=SYNC_SECONDS)
        except queue.Empty:
            import cai.rundir.shards  # noqa: F401, PLC0415  (Arrow comes in while rows are made, not before or after)

            return True
        if journal is None:
            self.sync()
            return False
        from cai.rundir.shards import seal  # noqa: PLC0415

        try:
            seal(journal.path, shard_path(self._directory, journal.number), self._run, journal.number)
        finally:
            with self._lock:
                self._waiting.remove(journal)
            journal.close()
        self._after_seal()
        return True
