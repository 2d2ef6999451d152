"""What the loop remembers of a stage: what it was started with, and, written last, that it is done.

One small file a stage, `OUT/stages/NAME.json`. A stage whose file says done, with the same identity, is not run again;
one that was started with the same identity, or is only asked for more, goes on; anything else starts the stage over.
What a stage that starts over replaces stays in force until it has entered its directory: it may fail before that, as
when a server is down, and then nothing has changed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cai.core.errors import RunError
from cai.core.identity import fingerprint
from cai.core.settings import plain
from cai.data.quality import load_quality
from cai.evaluate.directory import DOCUMENT as EVALUATION
from cai.evaluate.settings import EvaluateSettings
from cai.generate.settings import GenerateSettings
from cai.loop.stages import Stage
from cai.rundir.documents import DocumentError, make_document, parse_document, read_bounded
from cai.rundir.layout import MANIFEST as RUN
from cai.rundir.owned import Owned
from cai.train.folder import IDENTITY as TRAINING
from cai.train.folder import MANIFEST as TRAINED
from cai.train.settings import TrainSettings

_FOLDER = "stages"
_AFTER = "after "
_ROWS = "rows"

_NOT_SHAPING = ("concurrency", "timeout", "device", "out", "prompts_dir", "judge_calibration")
"""Settings that are in no identity: of a run and not of what it makes, or of a file, whose content is there instead."""

FORMAT = 2

_DOCUMENTS = (RUN, EVALUATION, TRAINED, TRAINING)
"""What a stage writes of itself when it enters its directory, or when it ends."""

Status = Literal["started", "done"]
_STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A stage's file; `identity` is all that shaped it, in words a person can compare, and how many rows it made."""

    status: Status
    identity: Mapping[str, str]
    replaces: "Replaced | None" = None

    @property
    def fingerprint(self) -> str:
        """What names all that shaped the stage, and with it what stages after it read."""
        return fingerprint(dict(self.identity))

    @property
    def shape(self) -> dict[str, str]:
        """What shaped the stage, as `identity` returns it: without what it made."""
        return {name: value for name, value in self.identity.items() if name != _ROWS}


@dataclass(frozen=True, slots=True)
class Replaced:
    """What lay in a stage's directory when it was started over: its record, and what names its documents."""

    status: Status
    identity: Mapping[str, str]
    documents: str


def starting(stage: Stage, wanted: Mapping[str, str], before: StageRecord | None, *, fresh: bool) -> StageRecord:
    """Return the record of a stage that starts, over or on what is there."""
    if before is None or not fresh:
        return StageRecord("started", wanted)
    return StageRecord("started", wanted, Replaced(before.status, before.identity, _documents(stage.out)))


def in_force(stage: Stage, record: StageRecord | None) -> StageRecord | None:
    """Return the record of what lies in a stage's directory: the former one until the stage has entered it."""
    if record is None or record.replaces is None or record.replaces.documents != _documents(stage.out):
        return record
    return StageRecord(record.replaces.status, record.replaces.identity)


def _documents(directory: Path) -> str:
    places = {name: directory / name for name in _DOCUMENTS}
    there = {name: place.read_bytes() for name, place in places.items() if place.is_file()}
    return fingerprint({name: hashlib.sha256(content).hexdigest() for name, content in there.items()})


def identity(stage: Stage, content: Mapping[str, str], needed: Mapping[str, StageRecord]) -> dict[str, str]:
    """Return what shapes a stage: its settings, the files it reads, and what shaped the stages before it."""
    made = {form: name for name in stage.needs for form in _forms(stage.out.parent / name)}
    settings = {
        name: str(_named(value, made))
        for name, value in plain(stage.settings).items()
        if value is not None and name not in _NOT_SHAPING
    }
    if isinstance(stage.settings, TrainSettings):
        settings["quality"] = str(load_quality(stage.settings.data.quality))  # of a file, what it says
    before = {f"{_AFTER}{name}": record.fingerprint for name, record in needed.items()}
    return {**settings, **content, **before}


def with_rows(identity: Mapping[str, str], rows: str) -> dict[str, str]:
    """Return a finished stage's identity with how many rows it made: with more of them, stages after it change."""
    return {**identity, _ROWS: rows}


def goes_on(stage: Stage, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Tell whether a stage that changed keeps what it has made: it is asked for more of the same, and nothing else.

    More prompts; for an evaluation also more models.
    """
    keeping: set[str] = set()
    if isinstance(stage.settings, GenerateSettings):
        keeping = {"evaluation-prompts-content"}
        if "limit" not in new:
            keeping |= {"prompts", "prompts-content"}  # the run itself leaves out what is not asked any more
    elif isinstance(stage.settings, EvaluateSettings):
        keeping = {"models", *(name for name in new if name.startswith(_AFTER) and name not in old)}
    else:
        return False
    if "limit" in old and ("limit" not in new or int(new["limit"]) > int(old["limit"])):
        keeping.add("limit")
    return {name for name in (*old, *new) if old.get(name) != new.get(name)} <= keeping


def _forms(place: Path) -> tuple[str, ...]:
    """Return how settings name what a stage made there."""
    model = f"transformers:{place}"
    return (str(place), str(place.absolute()), model, f"{place.name}={model}")


def _named(value: Any, made: Mapping[str, str]) -> Any:
    """Return a setting with what other stages made under their names, so that a loop may be moved."""
    if isinstance(value, list):
        return [_named(one, made) for one in value]
    return made.get(value, value) if isinstance(value, str) else value


def read_record(owned: Owned, name: str) -> StageRecord | None:
    """Return what is remembered of a stage, or None; raises RunError for a file that is no record."""
    return _read(owned.path / _name(name)) if owned.has(_name(name)) else None


def _read(path: Path) -> StageRecord:
    try:
        fields = parse_document(read_bounded(path), FORMAT)
        fields.require(("format", "status", "identity", "replaces"))
        replaces = None
        if fields.values["replaces"] is not None:
            former = fields.fields("replaces")
            former.require(("status", "identity", "documents"))
            known = former.one_of("status", _STATUSES), former.words("identity"), former.text("documents")
            replaces = Replaced(*known)
        return StageRecord(fields.one_of("status", _STATUSES), fields.words("identity"), replaces)
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
