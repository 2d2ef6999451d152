"""A directory that cai fills, as its writers see it: what is put on record there, written, moved in and taken away.

Three rules hold for whatever is written through it. A name belongs to cai once it is on record, and never when
something else lies there already. No symbolic link is followed, and none replaced. Only what is on record is removed.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from cai.core.errors import RunError, StoreError
from cai.core.mark import FOLDER, RECORD
from cai.rundir.files import refusal, sync_file, sync_folder
from cai.rundir.record import DirectoryRecord


class Owned:
    """A directory with its record; made by `cai.rundir.claim`, ended by `close`.

    Names are relative to it, with slashes. Methods raise RunError when they would touch what is not cai's, StoreError
    when the disk refuses.
    """

    def __init__(self, path: Path, record: DirectoryRecord, *, holds: bool) -> None:
        """Take over an open record that was read; `holds` says whether this process has its lock."""
        self.path = path
        self._record = record
        self._holds = holds
        self._numbers = count()
        with _refusing(path):
            self._session = record.begin_session(holds=holds)

    def has(self, name: str) -> bool:
        """Tell whether a file that cai wrote lies under a name."""
        return name in self._record.names and self._mode(name) != 0

    def require_free(self, *names: str) -> None:
        """Raise RunError when something that cai did not write has one of the names that it is going to need."""
        for name in names:
            self._require_free_or_ours(name)

    def own(self, *names: str) -> list[Path]:
        """Put files on record that are about to be made, and return where they lie or will."""
        self.require_free(*names)
        self._add(names)
        return [self.path / name for name in names]

    def own_paths(self, paths: Iterable[Path]) -> list[Path]:
        """Do as `own` does for files that are given by where they lie."""
        return self.own(*(path.relative_to(self.path).as_posix() for path in paths))

    def folder(self, name: str) -> Path:
        """Make a folder, or find the one that cai made."""
        self._require_free_or_ours(f"{name}/")
        self._add([f"{name}/"])
        path = self.path / name
        with _refusing(path):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)
        return path

    def tree(self, name: str) -> Path:
        """Put a folder on record, with all that a library is going to write into it; see `settle`.

        Like `own` for what lies in it: nothing but what is on record, or the folder is refused.
        """
        if name not in self._record.trees:
            self._require_free_or_ours(f"{name}/")
            path = self.path / name
            if path.exists() and (foreign := min(self._foreign(path), default=None)) is not None:
                raise _not_ours(self.path / foreign)
            with _refusing(path):
                self._record.add_tree(name)
        return self.path / name

    def settle(self, name: str) -> None:
        """Put on record by name what a library wrote into a tree: what comes to it later is somebody else's."""
        if name in self._record.trees:
            path = self.path / name
            inner = sorted(self._inside(path)) if path.is_dir() and not path.is_symlink() else []
            with _refusing(path):
                self._record.add([*([f"{name}/"] if path.is_dir() else []), *inner])
                self._record.forget([name])

    def _add(self, names: Iterable[str]) -> None:
        with _refusing(self.path / FOLDER / RECORD):
            self._record.add([name for name in names if name not in self._record.names])

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file, durably; a crash leaves the old one or the new one, never half of either."""
        (path,) = self.own(name)
        temporary = self.temporary()
        try:
            with open(temporary, "xb") as file:  # noqa: PTH123  (x: nothing that is there is written to)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise refusal(path, error) from error

    def place(self, temporary: Path, name: str) -> None:
        """Move a file that is complete to where it belongs, durably."""
        (path,) = self.own(name)
        with _refusing(path):
            sync_file(temporary)
            temporary.replace(path)
            sync_folder(path.parent)

    def temporary(self) -> Path:
        """Return where a temporary file, or a folder, may be made; a process after this one removes what is left."""
        return self.path / FOLDER / f"{self._session}-{next(self._numbers)}"

    def remove(self, *names: str) -> None:
        """Remove files that are on record, where they are there, and forget them."""
        gone = [name for name in names if name in self._record.names]
        for name in gone:
            self._require_free_or_ours(name)
            with _refusing(self.path / name):
                (self.path / name).unlink(missing_ok=True)
        with _refusing(self.path):
            self._record.forget(gone)

    def remove_below(self, name: str) -> None:
        """Remove a folder with all in it that is on record; what is not stays, and the folders that it lies in."""
        names = [known for known in self._record.names if known == f"{name}/" or known.startswith(f"{name}/")]
        trees = [tree for tree in self._record.trees if tree == name or tree.startswith(f"{name}/")]
        with _refusing(self.path / name):
            self._delete(names, trees)
            self._record.forget([*names, *trees])

    def clear(self, keep: tuple[str, ...] = ()) -> None:
        """Remove what is on record, whole, except the files in `keep`, and begin the record anew."""
        names = self._record.names - set(keep)
        with _refusing(self.path):
            self._delete(names, self._record.trees)
            for path in self._left_behind():
                _remove(path)
            sync_folder(self.path)
            self._record.restart(sorted(set(keep) & self._record.names), self._session)

    def _delete(self, names: Iterable[str], trees: Iterable[str]) -> None:
        """Remove files and folders, inner ones first; a folder that holds something else stays."""
        for name in names:
            if not name.endswith("/") and self._mode(name):
                self._require_free_or_ours(name)
                (self.path / name).unlink(missing_ok=True)
        for tree in trees:
            if self._mode(tree):
                self._require_plain(f"{tree}/")
                shutil.rmtree(self.path / tree)
        for name in sorted((name for name in names if name.endswith("/")), key=len, reverse=True):
            if self._mode(name):
                self._require_free_or_ours(name)
                with suppress(OSError):
                    (self.path / name).rmdir()

    def require_only_ours(self) -> None:
        """Raise RunError, and name it, when anything lies here that is not on record."""
        with _refusing(self.path):
            foreign = sorted(self._foreign(self.path))
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise RunError(
                f"{self.path} holds {foreign[0]}{more}, which cai did not write, so nothing was removed; move it away, "
                "or give --out another directory."
            )

    def require_ours(self, paths: Iterable[Path]) -> None:
        """Raise RunError when one of these files or folders, which are here, is not on record."""
        for path in paths:
            name = path.relative_to(self.path).as_posix()
            if not {name, f"{name}/"} & self._record.names and name not in self._record.trees:
                raise _not_ours(path)

    def tidy(self) -> None:
        """Bring the record up to date with what a process that died, or a person, left of it.

        Names under which nothing lies any more are forgotten; temporary files of processes that are gone are removed. A
        link, or anything else that is no file, in the place of a file of cai's is refused.
        """
        self._forget_absent()
        for name in self._record.names:
            self._require_free_or_ours(name)
        for tree in self._record.trees:
            self._require_plain(f"{tree}/")
        with _refusing(self.path):
            for path in self._left_behind():
                _remove(path)

    def _forget_absent(self) -> None:
        known = self._record.names | self._record.trees
        with _refusing(self.path):
            self._record.forget([name for name in known if not self._mode(name)])

    def _left_behind(self) -> Iterator[Path]:
        """Yield the temporary files of processes that are gone."""
        for path in (self.path / FOLDER).iterdir():
            session = self._record.sessions.get(path.name.partition("-")[0])
            if session is not None and session.prefix != self._session and not session.may_live():
                yield path

    def _foreign(self, folder: Path) -> Iterator[str]:
        """Yield what lies in a folder and is not on record, a folder of somebody else's by its own name alone."""
        for entry in os.scandir(folder):
            name = Path(entry.path).relative_to(self.path).as_posix()
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder and name == FOLDER:
                yield from self._foreign_inside()
            elif is_folder and name in self._record.trees:
                continue
            elif is_folder and f"{name}/" in self._record.names:
                yield from self._foreign(Path(entry.path))
            elif is_folder or not entry.is_file(follow_symlinks=False) or name not in self._record.names:
                yield name

    def _foreign_inside(self) -> Iterator[str]:
        for path in (self.path / FOLDER).iterdir():
            if path.name != RECORD and path.name.partition("-")[0] not in self._record.sessions:
                yield f"{FOLDER}/{path.name}"

    def _inside(self, folder: Path) -> Iterator[str]:
        """Yield the names of all that lies in a folder; those of folders end in a slash."""
        for entry in os.scandir(folder):
            name = Path(entry.path).relative_to(self.path).as_posix()
            if entry.is_dir(follow_symlinks=False):
                yield f"{name}/"
                yield from self._inside(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield name

    def _mode(self, name: str) -> int:
        """Return the mode of what lies under a name itself, links not followed; 0 where nothing does."""
        try:
            return (self.path / name.removesuffix("/")).lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            raise refusal(self.path / name, error) from error

    def _require_free_or_ours(self, name: str) -> None:
        """Raise RunError unless nothing lies under a name, or what is on record under it."""
        self._require_plain(name)
        if self._mode(name) and name not in self._record.names:
            raise _not_ours(self.path / name)

    def _require_plain(self, name: str) -> None:
        """Raise RunError when a link is on the way to a name, or something lies there that is neither file nor folder.

        A name that ends in a slash is a folder's.
        """
        parts = name.removesuffix("/").split("/")
        for end in range(1, len(parts) + 1):
            part = "/".join(parts[:end])
            mode = self._mode(part)
            is_folder = end < len(parts) or name.endswith("/")
            if mode and not (S_ISDIR(mode) if is_folder else S_ISREG(mode)):
                found = "a symbolic link" if S_ISLNK(mode) else "something else"
                raise RunError(
                    f"{self.path / part} is {found} where cai keeps a {'folder' if is_folder else 'file'} of its own; "
                    "move it away, and the same command goes on."
                )

    def close(self) -> None:
        """Let another process in; names that were expected, or under which nothing lies any more, are free again."""
        try:
            if self._holds:
                with suppress(StoreError):  # the next process does it
                    self._forget_absent()
        finally:
            self._record.close()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn an OSError into the StoreError that says which place was refused."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from error


def _not_ours(path: Path) -> RunError:
    return RunError(f"{path} was not written by cai, which needs its name; move it away, and the same command goes on.")


def _remove(path: Path) -> None:
    """Remove a temporary file or folder of cai's; raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
