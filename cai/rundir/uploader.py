"""The background thread of a run at a URL: sends every shard as soon as it is sealed.

It is not the sealer's thread, because rows become durable here every half second however slow the way there is. What
is refused stays in the working copy and is tried again after growing waits; only `finish` gives up and tells. Who does
not want to wait for it interrupts; the thread then ends with the process, wherever it is.
"""

import threading
import time
from collections.abc import Callable

from cai.core.errors import RunError, StoreError
from cai.rundir.remote import RemoteRun

WAITS = (1.0, 4.0, 16.0)
"""Seconds before each further attempt when nothing else is left to do."""

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds before another attempt while rows are being made: each wait is double the last, up to the longest."""


def persist(remote: RemoteRun, send: Callable[[], None]) -> None:
    """Send, and where that is refused again after each of WAITS; raises the last StoreError, or InterruptError."""
    with remote.sending():
        for wait in WAITS:
            try:
                return send()
            except StoreError:
                time.sleep(wait)
        return send()


class Uploader:
    """Sends what the working copy has and the URL has not."""

    def __init__(self, remote: RemoteRun) -> None:
        """Start the thread, with what earlier processes still owe."""
        self._remote = remote
        self._wanted = threading.Event()
        self._wanted.set()
        self._ending = False
        self._error: RunError | None = None
        self._thread = threading.Thread(target=self._work, name="cai-uploader", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is a new shard; returns at once."""
        self._wanted.set()

    def check(self) -> None:
        """Raise RunError once the run was started over elsewhere: no row made from now on belongs to any run."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread once it has sent the file that it is sending; a second call does nothing.

        Raises InterruptError when a person did not wait for that.
        """
        if self._ending:
            return
        self._ending = True
        self._wanted.set()
        with self._remote.sending():
            self._thread.join()

    def finish(self) -> None:
        """Send all that is left, failures and run.json included; nobody may be writing to them any more.

        Raises StoreError when it was refused time after time, RunError when the run was started over elsewhere since,
        InterruptError when a person did not wait for it; everything is safe in the working copy then.
        """
        self.stop()
        persist(self._remote, self._send_rest)

    def _send_rest(self) -> None:
        self._remote.push_rows()
        self._remote.push_lines()
        self._remote.push_manifest()

    def _work(self) -> None:
        wait: float | None = None
        while True:
            self._wanted.wait(wait)
            self._wanted.clear()  # before looking, or a call to end that comes in between would be taken back
            if self._ending:
                return
            try:
                if self._remote.push_rows():
                    self._remote.push_manifest()
                wait = None
            except RunError as error:
                self._error = error
                return
            except StoreError:
                wait = min(2 * wait, LONGEST_WAIT) if wait else FIRST_WAIT
