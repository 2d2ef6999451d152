"""The background thread of a run: makes what was written durable about twice a second, and seals full journals.

The thread that commits never waits for the disk. When the disk refuses, the thread ends and `check` tells.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from cai.core.errors import StoreError
from cai.rundir.journal import Journal
from cai.rundir.layout import shard_path
from cai.rundir.lines import LineFile

SYNC_SECONDS = 0.5


class Sealer:
    """Syncs the files in `watched` and seals the journals it is given, in their order."""

    def __init__(
        self, directory: Path, run: str, watched: tuple[LineFile, ...], after_seal: Callable[[], None]
    ) -> None:
        """Start the thread; `after_seal` is called from it after each shard and may raise StoreError.

        `run` is the fingerprint of the run's identity.
        """
        self.watched = watched
        self._directory = directory
        self._run = run
        self._after_seal = after_seal
        self._error: StoreError | None = None
        self._waiting: list[Journal] = []
        self._full: queue.SimpleQueue[Journal | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="cai-sealer", daemon=True)
        self._thread.start()

    def seal(self, journal: Journal) -> None:
        """Hand over a journal that nobody appends to any more and that `watched` no longer names, to seal and close."""
        self._waiting.append(journal)
        self._full.put(journal)

    def sync(self) -> None:
        """Make what was written until now durable; raises StoreError. Called from the thread itself."""
        for file in (*self._waiting, *self.watched):
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
            self._waiting.remove(journal)
            journal.close()
        self._after_seal()
        return True
