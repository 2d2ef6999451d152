"""What commands do with a run at a URL, so that `Run` and its readers find its working copy an ordinary directory.

All raise as `RemoteRun.pull_manifest` does. For a directory that is no working copy nothing is done.
"""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import orjson

from cai.core.addresses import DataSource
from cai.core.errors import RunError
from cai.core.mark import kind_of_any
from cai.core.paths import expand, resolve
from cai.rundir.claim import is_claimed, join
from cai.rundir.layout import MANIFEST, ORIGIN
from cai.rundir.origin import Origin, copy_path, new_origin, read_origin
from cai.rundir.remote import RemoteRun, remote_of
from cai.rundir.uploader import persist


def has_run(url: str) -> bool:
    """Tell whether there is a run at a URL."""
    return RemoteRun(copy_path(url), Origin(url, 0)).holds_run()


def is_run(source: DataSource) -> bool:
    """Return whether `source` names a run directory, or the URL of a run; raises as `checkout` does."""
    if source.is_url:
        # A web address can be read only, so no run was written there; one may be signed for a single file.
        return not source.is_web and has_run(str(source))
    return kind_of_any(expand(source.reveal())) == "run"


def working_copy(url: str) -> Path:
    """Return the working copy of the run at `url`, made if there is none; asks nobody whether that run exists.

    Raises StoreError when the disk refuses.
    """
    directory = copy_path(url)
    with closing(join(directory, "run")) as owned:
        if read_origin(directory) is None:
            owned.write(ORIGIN, orjson.dumps(asdict(new_origin(url))) + b"\n")
    return directory


def checkout(url: str) -> Path:
    """Return the working copy of the run at `url`, with all that is finished there, to be read.

    Raises RunError when there is no run.
    """
    if not (copy_path(url) / MANIFEST).exists() and not has_run(url):
        raise RunError(f"{url} is not a run: it has no {MANIFEST}; name a place that `cai generate` filled.")
    directory = working_copy(url)
    refresh(directory)
    if (remote := remote_of(directory)) is not None:
        with closing(join(directory, "run")) as owned:
            remote.pull_rows(owned)
    return directory


def refresh(directory: Path) -> None:
    """Bring the run.json of a working copy up to date, unless a process writes to it here: that knows best."""
    if (remote := remote_of(directory)) is not None and not is_claimed(directory):
        with closing(join(directory, "run")) as owned:
            remote.pull_manifest(owned)


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
    directory = resolve(directory)
    return directory.with_name(f"{directory.name}-{ending}")
