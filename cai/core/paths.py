"""Paths as people write them, and the ordinary files at their ends: nothing here waits, or raises but OSError.

pathlib raises RuntimeError for the home of a user who is not there and for links that go in a circle, and it waits for
whoever might write into a pipe.
"""

import errno
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO


def expand(name: str) -> Path:
    """Return the path that a person wrote, with the home that `~` or `~user` stands for, where there is one."""
    try:
        return Path(os.path.expanduser(name))  # noqa: PTH111
    except ValueError:  # no user, and no file either, has such a name
        return Path(name)


def resolve(path: Path) -> Path:
    """Return where a path leads, links followed as far as they lead anywhere."""
    return Path(os.path.realpath(path))


def open_file(path: Path) -> BinaryIO:
    """Open a file to be read; raises OSError, also for what is no file: nobody may ever write into a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if S_ISDIR(mode) else errno.EINVAL
        reason = "it is a directory" if S_ISDIR(mode) else "it is a pipe or a device, and no file"
        raise OSError(number, reason, str(path))
    return os.fdopen(descriptor, "rb")
