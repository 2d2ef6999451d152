"""What the loop remembers of a stage: what it was started with, and, written last, that it is done.

One small file a stage, `OUT/stages/NAME.json`. A stage whose file says done, with the same identity, is not run again;
one that was started with the same identity goes on; anything else starts the stage over.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from cai.core.errors import RunError
from cai.core.identity import fingerprint
from cai.core.settings import plain
from cai.data.quality import load_quality
from cai.loop.stages import Stage
from cai.rundir.documents import DocumentError, make_document, parse_document, read_bounded
from cai.rundir.owned import Owned
from cai.train.settings import TrainSettings

_FOLDER = "stages"
_AFTER = "after "

FORMAT = 1

Status = Literal["started", "done"]
_STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A stage's file; `identity` is all that shaped it, in words a person can compare."""

    status: Status
    identity: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """What names all that shaped the stage."""
        return fingerprint(dict(self.identity))


def identity(stage: Stage, content: Mapping[str, str], needed: Mapping[str, StageRecord]) -> dict[str, str]:
    """Return what shapes a stage: its settings, the files it reads, and what shaped the stages before it."""
    settings = {name: str(value) for name, value in plain(stage.settings).items() if value is not None}
    if isinstance(stage.settings, TrainSettings):
        settings["quality"] = str(load_quality(stage.settings.data.quality))  # of a file, what it says
    before = {f"{_AFTER}{name}": record.fingerprint for name, record in needed.items()}
    return {**settings, **content, **before}


def read_record(owned: Owned, name: str) -> StageRecord | None:
    """Return what is remembered of a stage, or None; raises RunError for a file that is no record."""
    return _read(owned.path / _name(name)) if owned.has(_name(name)) else None


def _read(path: Path) -> StageRecord:
    try:
        fields = parse_document(read_bounded(path), FORMAT)
        fields.require(("format", "status", "identity"))
        return StageRecord(fields.one_of("status", _STATUSES), fields.words("identity"))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except DocumentError as error:
        raise RunError(f"{path} {error}; remove it to run the stage anew.") from error


def write_record(owned: Owned, name: str, record: StageRecord) -> None:
    """Replace a stage's file; raises StoreError when the disk refuses, RunError when somebody else's lies there."""
    owned.folder(_FOLDER)
    owned.write(_name(name), make_document({"format": FORMAT, **asdict(record)}))


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return what differs between two identities, one phrase an entry."""
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name.replace('_', '-')}: {old.get(name, 'none')} → {new.get(name, 'none')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def look(directory: Path) -> tuple[tuple[str, Status, str], ...]:
    """Return what a loop's directory holds, for a person: each stage's name, how far it is, and what to look at.

    In the order in which stages build on each other. Raises RunError for a stage's file that is no record.
    """
    return tuple((name, record.status, _what_to_look_at(directory / name)) for name, record in read_stages(directory))


def read_stages(directory: Path) -> list[tuple[str, StageRecord]]:
    """Return the records of a loop's stages by name, in the order in which stages build on each other.

    Raises RunError for a stage's file that is no record.
    """
    records = {path.stem: _read(path) for path in sorted((directory / _FOLDER).glob("*.json"))}

    def depth(name: str) -> int:
        before = [other for other in records if f"{_AFTER}{other}" in records[name].identity]
        return 1 + max(map(depth, before), default=0)

    return [(name, records[name]) for name in sorted(records, key=depth)]


def _what_to_look_at(stage: Path) -> str:
    for name, told in (
        ("rows", f"cai show {stage}"),
        ("evaluation.json", str(stage / "evaluation.png")),
        ("README.md", str(stage / "README.md")),
    ):
        if (stage / name).exists():
            return told
    return str(stage)


def _name(stage: str) -> str:
    return f"{_FOLDER}/{stage}.json"
