"""The files of a run at a URL, as its writers see them: what is put on record there, sent and taken away.

Each working copy keeps a record at the URL, `.cai/record-<series>.jsonl`, in the form of a directory's (`record.py`):
the mark, by which the URL is a run's, and a line for every file that the copy sends. Nothing is appended to in an
object store, so a record is replaced whole, and a copy replaces only its own. What any of them lists is cai's.

A name is put on record before its file is sent, and never when something else lies there: wherever a process is killed,
what it sent is on record, and a name without a file harms nobody. Names that carry a copy's series are known by
themselves, and so is run.json, which says what it is. The other ones are names that anybody uses (README.md), so they
are on record with the digests of what was sent: what somebody put in its place is not taken for cai's.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cai import __version__
from cai.core.errors import RunError
from cai.core.mark import FOLDER, RECORD, folder_of_record, mark, parse_mark, record_at_url
from cai.core.urls import TEMPORARY, RemoteFolder
from cai.rundir.documents import LONGEST
from cai.rundir.record import parse_entries, stays_inside

Listed = dict[str, set[str | None]]
"""Names on record, each with the digests of what was sent under it; None: it is known by its name alone."""

_TEMPORARY = re.compile(rf"{re.escape(FOLDER)}/([0-9]+)-[0-9a-f]{{16}}{re.escape(TEMPORARY)}")


class RemoteOwned:
    """The files at a URL with their records; every method may raise OSError, and those that change something RunError.

    What it knows of the URL is what it was when `look` was called last.
    """

    def __init__(self, url: str, series: int) -> None:
        """Raise UsageError when no filesystem is installed for the URL; nothing is asked of it yet."""
        self.folder = RemoteFolder(url, f"{FOLDER}/{series}-")
        self.sizes: dict[str, int] = {}
        self._url = url
        self._own = record_at_url(series)
        self._folders: set[str] = set()
        self._records: dict[str, Listed] = {}
        self._blank: set[str] = set()

    def look(self) -> None:
        """Take in what lies at the URL now, and what is on record there."""
        self.sizes = self.folder.sizes()
        self._folders = {folder for name in self.sizes for folder in _folders_above(name)}
        self._records, self._blank = {}, set()
        for name, size in self.sizes.items():
            if folder_of_record(name) != "" or size > LONGEST:
                continue
            with suppress(FileNotFoundError):  # another copy cleared the URL just now
                data = self.folder.read(name)
                if not data.strip(b"\0"):
                    self._blank.add(name)
                elif parse_mark(data) == "run":
                    self._records[name] = _listed(data)

    @property
    def is_run(self) -> bool:
        """Whether the URL has the mark of a run."""
        return bool(self._records)

    def has(self, name: str) -> bool:
        """Tell whether a file is there under a name that is on record."""
        return name in self.sizes and any(name in listed for listed in self._records.values())

    def others(self) -> list[str]:
        """Return the names of the files that are there and not on record, whatever they hold."""
        return sorted(name for name in self.sizes if not self.has(name) and not self._is_of_records(name))

    def _is_of_records(self, name: str) -> bool:
        """Tell whether a file is a record, or half of one: a process was killed when it began."""
        return name in self._records or name in self._blank or _TEMPORARY.fullmatch(name) is not None

    def require_free(self, name: str) -> None:
        """Raise RunError unless nothing lies under a name, or what cai sent there."""
        for folder in _folders_above(name):
            if folder in self.sizes:  # a file, or a link
                raise self._not_ours(folder)
        if name in self._folders or (name in self.sizes and not self._is_as_sent(name)):
            raise self._not_ours(name)

    def _is_as_sent(self, name: str) -> bool:
        sent = self._digests(name)
        return None in sent or (bool(sent) and self._digest_there(name) in sent)

    def _digests(self, name: str) -> set[str | None]:
        return {digest for listed in self._records.values() for digest in listed.get(name, ())}

    def _digest_there(self, name: str) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "there")
            self.folder.get(name, path)
            return _digest(path)

    def own(self, names: Iterable[str] = (), files: Mapping[str, Path] | None = None) -> None:
        """Put names on record that are about to be sent, those of `files` with what they hold.

        No other process of the same copy may do so at the same time.
        """
        self.look()
        self._require_sent_to()
        added: Listed = {name: {None} for name in names}
        added |= {name: {_digest(path)} for name, path in (files or {}).items()}
        for name in added:
            self.require_free(name)
        listed = self._records.get(self._own, {})
        new = {name: digests for name, digests in added.items() if not digests <= self._digests(name)}
        if new or self._own not in self._records:
            self._write({**listed, **{name: digests | listed.get(name, set()) for name, digests in new.items()}})

    def _require_sent_to(self) -> None:
        """Raise RunError when a process fills the place as its directory, or did and it was copied here."""
        if f"{FOLDER}/{RECORD}" in self._records:
            raise RunError(
                f"{self._url} was filled as a directory, and not through its URL; name it by its path, or give --out "
                "another place."
            )

    def _write(self, listed: Listed) -> None:
        """Replace the copy's own record."""
        if self._own not in self._records and self._own not in self._blank:
            self.require_free(self._own)
        lines = [
            json.dumps({"wrote": name} if digest is None else {"wrote": name, "sha256": digest}).encode()
            for name, digests in sorted(listed.items())
            for digest in sorted(digests, key=str)
        ]
        self.folder.write(self._own, mark("run", __version__) + b"".join(b"\n" + line for line in lines))
        self._records[self._own] = listed

    def remove(self, names: Iterable[str]) -> None:
        """Remove those files that are there; they must be as they were sent."""
        names = [name for name in names if name in self.sizes]
        for name in names:
            self.require_free(name)
        self.folder.remove(names)

    def clear(self, last: str) -> None:
        """Remove all that is on record, `last` after the other files, and begin the copy's own record anew.

        The URL has the mark all the time, and a name is on record until its file is gone. No other process of the same
        copy may do so at the same time.
        """
        self._require_sent_to()
        names = [name for name in self.sizes if self.has(name)]
        for name in names:
            self.require_free(name)
        series = {found[1] for record in self._records if (found := re.search(r"record-([0-9]+)", record))}
        names += [name for name in self.sizes if (half := _TEMPORARY.fullmatch(name)) and half[1] in series]
        self._write(self._records.get(self._own, {}))
        self.folder.remove(name for name in names if name != last)
        self.folder.remove(name for name in names if name == last)
        self._write({})
        self.folder.remove(name for name in self._records if name != self._own)

    def _not_ours(self, name: str) -> RunError:
        return RunError(
            f"{self._url}/{name} is not what cai sent there, which needs its name; move it away, and the same command "
            "goes on."
        )


def _folders_above(name: str) -> Iterator[str]:
    """Yield the folders that a file lies in, the outer one first."""
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def _listed(data: bytes) -> Listed:
    """Return what a record lists; folders are nothing at a URL."""
    listed: Listed = {}
    for entry in parse_entries(data):
        name, digest = entry.get("wrote"), entry.get("sha256")
        if stays_inside(entry.get("removed")):
            listed.pop(str(entry["removed"]), None)
        elif stays_inside(name) and not str(name).endswith("/") and (digest is None or isinstance(digest, str)):
            listed.setdefault(str(name), set()).add(digest)
    return listed


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
