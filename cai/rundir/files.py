"""Making files and names durable, and what it is called when the disk refuses, or a person does not wait."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cai.core.errors import InterruptError, StoreError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would pass the size limit",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOTDIR: "part of the path is a file",
}


def refusal(path: Path, error: OSError) -> StoreError:
    """Return the StoreError that tells in one sentence what the disk refused and how to go on.

    It promises nothing about rows, because there may be none yet.
    """
    reason = REASONS.get(error.errno or 0) or error.strerror or str(error)
    return StoreError(f"{path} cannot be written: {reason}; mend that, and the same command goes on where it stopped.")


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Raise InterruptError with the sentence when Ctrl-C comes inside the block, which only waits, reads or sends."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptError(sentence) from None


def remove(path: Path) -> None:
    """Remove a file; raises StoreError."""
    try:
        path.unlink()
    except OSError as error:
        raise refusal(path, error) from error


def sync_file(path: Path) -> None:
    """Make the content of a file durable; raises OSError."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; raises OSError."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
