"""Entering a run directory to write: only a run or an empty one, alone, and under the identity it was begun with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cai.core.records import Usage
from cai.rundir.claim import entering, require_identity
from cai.rundir.layout import (
    JOURNAL,
    MANIFEST,
    ORIGIN,
    ROWS,
    failures_path,
    journal_numbers,
    journal_path,
    names_of,
    shard_numbers,
    shard_path,
)
from cai.rundir.manifest import FORMAT, Manifest, now, read_manifest, this_writer, write_manifest
from cai.rundir.owned import Owned
from cai.rundir.remote import RemoteRun


def enter(
    directory: Path,
    remote: RemoteRun | None,
    identity: Mapping[str, str],
    inputs: str,
    settings: Mapping[str, Any],
    fresh: bool,
) -> tuple[Owned, Manifest]:
    """Claim the directory and bring it, and its other end, to a state in which rows can be written; see `Run.open`.

    `inputs` is the fingerprint of the input, for a run that begins.
    """
    with entering(directory, "run", fresh=fresh) as owned:
        if remote is not None and not fresh:
            remote.pull_manifest(owned)
        manifest = _manifest(owned, identity, inputs, settings, fresh)
        if fresh:
            if remote is not None:
                remote.clear()
            owned.clear(keep=(ORIGIN,))
        elif remote is not None:
            remote.pull_rows(owned)
        write_manifest(owned, manifest)
        for name in (JOURNAL, ROWS):
            owned.folder(name)
        _own_what_may_be_mended(owned, 0 if remote is None else remote.series)
        if remote is not None:
            remote.push_manifest()  # before any work: a URL that cannot be written is said now
    return owned, manifest


def _own_what_may_be_mended(owned: Owned, series: int) -> None:
    """Put on record the names that mending the files that are here needs; raises RunError where one is not cai's."""
    here = [journal_path(owned.path, number) for number in journal_numbers(owned.path)]
    here += [shard_path(owned.path, number) for number in shard_numbers(owned.path)]
    owned.require_ours(here)
    for path in (*here, failures_path(owned.path, series)):
        owned.own_paths(names_of(path))


def _manifest(
    owned: Owned, identity: Mapping[str, str], inputs: str, settings: Mapping[str, Any], fresh: bool
) -> Manifest:
    """Return the manifest to go on with: the recorded one brought up to date, or a new one."""
    writer = this_writer()
    if fresh or not owned.has(MANIFEST):
        return Manifest(
            format=FORMAT,
            status="running",
            started=now(),
            updated=now(),
            identity=dict(identity),
            inputs=inputs,
            settings=dict(settings),
            writers=(writer,),
            rows=0,
            failures=0,
            usage=Usage(),
            lost_usage=Usage(),
        )
    recorded = read_manifest(owned.path)
    require_identity(owned.path, recorded.identity, identity)
    writers = recorded.writers if writer in recorded.writers else (*recorded.writers, writer)
    return replace(recorded, status="running", updated=now(), settings=dict(settings), writers=writers)
