"""Prompts at a URL, copied to $TMPDIR and then read as local files: same formats, same places, same fingerprints.

They are copied and not streamed because every source is read at least twice: its fingerprint, which is its content's,
comes before the first prompt. The copy is removed when the process ends.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path, PurePosixPath

from cai.errors import InputError
from cai.urls import RemoteFolder

_SAVED = frozenset({"state.json", "dataset_dict.json"})
"""One of these lies in a directory that `datasets` saved; all its files belong to it."""


def fetch(url: str, suffixes: tuple[str, ...]) -> Path:
    """Return a local copy of the file, or the directory, at `url`; of a directory what has one of the suffixes.

    `url` is without its secrets, as `addresses.DataSource` shows it; one that does not end in a suffix is a directory,
    in which hidden files are left out. Raises InputError when nothing is there, or nobody answers, and UsageError when
    there is no filesystem for the URL.
    """
    folder = RemoteFolder(url)
    target = Path(tempfile.mkdtemp(dir=_copies())) / PurePosixPath(url).name
    try:
        if not url.endswith("/") and target.name.endswith(suffixes):
            folder.get("", target)
            return target
        names = [name for name in folder.sizes() if not any(part.startswith(".") for part in name.split("/"))]
        wanted = names if _SAVED & set(names) else [name for name in names if name.endswith(suffixes)]
        if not wanted:
            found = f"holds no file of a kind that can be read ({', '.join(suffixes)})" if names else "is not there"
            raise InputError(f"{url} {found}.")
        for name in wanted:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            folder.get(name, target / name)
    except FileNotFoundError as error:
        raise InputError(f"{url} is not there: {error}.") from error
    except OSError as error:
        raise InputError(f"{url} cannot be read: {error}.") from error
    return target


@cache
def _copies() -> str:
    folder = tempfile.mkdtemp(prefix="cai-prompts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
