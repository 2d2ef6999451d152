"""Entering a directory that a command fills: one way for runs, training runs, evaluations and loops.

`claim` is for the one process that fills it, `join` for whoever only adds to it or brings it up to date (an export, a
copy of a run at a URL). A directory is entered when it is new, empty, or cai's by its mark (`cai.core.mark`); anything
else is refused and nothing in it touched. What cai wrote there is on record (`record.py`), so `--fresh` removes that
and nothing else: where it finds something else, it refuses.
"""

import os
from pathlib import Path

from cai import __version__
from cai.core.errors import RunError
from cai.core.mark import FOLDER, RECORD, Kind, kind_of, mark, open_record
from cai.rundir.files import refusal, sync_folder
from cai.rundir.origin import location
from cai.rundir.owned import Owned
from cai.rundir.record import DirectoryRecord

_CALLED: dict[Kind, str] = {
    "run": "a run",
    "training": "a training run",
    "evaluation": "an evaluation",
    "loop": "a loop's directory",
}


def claim(path: Path, kind: Kind, *, fresh: bool = False) -> Owned:
    """Make the directory, or enter it, alone until `close`; with `fresh`, only when all in it may be removed.

    Nothing is removed here: `Owned.clear` does that. Raises RunError when it holds other things, is of another kind, or
    another process is at it, StoreError when the disk refuses.
    """
    record = _open(path, kind)
    try:
        if not record.lock():
            holder = record.holder()
            raise RunError(
                f"{location(path)} is in use by process {holder or 'unknown'}; wait for it to end or "
                "give --out another directory."
            )
        record.read()
        owned = Owned(path, record, holds=True)
        if fresh:
            owned.require_only_ours()
        owned.tidy()
    except OSError as error:
        record.close()
        raise refusal(path, error) from error
    except BaseException:
        record.close()
        raise
    return owned


def join(path: Path, kind: Kind) -> Owned:
    """Make the directory, or enter it, beside whoever fills it; raises as `claim` does, and waits for nobody."""
    record = _open(path, kind)
    try:
        record.read()
        return Owned(path, record, holds=False)
    except OSError as error:
        record.close()
        raise refusal(path, error) from error
    except BaseException:
        record.close()
        raise


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
