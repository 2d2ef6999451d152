"""Runs at a URL: each has a working copy here, an ordinary run directory that also knows where it came from.

Whatever works on a run directory works on a working copy; `remote.py` keeps both ends alike. The copy of a run lies in
`$XDG_STATE_HOME/cai/runs` (or `~/.local/state`) under the URL's last name and fingerprint, and its origin.json holds
the URL and a series of its own for the numbers of its shards, so that no two copies ever give one number twice.

Only there does an origin.json count. A directory that holds one elsewhere was copied, or is somebody else's: it is an
ordinary run directory, to be read and written where it lies, and nothing that is done to it reaches the URL.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import orjson

from cai.core.errors import RunError
from cai.core.identity import fingerprint
from cai.core.paths import expand, resolve
from cai.rundir.layout import ORIGIN

_ALL_SERIES = 10**9


@dataclass(frozen=True, slots=True)
class Origin:
    """The URL that a directory is the working copy of, and the series that its numbers are from (0: no copy's)."""

    url: str
    series: int


def copy_path(url: str) -> Path:
    """Return where the working copy of the run at `url` lies, or would."""
    url = url.rstrip("/")
    return copies() / f"{url.rpartition('/')[2]}-{fingerprint(url)}"


def copies() -> Path:
    """Return where all working copies lie; raises RunError when nobody knows a home for them."""
    found = _copies()
    if found is None:
        raise RunError("There is no home directory to keep the copies of runs at URLs in; set XDG_STATE_HOME to one.")
    return found


def _copies() -> Path | None:
    state = expand(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    return None if state.parts[:1] == ("~",) else state / "cai" / "runs"


def new_origin(url: str) -> Origin:
    """Return the origin of another working copy of the run at `url`."""
    return Origin(url.rstrip("/"), 1 + secrets.randbelow(_ALL_SERIES - 1))


def is_copy(directory: Path) -> bool:
    """Tell whether a directory is a working copy."""
    return read_origin(directory) is not None


def read_origin(directory: Path) -> Origin | None:
    """Return what a directory is the working copy of, or None; raises RunError when that cannot be read."""
    home = _copies()
    if home is None or resolve(directory).parent != resolve(home):
        return None
    path = directory / ORIGIN
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            origin = Origin(**orjson.loads(file.read()))
        lies_elsewhere = resolve(copy_path(origin.url)) != resolve(directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except (TypeError, AttributeError, orjson.JSONDecodeError) as error:
        raise RunError(f"{path} does not say what {directory} is the working copy of: {error}.") from error
    return None if lies_elsewhere else origin


def location(directory: Path) -> str:
    """Return how a person calls a run directory: by the URL that it is a working copy of, or by its path."""
    origin = read_origin(directory)
    return str(directory) if origin is None else origin.url
