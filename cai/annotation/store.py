"""The files that annotations lie in: one an annotator, a line each, appended whole and made durable at once.

Many processes may append to one file: each holds its lock meanwhile. A process that was killed in the middle of a line
leaves a torn one; it is moved to a file of the same name and `.damaged` before the next line is appended, and counted.
The id of a line is made by who sends it, so that what is sent twice is there once. A line whose checksum does not fit
is told with its file and number and says nothing: nobody guesses what somebody's judgement was.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Literal

import orjson

from cai.annotation.items import ReviewItem, item_from_dict
from cai.annotation.places import AnnotatedPlace
from cai.annotation.records import Annotation, parse_annotation
from cai.core.errors import InputError, UsageError
from cai.core.identity import fingerprint
from cai.core.paths import open_file
from cai.rundir.files import refusal, sync_file, sync_folder
from cai.rundir.layout import DAMAGED, annotation_files
from cai.rundir.lines import LineFile, read_lines, salt

SALT = salt("annotations")
ITEMS = "items"

Appended = Literal["new", "there", "other"]
"""What became of a line: it was added, it was there already, or something else has its name."""


@dataclass(frozen=True, slots=True)
class StoredAnnotations:
    """All that was said, by moment: each id once. What counts of it is for `cai.annotation.reading`.

    `damaged` are sentences on lines that cannot be read; `torn` counts lines that a killed process left unfinished, or
    that one is just writing; `set_aside` those moved to `.damaged` before; `repeated` those that are there twice.
    """

    lines: tuple[Annotation, ...]
    items: tuple[ReviewItem, ...] = ()
    damaged: tuple[str, ...] = ()
    torn: int = 0
    set_aside: int = 0
    repeated: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person must know of lines that do not count, a sentence each."""
        told = list(self.damaged)
        if self.torn:
            told.append(f"lines that were never written to their end, and say nothing: {self.torn:,}")
        if self.set_aside:
            told.append(f"lines that were set aside earlier because they were not whole: {self.set_aside:,}")
        return tuple(told)


@dataclass(slots=True)
class _Known:
    """What a store has seen of a file: up to where, and what each id says."""

    end: int = 0
    ids: dict[str, str] = field(default_factory=dict)


class AnnotationStore:
    """The annotations of one place; may be used by several threads, and by other processes at the same time."""

    def __init__(self, place: AnnotatedPlace) -> None:
        """Look at no file yet."""
        self.place = place
        self._known: dict[Path, _Known] = {}
        self._lock = Lock()

    def append(self, annotation: Annotation, item: ReviewItem) -> bool:
        """Add what was said of an item, durably, and tell whether it is new.

        Raises UsageError when it does not fit the item, or when its id is another annotation's; StoreError when the
        disk refuses, and then nothing of it is there.
        """
        require_fit(annotation, item)
        line = annotation.id, annotation.as_json()
        (state,) = self._append(self.place.file_of(annotation.annotator), [line])
        if state == "other":
            raise UsageError(f"there is another annotation with the id {annotation.id!r}; give each its own")
        return state == "new"

    def append_feedback(self, said: Sequence[tuple[Annotation, ReviewItem]]) -> list[Appended]:
        """Add what users said, into the one file of all of them, who are too many for a file each.

        Return what became of each: `other` is one whose id says something else already. Raises as `append` does.
        """
        for annotation, item in said:
            require_fit(annotation, item)
        lines = [(annotation.id, annotation.as_json()) for annotation, _ in said]
        return self._append(self.place.feedback_file, lines)

    def add_items(self, items: Iterable[ReviewItem]) -> None:
        """Keep items that lie in no row (feedback's, a talk's), each once, durably; raises StoreError."""
        self._append(self.place.items_file, [(item.key, orjson.dumps(item)) for item in items])

    def _append(self, path: Path, lines: Sequence[tuple[str, bytes]]) -> list[Appended]:
        """Append those lines whose names are not there, and make them durable together."""
        if not lines:
            return []
        with self._lock:
            self.place.make_folder()
            file = LineFile(path, SALT)
            try:
                file.lock()
                known = self._catch_up(path)
                if file.size > known.end:
                    _set_aside(path, known.end)
                    file.lock()  # takes note of the size
                states = [self._append_one(file, known, name, value) for name, value in lines]
                file.sync()
                return states
            finally:
                file.close()

    def _append_one(self, file: LineFile, known: "_Known", name: str, value: bytes) -> Appended:
        said = fingerprint(orjson.loads(value))
        if name in known.ids:
            return "there" if known.ids[name] == said else "other"
        file.append(value)
        known.ids[name], known.end = said, file.size
        return "new"

    def _catch_up(self, path: Path) -> _Known:
        """Read what was appended since a file was read last; its lock is held."""
        known = self._known.setdefault(path, _Known())
        try:
            with open_file(path) as file:
                if os.fstat(file.fileno()).st_size < known.end:  # somebody put another file in its place
                    known = self._known[path] = _Known()
                file.seek(known.end)
                start = known.end
                for line in read_lines(file, SALT):
                    known.end = start + line.end
                    if line.data is not None:
                        value = orjson.loads(line.data)
                        known.ids.setdefault(str(value.get("id") or value.get("key")), fingerprint(value))
        except OSError as error:
            raise refusal(path, error) from error
        return known

    def read(self) -> StoredAnnotations:
        """Return all that was said; raises InputError when a file cannot be read at all."""
        reader = _Reader()
        for path in annotation_files(self.place.folder):
            try:
                reader.read(path)
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        return reader.finish(_count_set_aside(self.place.folder))


