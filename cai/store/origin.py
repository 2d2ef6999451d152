"""Runs at a URL: each has a working copy here, an ordinary run directory that also knows where it came from.

Whatever works on a run directory works on a working copy; `remote.py` keeps both ends alike. The copy of a run lies in
`$XDG_STATE_HOME/cai/runs` (or `~/.local/state`) under the URL's last name and fingerprint, and its origin.json holds
the URL and a series of its own for the numbers of its shards, so that no two copies ever give one number twice.
"""

import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from cai.errors import RunError
from cai.identity import fingerprint
from cai.store.files import refusal, write_atomically
from cai.store.layout import ORIGIN

_ALL_SERIES = 10**9


@dataclass(frozen=True, slots=True)
class Origin:
    """The URL that a directory is the working copy of, and the series that its numbers are from (0: no copy's)."""

    url: str
    series: int


def copy_path(url: str) -> Path:
    """Return where the working copy of the run at `url` lies, or would."""
    url = url.rstrip("/")
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return state / "cai" / "runs" / f"{url.rpartition('/')[2]}-{fingerprint(url)}"


def working_copy(url: str) -> Path:
    """Return the working copy of the run at `url`, made if there is none; asks nobody whether that run exists.

    Raises StoreError when the disk refuses.
    """
    directory = copy_path(url)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / ORIGIN).exists():
            origin = Origin(url.rstrip("/"), 1 + secrets.randbelow(_ALL_SERIES - 1))
            write_atomically(directory / ORIGIN, orjson.dumps(asdict(origin)) + b"\n")
    except OSError as error:
        raise refusal(directory, error) from error
    return directory


def is_copy(directory: Path) -> bool:
    """Tell whether a directory is a working copy."""
    return (directory / ORIGIN).exists()


def read_origin(directory: Path) -> Origin | None:
    """Return what a directory is the working copy of, or None; raises RunError when that cannot be read."""
    path = directory / ORIGIN
    try:
        return Origin(**orjson.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except (TypeError, orjson.JSONDecodeError) as error:
        raise RunError(f"{path} does not say what {directory} is the working copy of: {error}.") from error


def location(directory: Path) -> str:
    """Return how a person calls a run directory: by the URL that it is a working copy of, or by its path."""
    origin = read_origin(directory)
    return str(directory) if origin is None else origin.url
