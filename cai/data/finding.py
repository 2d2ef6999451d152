"""What kind of place the user named, and which files in it hold rows.

| written | what it is |
|---|---|
| `-` | standard input |
| a path, or a URL that fsspec knows | a file, a directory of files, or a dataset saved by `datasets` |
| `owner/name` that is no path | a dataset on the hub |

Of a directory every file of a known kind is read, in sorted order, those in its directories too; hidden ones are not,
and what cai wrote itself is not.
"""

import errno
import os
import re
from pathlib import Path
from typing import Literal

from cai.core import mark
from cai.core.errors import InputError
from cai.core.paths import expand
from cai.data.formats import suffix_of

Kind = Literal["stdin", "file", "directory", "saved", "hub"]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def kind_of(place: str) -> Kind | None:
    """Return what the place is, or None when nothing is there.

    Raises OSError for names that no file can have, and for pipes and devices, which cannot be read twice.
    """
    if place == "-":
        return "stdin"
    if not place or "\0" in place:
        return None
    path = expand(place)
    if path.is_file():
        return "file"
    if path.is_dir():
        return "saved" if _is_saved(path) else "directory"
    if path.exists():
        reason = "it is a pipe or a device, and no file; write what comes out of it to a file first"
        raise OSError(errno.EINVAL, reason, place)
    if _HUB_NAME.fullmatch(place) and suffix_of(place) is None:
        return "hub"
    return None


def files_in(directory: Path) -> tuple[dict[str, Path], str | None]:
    """Return the files that can be read in a directory and below, by the names that places in them are called.

    What cai wrote is no input: a directory that it fills (`cai.core.mark`) is left out with all below it. The second
    value is a line that says so, where there is one. Raises OSError where a directory cannot be listed, and InputError
    when two names cannot be told apart, or `directory` itself is one that cai fills.
    """
    if (kind := mark.kind_of_any(directory)) is not None:
        raise InputError(
            f"{printable(str(directory))} is what cai wrote itself (the mark in it says: {kind}), which is not read as "
            "input; name a file in it if you mean that."
        )
    files: list[Path] = []
    filled: list[str] = []
    for parent, directories, names in os.walk(directory, onerror=_refuse):
        directories[:] = [name for name in directories if not name.startswith(".")]
        if saved := sorted(name for name in directories if _is_saved(Path(parent, name))):
            # As distilabel saves its Distisets; what describes them is JSON too, and no rows.
            listed = " or ".join(printable(str(Path(parent, name))) for name in saved)
            raise InputError(
                f"{printable(str(directory))} holds datasets that were saved each for itself; name {listed}."
            )
        for name in [name for name in directories if mark.kind_of_any(Path(parent, name)) is not None]:
            directories.remove(name)
            filled.append(printable(Path(parent, name).relative_to(directory).as_posix()))
        files += [Path(parent, name) for name in names if not name.startswith(".") and suffix_of(name) is not None]
    named: dict[str, Path] = {}
    for path in sorted(files):
        name = printable(path.relative_to(directory).as_posix())
        if path.exists() and not path.is_file():
            raise InputError(f"{name} is a pipe or a device, and no file; take it out of {printable(str(directory))}.")
        if name in named:
            raise InputError(f"{printable(str(directory))} has two files whose names are written {name}; rename one.")
        named[name] = path
    left_out = f"{printable(str(directory))}: left out what cai wrote there itself: {', '.join(sorted(filled))}"
    return named, left_out if filled else None


def _is_saved(directory: Path) -> bool:
    """Tell whether `datasets` saved a dataset, or one of several splits, in the directory."""
    return (directory / "state.json").is_file() or (directory / "dataset_dict.json").is_file()


def printable(name: str) -> str:
    """Return a file name that can be written as UTF-8 and on one line, whatever bytes it is made of."""
    text = name.encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in text)


def _refuse(error: OSError) -> None:
    """Stop at a directory that cannot be listed, which os.walk would leave out without a word."""
    raise error