def require_fit(annotation: Annotation, item: ReviewItem) -> None:
    """Raise UsageError, with the id of the annotation, unless it is about this item and can be."""
    kind, answers = annotation.described, len(item.answers)
    order = annotation.shown.order
    wrong = None
    if annotation.item != item.key:
        wrong = f"it is about {annotation.item}, not about {item.key}"
    elif kind.item != item.kind:
        wrong = f"a {kind.name} is about a {kind.item}, and the item is a {item.kind}"
    elif order and sorted(order) != list(range(answers)):
        wrong = f"the order shown is {list(order)}, and the item has {answers} answers"
    elif annotation.answer is not None:
        wrong = kind.misfit(annotation.answer, answers)
    if wrong is not None:
        raise UsageError(f"annotation {annotation.id}: {wrong}")


class _Reader:
    """Reads files of annotations one after the other."""

    def __init__(self) -> None:
        self._found: list[tuple[str, int, Annotation]] = []
        self._ids: dict[str, str] = {}
        self._items: dict[str, ReviewItem] = {}
        self._damaged: list[str] = []
        self._counts: Counter[str] = Counter()

    def read(self, path: Path) -> None:
        """Take in a file; raises OSError."""
        end, latest = 0, ""
        are_items = path.name.partition(".")[0] == ITEMS
        with open_file(path) as file:
            for number, line in enumerate(read_lines(file, SALT), start=1):
                end = line.end
                place = f"{path}:{number}"
                if line.data is None:
                    self._damaged.append(f"{place} is damaged: its checksum does not fit, so it says nothing")
                elif are_items:
                    self._take_item(line.data, place)
                elif (annotation := self._take_annotation(line.data, place)) is not None:
                    # A clock may go back; the lines of one file are in the order in which they were said.
                    latest = max(latest, annotation.when.isoformat(timespec="microseconds"))
                    self._found.append((latest, number, annotation))
            self._counts["torn"] += os.fstat(file.fileno()).st_size > end

    def _take_item(self, data: bytes, place: str) -> None:
        try:
            item = item_from_dict(orjson.loads(data))
            self._items.setdefault(item.key, item)
        except (KeyError, TypeError, AttributeError):
            self._damaged.append(f"{place} is no item, so it says nothing")

    def _take_annotation(self, data: bytes, place: str) -> Annotation | None:
        try:
            annotation = parse_annotation(data, place)
        except InputError as error:
            self._damaged.append(str(error).removesuffix("."))
            return None
        said = fingerprint(orjson.loads(data))
        if annotation.id not in self._ids:
            self._ids[annotation.id] = said
            return annotation
        self._counts["repeated"] += 1
        if self._ids[annotation.id] != said:
            self._damaged.append(f"{place} has the id {annotation.id} of an earlier line that says something else")
        return None

    def finish(self, set_aside: int) -> StoredAnnotations:
        """Return what was found, by moment."""
        lines = tuple(annotation for *_, annotation in sorted(self._found, key=lambda found: found[:2]))
        return StoredAnnotations(
            lines,
            tuple(self._items.values()),
            tuple(self._damaged),
            self._counts["torn"],
            set_aside,
            self._counts["repeated"],
        )


def _set_aside(path: Path, end: int) -> None:
    """Move what follows the whole lines of a file into its `.damaged`, durably; the lock of the file is held."""
    kept = path.with_name(path.name + DAMAGED)
    try:
        with open_file(path) as file:
            file.seek(end)
            tail = file.read()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(kept, flags, 0o644), "ab") as target:
            target.write(tail + b"\n")
        sync_file(kept)
        sync_folder(kept.parent)
        os.truncate(path, end)
        sync_file(path)
    except OSError as error:
        raise refusal(path, error) from error


def _count_set_aside(folder: Path) -> int:
    return sum(_count_lines(path) for path in folder.glob(f"*.jsonl{DAMAGED}"))


def _count_lines(path: Path) -> int:
    with open_file(path) as file:
        return sum(1 for _ in _lines(file.read()))


def _lines(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if line)
