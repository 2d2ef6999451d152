"""What commands do with a run at a URL, so that `Run` and its readers find its working copy an ordinary directory.

All raise as `RemoteRun.pull_manifest` does. For a directory that is no working copy nothing is done.
"""

from pathlib import Path

from cai.errors import RunError
from cai.store.layout import LOCK, MANIFEST
from cai.store.lock import is_held
from cai.store.origin import Origin, copy_path, read_origin, working_copy
from cai.store.remote import RemoteRun, remote_of
from cai.store.uploader import persist


def has_run(url: str) -> bool:
    """Tell whether there is a run at a URL."""
    return RemoteRun(copy_path(url), Origin(url, 0)).holds_run()


def checkout(url: str) -> Path:
    """Return the working copy of the run at `url`, with all that is finished there, to be read.

    Raises RunError when there is no run.
    """
    if not (copy_path(url) / MANIFEST).exists() and not has_run(url):
        raise RunError(f"{url} is not a run: it has no {MANIFEST}; name a place that `cai generate` filled.")
    directory = working_copy(url)
    refresh(directory)
    if (remote := remote_of(directory)) is not None:
        remote.pull_rows()
    return directory


def refresh(directory: Path) -> None:
    """Bring the run.json of a working copy up to date, unless a process writes to it here: that knows best."""
    if (remote := remote_of(directory)) is not None and not is_held(directory / LOCK):
        remote.pull_manifest()


def publish(directory: Path) -> None:
    """Send the exports of a working copy to its run.

    Raises StoreError when that is refused again and again, RunError when the run was started over elsewhere.
    """
    if (remote := remote_of(directory)) is not None:
        persist(remote, remote.push_exports)


def beside(directory: Path, ending: str) -> Path:
    """Return the directory, or the working copy, of a run next to this one, under its name and `-ending`."""
    origin = read_origin(directory)
    if origin is not None:
        return working_copy(f"{origin.url}-{ending}")
    directory = directory.resolve()
    return directory.with_name(f"{directory.name}-{ending}")
