"""Entering a run directory to write: only a run or an empty one, alone, and under the identity it was begun with."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cai.errors import RunError
from cai.store.files import refusal, sync_folder
from cai.store.layout import (
    JOURNAL,
    LOCK,
    MANIFEST,
    ORIGIN,
    PULLING,
    ROWS,
    TEMPORARY,
    written_files,
    written_folders,
)
from cai.store.lock import Lock
from cai.store.manifest import FORMAT, Manifest, now, read_manifest, require_identity, this_writer, write_manifest
from cai.store.remote import RemoteRun
from cai.store.usage import NO_USAGE


def enter(
    directory: Path, remote: RemoteRun | None, identity: Mapping[str, str], settings: Mapping[str, Any], fresh: bool
) -> tuple[Lock, Manifest]:
    """Lock the directory and bring it, and its other end, to a state in which rows can be written; see `Run.open`."""
    try:
        _make(directory)
        _refuse_foreign(directory)
    except FileExistsError as error:
        raise RunError(f"{directory} is a file; give --out a directory.") from error
    except OSError as error:
        raise refusal(directory, error) from error
    lock = Lock(directory / LOCK)
    try:
        if remote is not None and not fresh:
            remote.pull_manifest()
        manifest = _manifest(directory, identity, settings, fresh)
        if remote is not None and not fresh:
            remote.pull_rows()
        elif remote is not None:
            remote.clear()
        if fresh:
            _clear(directory)
        # First of all: with run.json the directory is a run, wherever this stops, and may be entered again.
        write_manifest(directory, manifest)
        for name in (JOURNAL, ROWS):
            (directory / name).mkdir(exist_ok=True)
        sync_folder(directory)
        if remote is not None:
            remote.push_manifest()  # before any work: a URL that cannot be written is said now
    except OSError as error:
        lock.release()
        raise refusal(directory, error) from error
    except BaseException:
        lock.release()
        raise
    return lock, manifest


def _make(directory: Path) -> None:
    """Make the directory where there is none, durably; raises OSError."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def _refuse_foreign(directory: Path) -> None:
    """Raise RunError when the directory holds something and is no run; a lock alone is a run that died at once."""
    names = {path.name for path in directory.iterdir()}
    if MANIFEST not in names and (foreign := sorted(names - {LOCK, ORIGIN, PULLING, MANIFEST + TEMPORARY})):
        raise RunError(
            f"{directory} is not a run and not empty (it holds {foreign[0]}); give --out a new or empty directory."
        )


def _manifest(directory: Path, identity: Mapping[str, str], settings: Mapping[str, Any], fresh: bool) -> Manifest:
    """Return the manifest to go on with: the recorded one brought up to date, or a new one."""
    writer = this_writer()
    if fresh or not (directory / MANIFEST).exists():
        return Manifest(
            format=FORMAT,
            status="running",
            started=now(),
            updated=now(),
            identity=dict(identity),
            settings=dict(settings),
            writers=(writer,),
            rows=0,
            failures=0,
            usage=NO_USAGE,
            lost_usage=NO_USAGE,
        )
    recorded = read_manifest(directory)
    require_identity(directory, recorded.identity, identity)
    writers = recorded.writers if writer in recorded.writers else (*recorded.writers, writer)
    return replace(recorded, status="running", updated=now(), settings=dict(settings), writers=writers)


def _clear(directory: Path) -> None:
    """Remove what cai wrote, run.json and run.lock apart; files of other origin stay. Raises OSError."""
    for path in written_files(directory):
        path.unlink()
    for folder in written_folders(directory):
        # A folder that also holds somebody else's file stays.
        with suppress(OSError):
            folder.rmdir()
