"""run.json: what a run is, who wrote it and how far it came.

`identity` is what all rows of a run share (fingerprints, models, seed): a run is only continued under the same.
`inputs` names the input that it was given last, which may change: `left_out.py` has the rows that are not asked any
more. `settings` are for readers. The figures are those of the last seal or close; the rows themselves are the truth,
and a resumed run counts them anew.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from cai import __version__
from cai.core.errors import DamageError, RunError
from cai.core.mark import kind_of_any
from cai.core.records import Usage
from cai.method.judge_check import JudgeCheck, read_judge_check
from cai.rundir.documents import DocumentError, Fields, make_document, parse_document, read_bounded
from cai.rundir.layout import MANIFEST
from cai.rundir.owned import Owned

FORMAT = 8

Status = Literal["running", "interrupted", "done", "failed"]
_STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Writer:
    """The code that wrote to a run: cai's version, and the checkout it ran from, if any."""

    cai: str
    commit: str | None
    dirty: bool | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of run.json; times are ISO 8601 in UTC.

    `rows` are all that lie in the directory, those that are left out too; `usage` are the tokens spent on them,
    `lost_usage` those spent on prompts that failed. `judge_check` is what the judge was found to be before the first
    row; None: it was not tested.
    """

    format: int
    status: Status
    started: str
    updated: str
    identity: Mapping[str, str]
    inputs: str
    settings: Mapping[str, Any]
    writers: tuple[Writer, ...]
    rows: int
    failures: int
    usage: Usage
    lost_usage: Usage
    judge_check: JudgeCheck | None = None


def now() -> str:
    """Return the present moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_manifest(directory: Path) -> Manifest:
    """Return what run.json says; raises RunError when the directory is no run, DamageError when it cannot be told."""
    path = directory / MANIFEST
    try:
        return _parse(read_bounded(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{directory} is not a run: it has no {MANIFEST}; name a directory that `cai generate` made."
        ) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except DocumentError as error:
        if kind_of_any(directory) is None:
            raise RunError(
                f"{path} {error}, and nothing marks it as cai's; name a directory that `cai generate` made."
            ) from error
        raise DamageError(
            f"{path} {error}; restore it, or move it away and give the command that made this run again: its rows stay."
        ) from error


def parse_manifest(data: bytes, place: str) -> Manifest:
    """Return what a run.json that lies at `place` says; raises DamageError when this version cannot read it."""
    try:
        return _parse(data)
    except DocumentError as error:
        raise DamageError(f"{place} {error}; restore it, or give --out another directory.") from error


def _parse(data: bytes) -> Manifest:
    fields = parse_document(data, FORMAT)
    fields.require([field.name for field in dataclass_fields(Manifest)])
    return Manifest(
        format=fields.count("format"),
        status=fields.one_of("status", _STATUSES),
        started=fields.time("started"),
        updated=fields.time("updated"),
        identity=fields.words("identity"),
        inputs=fields.text("inputs"),
        settings=fields.fields("settings").values,
        writers=tuple(_writer(item) for item in fields.list_of_fields("writers")),
        rows=fields.count("rows"),
        failures=fields.count("failures"),
        usage=_usage(fields.fields("usage")),
        lost_usage=_usage(fields.fields("lost_usage")),
        judge_check=parse_judge_check(fields, "judge_check"),
    )


def _writer(fields: Fields) -> Writer:
    commit, dirty = fields.values.get("commit"), fields.values.get("dirty")
    return Writer(
        fields.text("cai"),
        None if commit is None else fields.text("commit"),
        None if dirty is None else fields.truth("dirty"),
    )


def _usage(fields: Fields) -> Usage:
    return Usage(*(fields.count(field.name) for field in dataclass_fields(Usage)))


def parse_judge_check(fields: Fields, name: str) -> JudgeCheck | None:
    """Return the check of a judge that a document has under a name, or None; raises DocumentError."""
    if fields.values.get(name) is None:
        return None
    try:
        return read_judge_check(fields.fields(name).values)
    except (KeyError, TypeError) as error:
        raise DocumentError(f"has no check of a judge under {name!r} ({error})") from error


def write_manifest(owned: Owned, manifest: Manifest) -> None:
    """Replace run.json; raises StoreError when the disk refuses."""
    owned.write(MANIFEST, make_document(asdict(manifest)))


@cache
def this_writer() -> Writer:
    """Return the version of this code, and the commit of its checkout when it runs from one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return Writer(__version__, None, None)
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    changes = _git(root, "status", "--porcelain")
    return Writer(__version__, commit, None if changes is None else bool(changes))


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None when it cannot say (not installed, no commit yet, not trusted here)."""
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
