"""Taking rows out of a run on purpose, and back: `left_out.py` has what becomes of them.

Which rows is said by their ids, or by conditions `COLUMN=VALUE` that must all hold:

tag=T               the prompt has the tag
prompt=TEXT         a turn of the prompt contains the text
principle=ID        a round revised under the principle, or a verdict was asked for under it
truncated=STAGE     a text of this stage, `response` or `revision`, hit the token limit
abstained=CAUSE     a verdict abstained for this cause
failed=STAGE        a sample or a verdict failed at this stage

Doing so twice is doing it once; killed in between, nothing or all of it has happened.
"""

import getpass
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cai.core.errors import RunError, UsageError
from cai.core.keyset import KeySet
from cai.core.records import Row
from cai.core.redaction import redact
from cai.rundir.claim import alone, join
from cai.rundir.left_out import Change, add_entry, prompt_key
from cai.rundir.manifest import now
from cai.rundir.origin import location
from cai.rundir.reader import RunReader
from cai.rundir.remote import remote_of
from cai.rundir.uploader import persist

COLUMNS: Mapping[str, Callable[[Row, str], bool]] = {
    "tag": lambda row, value: value in row.prompt.tags,
    "prompt": lambda row, value: any(value in turn["content"] for turn in row.prompt.messages),
    "principle": lambda row, value: value in _principles(row),
    "truncated": lambda row, value: value in _truncated(row),
    "abstained": lambda row, value: any(verdict.abstained == value for verdict in row.verdicts),
    "failed": lambda row, value: any(part.stage == value for part in row.failed),
}


@dataclass(frozen=True, slots=True)
class RowChoice:
    """Which rows: those of these ids, or those of which all conditions hold (column, value); neither: every row."""

    ids: Collection[str] | None = None
    conditions: tuple[tuple[str, str], ...] = ()

    def holds(self, row: Row) -> bool:
        """Tell whether a row is chosen."""
        if self.ids is not None and row.prompt.id not in self.ids:
            return False
        return all(COLUMNS[column](row, value) for column, value in self.conditions)


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many of the chosen rows were `changed` now, and how many were `before`; `absent` are ids without a row."""

    changed: int
    before: int
    absent: int


def parse_condition(text: str) -> tuple[str, str]:
    """Return the column and the value of `COLUMN=VALUE`; raises UsageError."""
    column, equals, value = text.partition("=")
    if not equals or not value or column not in COLUMNS:
        raise UsageError(f"{text!r} is no condition; give COLUMN=VALUE, where COLUMN is one of {', '.join(COLUMNS)}")
    if column == "truncated" and value not in ("response", "revision"):
        raise UsageError(f"{text!r} is no condition; what is truncated is a response or a revision")
    return column, value


def drop_rows(directory: Path, choice: RowChoice, why: str, *, undo: bool = False) -> Dropped:
    """Leave the chosen rows of a run out of all that reads it, or with `undo` take them back.

    `why` is recorded beside the time and the user, without known secrets. The run may be written to meanwhile; of a
    working copy the run's URL is told too. Raises UsageError when nothing says which rows to drop, RunError when no row
    is chosen or the run is being exported, StoreError when the disk refuses.
    """
    if choice == RowChoice() and not undo:
        raise UsageError("say which rows to drop, by their ids (--ids) or by what holds of them (--where COLUMN=VALUE)")
    reader, remote = RunReader(directory), remote_of(directory)
    told, found, before = KeySet(), set[str](), 0

    def changes() -> Iterator[Change]:
        nonlocal before
        for row in reader.rows("all"):
            name = prompt_key(row.prompt)
            if choice.holds(row) and (not undo or choice != RowChoice() or name in left_out.dropped) and told.add(name):
                found.update(() if choice.ids is None else (row.prompt.id,))
                if (name in left_out.dropped) is undo:
                    yield Change(row.prompt, out=not undo)
                else:
                    before += 1

    series = 0 if remote is None else remote.series
    said = {"when": now(), "who": _writable(_who()), "why": _writable(why)}
    with alone(directory), closing(join(directory, "run")) as owned:
        left_out = reader.left_out()  # only now, or another drop's entry could have the same number
        counts = add_entry(owned, reader.run, series, left_out.number + 1, "dropped", changes(), said)
    if remote is not None:
        persist(remote, remote.push_left_out)
    if not len(told):
        raise RunError(f"{location(directory)} has no such row, so nothing was {'taken back' if undo else 'dropped'}.")
    return Dropped(counts[not undo], before, 0 if choice.ids is None else len(set(choice.ids) - found))


def _principles(row: Row) -> Iterable[str]:
    return {turn.principle_id for trace in row.traces for turn in trace.rounds} | {
        verdict.principle_id for verdict in row.verdicts
    }


def _truncated(row: Row) -> Iterable[str]:
    responses = {"response" for trace in row.traces if trace.truncated}
    return responses | {"revision" for trace in row.traces for turn in trace.rounds if turn.truncated}


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (OSError, KeyError):  # a user without a name
        return platform.node()


def _writable(text: str) -> str:
    """Return text without known secrets, and with escapes for what is no Unicode (a name in the environment)."""
    return redact(text).encode(errors="backslashreplace").decode()
