"""Entering a directory that a command fills: one way for runs, training runs, evaluations, loops, checks.

`claim` is for the one process that fills it, `join` for whoever only adds to it or brings it up to date (an export, a
copy of a run at a URL). A directory is entered when it is new, empty, or cai's by its mark (`cai.core.mark`), and what
is in it was made under the same identity (`require_identity`); anything else is refused and nothing in it touched. What
cai wrote there is on record (`record.py`), so `--fresh` removes that and nothing else: where it finds something else,
it refuses.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cai import __version__
from cai.core.errors import RunError
from cai.core.mark import FOLDER, RECORD, Kind, kind_of, mark, open_record
from cai.rundir.documents import DocumentError, Fields, parse_document, read_bounded
from cai.rundir.files import refusal, sync_folder
from cai.rundir.layout import ANNOTATIONS, annotation_files
from cai.rundir.origin import location
from cai.rundir.owned import Owned
from cai.rundir.record import DirectoryRecord

Parsed = TypeVar("Parsed")

_CALLED: dict[Kind, str] = {
    "run": "a run",
    "training": "a training run",
    "evaluation": "an evaluation",
    "loop": "a loop's directory",
    "check": "a check of data",
    "judge-bench": "a bench of judges",
}


def claim(path: Path, kind: Kind, *, fresh: bool = False) -> Owned:
    """Make the directory, or enter it, alone until `close`; with `fresh`, only when all in it may be removed.

    Nothing is removed here: `Owned.clear` does that. Raises RunError when it holds other things, is of another kind, or
    another process is at it, StoreError when the disk refuses.
    """
    record = _open(path, kind)
    with _let_go_on_failure(path, record.close):
        if not record.lock():
            holder = record.holder()
            raise RunError(
                f"{location(path)} is in use by process {holder or 'unknown'}; wait for it to end or "
                "give --out another directory."
            )
        record.read()
        owned = Owned(path, record, holds=True)
        if fresh:
            _refuse_annotations(path)
            owned.require_only_ours()
        owned.tidy()
    return owned


def _refuse_annotations(path: Path) -> None:
    """Raise RunError when people said something of what is in a directory: nobody could make that again."""
    if files := annotation_files(path / ANNOTATIONS):
        raise RunError(
            f"{location(path)} holds what people said of it ({ANNOTATIONS}/{files[0].name}), so nothing was removed; "
            f"move {ANNOTATIONS}/ away, or give --out another directory."
        )


@contextmanager
def entering(path: Path, kind: Kind, *, fresh: bool = False) -> Iterator[Owned]:
    """Claim a directory for a block that makes it ready; it is let go of when the block fails, and kept when it ends.

    Raises as `claim` does, and whatever the block raises, an OSError as the StoreError that it is.
    """
    owned = claim(path, kind, fresh=fresh)
    with _let_go_on_failure(path, owned.close):
        yield owned


@contextmanager
def _let_go_on_failure(path: Path, close: Callable[[], None]) -> Iterator[None]:
    """Close what the block holds where it fails; an OSError becomes the StoreError that it is."""
    try:
        yield
    except OSError as error:
        close()
        raise refusal(path, error) from error
    except BaseException:
        close()
        raise


def require_identity(directory: Path, recorded: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Raise RunError, naming every entry that differs, unless what is in a directory was made under this identity."""
    names = [*recorded, *(name for name in present if name not in recorded)]
    differing = [
        f"  {name}: the run has {recorded.get(name, 'none')}, now {present.get(name, 'none')}"
        for name in names
        if recorded.get(name) != present.get(name)
    ]
    if differing:
        raise RunError(
            "\n".join(
                [
                    f"{location(directory)} was made with other settings:",
                    *differing,
                    "Give --out another directory to keep both, or --fresh to start this one over.",
                ]
            )
        )


def read_recorded(owned: Owned, names: Iterable[str], known: int, parse: Callable[[Fields], Parsed]) -> Parsed | None:
    """Return what the document says that tells what a claimed directory holds: the first that is there, or None.

    `known` is the format that it must have, `parse` may raise DocumentError. Raises RunError when it is damaged.
    """
    for name in names:
        if not owned.has(name):
            continue
        path = owned.path / name
        try:
            return parse(parse_document(read_bounded(path), known))
        except DocumentError as error:
            raise RunError(f"{path} {error}; restore it, or start over with --fresh or another --out.") from error
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    return None


def join(path: Path, kind: Kind) -> Owned:
    """Make the directory, or enter it, beside whoever fills it; raises as `claim` does, and waits for nobody."""
    record = _open(path, kind)
    with _let_go_on_failure(path, record.close):
        record.read()
    return Owned(path, record, holds=False)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep out a second process that exports a run or drops rows of it; whoever fills the run is not kept out.

    Raises RunError when another process is at it, OSError when the directory cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"{location(path)} is being exported by another process; wait for it to end.") from error
        yield
    finally:
        os.close(descriptor)


def is_claimed(path: Path) -> bool:
    """Tell whether a living process fills a directory; raises StoreError when the disk refuses."""
    if kind_of(path) is None:
        return False
    try:
        record = DirectoryRecord(open_record(path, os.O_RDONLY))
        try:
            return record.is_locked()
        finally:
            record.close()
    except OSError as error:
        raise refusal(path, error) from error


def _open(path: Path, kind: Kind) -> DirectoryRecord:
    """Open a directory's record, made with the directory where there is none."""
    try:
        _make(path)
        found = kind_of(path)
        if found is None:
            _refuse_foreign(path, kind)
            (path / FOLDER).mkdir(exist_ok=True)
        elif found != kind:
            raise RunError(f"{location(path)} is {_CALLED[found]}, not {_CALLED[kind]}; give --out another directory.")
        record = DirectoryRecord(open_record(path, os.O_RDWR | os.O_APPEND | os.O_CREAT))
        try:
            if found is None:
                record.begin(mark(kind, __version__))
                sync_folder(path / FOLDER)
                sync_folder(path)
        except BaseException:
            record.close()
            raise
    except FileExistsError as error:
        raise RunError(f"{path} is a file; give --out a directory.") from error
    except OSError as error:
        raise refusal(path, error) from error
    return record


def _make(path: Path) -> None:
    """Make the directory where there is none, durably; raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def _refuse_foreign(path: Path, kind: Kind) -> None:
    """Raise RunError when a directory without a mark holds anything but an unwritten record: a process died there."""
    foreign = sorted({found.name for found in path.iterdir()} - {FOLDER})
    inner = path / FOLDER
    if inner.is_symlink() or (inner.exists() and not inner.is_dir()):
        foreign.append(FOLDER)
    elif inner.is_dir():
        names = sorted(found.name for found in inner.iterdir())
        foreign += [f"{FOLDER}/{name}" for name in names if name != RECORD or not _is_blank(path)]
    if foreign:
        raise RunError(
            f"{path} is not {_CALLED[kind]} and not empty (it holds {foreign[0]}); give --out a new or empty directory "
            f"(a copy of a run needs its {FOLDER} too)."
        )


def _is_blank(path: Path) -> bool:
    try:
        record = DirectoryRecord(open_record(path, os.O_RDONLY))
    except OSError:
        return False
    try:
        return record.is_blank()
    finally:
        record.close()
