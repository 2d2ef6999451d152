"""Prompts at a URL, copied to $TMPDIR and then read as local files: same formats, same places, same fingerprints.

They are copied and not streamed because every source is read at least twice: its fingerprint, which is its content's,
comes before the first prompt. The copy is removed when the process ends.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path, PurePosixPath

from cai.core.errors import InputError
from cai.core.mark import LONGEST, folder_of_record, parse_mark
from cai.core.urls import RemoteFolder
from cai.data.finding import printable

_SAVED = frozenset({"state.json", "dataset_dict.json"})
"""One of these lies in a directory that `datasets` saved; all its files belong to it."""


def fetch(url: str, suffixes: tuple[str, ...]) -> tuple[Path, str | None]:
    """Return a local copy of the file, or the directory, at `url`; of a directory what has one of the suffixes.

    `url` is without its secrets, as `addresses.DataSource` shows it; one that does not end in a suffix is a directory,
    in which hidden files are left out, and what cai wrote itself is: the second value is a line that says so, where
    there is any. Raises InputError when nothing is there, or nobody answers, and UsageError when there is no filesystem
    for the URL.
    """
    folder = RemoteFolder(url)
    target = Path(tempfile.mkdtemp(dir=_copies())) / PurePosixPath(url).name
    try:
        if not url.endswith("/") and target.name.endswith(suffixes):
            folder.get("", target)
            return target, None
        found = list(folder.sizes())
        filled = _filled(folder, found, url)
        inputs = [name for name in found if not any(name.startswith(f"{place}/") for place in filled)]
        names = [name for name in inputs if not any(part.startswith(".") for part in name.split("/"))]
        wanted = names if _SAVED & set(names) else [name for name in names if name.endswith(suffixes)]
        written = ", ".join(map(printable, filled))
        if not wanted:
            beside = f" beside what cai wrote there itself: {written}" if filled else ""
            none = f"holds no file of a kind that can be read ({', '.join(suffixes)}){beside}"
            raise InputError(f"{url} {none if found else 'is not there'}.")
        for name in wanted:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            folder.get(name, target / name)
    except FileNotFoundError as error:
        raise InputError(f"{url} is not there: {error}.") from error
    except OSError as error:
        raise InputError(f"{url} cannot be read: {error}.") from error
    return target, f"{url}: left out what cai wrote there itself: {written}" if filled else None


def _filled(folder: RemoteFolder, names: list[str], url: str) -> list[str]:
    """Return the folders at a URL that cai fills, by their marks; raises InputError when the URL itself is one."""
    filled = set()
    for name in names:
        place = folder_of_record(name)
        if place is None or (kind := parse_mark(folder.read_beginning(name, LONGEST))) is None:
            continue
        if not place:
            raise InputError(
                f"{url} is what cai wrote itself (the mark in it says: {kind}), which is not read as input; name a "
                "file in it if you mean that."
            )
        filled.add(place)
    return sorted(filled)


@cache
def _copies() -> str:
    folder = tempfile.mkdtemp(prefix="cai-prompts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
