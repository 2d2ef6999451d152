"""Files at a URL (`s3://`, `gs://`, `hf://`, `https://`, `file://` …), through the filesystem that fsspec has for it.

Credentials and endpoints are the filesystem's own business (its environment variables and files). Filesystems do not
list what they raise; here it comes out as OSError with one line: FileNotFoundError where something is not there,
PermissionError where it is not ours. Nothing is tried again here. fsspec is imported when a URL is opened. Knows
nothing of runs or prompts.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cai.core.errors import UsageError
from cai.core.redaction import revealed

TEMPORARY = ".tmp"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+")
_BEGINNING = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "hf", "abfs", "abfss", "az"})
"""Where one upload appears whole or not at all, and where there are no folders to make."""


def is_url(text: str) -> bool:
    """Tell whether a person means a place on a filesystem of fsspec, and not a local path."""
    return _URL.fullmatch(text) is not None


def is_almost_url(text: str) -> bool:
    """Tell whether a text begins as a URL does and is none: `s3:/bucket`, which would be a strange local path."""
    return _BEGINNING.match(text) is not None and not is_url(text)


class RemoteFolder:
    """The files below a URL; their names are relative to it, with slashes, and `""` is the URL itself, as a file."""

    def __init__(self, url: str, temporaries: str = ".") -> None:
        """Raise UsageError when no filesystem is known for the URL, or its package is not installed.

        `url` is without secrets, as `addresses.DataSource` shows it; here, where it is connected to, they come in.
        `temporaries` is what the names of temporary files begin with, where the filesystem needs some; the rest is
        drawn, so that nobody else's has it.
        """
        self._temporaries = temporaries
        self.url = url.rstrip("/")
        self._filesystem, self._root = _open(self.url)
        protocol = self.url.partition("://")[0].lower()
        self._uploads_whole = protocol in _OBJECT_STORES

    def sizes(self) -> dict[str, int]:
        """Return the size of every file in bytes, by name, as they are now; none where there is nothing."""
        with _one_line():
            self._filesystem.invalidate_cache()
            found = self._filesystem.find(self._root, detail=True)
            # An empty object whose name ends in a slash is how the consoles of object stores make a folder.
            files = {name: info["size"] for name, info in found.items() if not name.endswith("/")}
            return {name.removeprefix(self._root).lstrip("/"): size for name, size in files.items()}

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        with _one_line():
            data: bytes = self._filesystem.cat_file(self._place(name))
            return data

    def read_beginning(self, name: str, size: int) -> bytes:
        """Return so many bytes of a file, or all where it has less."""
        with _one_line():
            data: bytes = self._filesystem.cat_file(self._place(name), start=0, end=size)
            return data

    def get(self, name: str, path: Path) -> None:
        """Copy a file to a local path, piece by piece."""
        with _one_line():
            self._filesystem.get_file(self._place(name), str(path))

    def put(self, name: str, path: Path) -> None:
        """Copy a local file that does not change meanwhile; half of it is never to be seen under its name."""
        with _one_line(), self._whole(name) as place:
            self._filesystem.put_file(str(path), place)

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a small file; half of it is never to be seen under its name."""
        with _one_line(), self._whole(name) as place:
            self._filesystem.pipe_file(place, data)

    def move(self, name: str, new: str) -> None:
        """Give a file that is there another name."""
        with _one_line():
            self._filesystem.mv(self._place(name), self._place(new))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that are there."""
        places = [self._place(name) for name in names]
        if places:
            with _one_line():
                self._filesystem.rm(places)

    @contextmanager
    def _whole(self, name: str) -> Iterator[str]:
        """Lend a place to write to, whose content appears under the name once it is complete."""
        place = self._place(name)
        if self._uploads_whole:
            yield place
            return
        temporary = self._place(f"{self._temporaries}{secrets.token_hex(8)}{TEMPORARY}")
        for path in (temporary, place):
            self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        if self._filesystem.isdir(place):  # into which the file would be moved
            raise IsADirectoryError(f"{name} is a folder")
        yield temporary
        self._filesystem.mv(temporary, place)

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _open(url: str) -> tuple[Any, str]:
    """Return the filesystem, and the URL's path as it calls it."""
    import fsspec  # noqa: PLC0415  (nobody who works on local files waits for it)

    try:
        filesystem, root = fsspec.url_to_fs(revealed(url))
    except ImportError as error:
        cause = error.__cause__ or error
        package = (getattr(cause, "name", None) or "").partition(".")[0]
        needs = f"needs {package}: pip install {package}" if package else f"cannot be opened: {_line(error)}."
        raise UsageError(f"{url} {needs}") from error
    except Exception as error:
        raise UsageError(f"{url} cannot be opened: {_line(error)}.") from error
    return filesystem, str(root).rstrip("/")


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(_line(error)) from error
    except PermissionError as error:
        raise PermissionError(_line(error)) from error
    except Exception as error:
        raise OSError(_line(error)) from error


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
