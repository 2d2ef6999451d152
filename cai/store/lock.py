"""One writer a run directory: an advisory lock that the kernel lets go of when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from cai.errors import RunError
from cai.store.files import refusal
from cai.store.origin import location


class Lock:
    """The lock file at `path`, held until `release`; its text is the holder's process id."""

    def __init__(self, path: Path) -> None:
        """Take the lock; raises RunError when another process holds it, StoreError when the disk refuses."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise refusal(path, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, b"%d\n" % os.getpid())
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise RunError(
                f"{location(path.parent)} is in use by process {holder or 'unknown'}; wait for it to end or "
                "give --out another directory."
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise refusal(path, error) from error

    def release(self) -> None:
        """Let go of the lock; the file stays, because removing it would race with the next holder."""
        os.close(self._descriptor)


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock at `path`; raises StoreError when the disk refuses."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
