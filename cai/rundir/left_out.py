"""left-out.jsonl: the rows that readers pass over, for which reason, and who said so; they come back, and stay on disk.

A row is left out while it is *dropped* (`cai drop`, until `--undo`), or while its prompt is *not asked* any more: the
input has no prompt of its id, or another one under it. So rows are named by all that was asked, the prompt's id,
messages and tags (`prompt_key`): a prompt that was changed is owed, and the row of its old words comes back with them.

Lines are only ever added, each whole (`lines.py`); for one row the last counts. In a working copy every copy of the
run has a file of its own, as with failures, and a number that is one above all that it has seen orders their entries.
An entry of many rows takes several lines, all but the last with `more`; it counts whole or not at all. Nobody guesses
what a damaged line said: it is refused, because rows that somebody dropped must not come back unnoticed.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from cai.core.errors import RunError
from cai.core.identity import fingerprint
from cai.core.keyset import KeySet
from cai.core.paths import open_file
from cai.core.records import Prompt
from cai.rundir.layout import left_out_files, left_out_path, names_of
from cai.rundir.lines import LineFile, mend, read_lines, salt
from cai.rundir.owned import Owned

Reason = Literal["dropped", "not asked"]

ROWS_PER_LINE = 4096


def prompt_name(prompt: Prompt) -> str:
    """Return the 16 hexadecimal digits that name all that was asked; where in the input it stood does not matter."""
    return fingerprint([prompt.id, prompt.messages, prompt.tags, prompt.rubric, prompt.references])


def prompt_key(prompt: Prompt) -> int:
    """Return `prompt_name` as a key for a KeySet."""
    return int(prompt_name(prompt), 16)


class Change(NamedTuple):
    """A row that is left out from now on, or comes back."""

    prompt: Prompt
    out: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Which rows are left out now, by `prompt_key`; `number` is that of the newest entry (0: there is none).

    Rows that are `dropped` may be `not_asked` too, as `both` of them are. `inputs` is the fingerprint of the input that
    says what is asked, or None when none of the entries is about that.
    """

    dropped: KeySet
    not_asked: KeySet
    both: int
    number: int
    inputs: str | None

    def __contains__(self, name: int) -> bool:
        return name in self.dropped or name in self.not_asked

    def __len__(self) -> int:
        return len(self.dropped) + len(self.not_asked) - self.both

    def counts(self) -> Counter[str]:
        """Return how many rows are left out for which reason; one that was dropped and is not asked is the latter."""
        counts = {"dropped": len(self.dropped) - self.both, "not in the input any more": len(self.not_asked)}
        return Counter({reason: count for reason, count in counts.items() if count})


class _Entry(NamedTuple):
    number: int
    file: str
    """With the line it orders entries of one number, which several processes may give at the same time."""
    line: int
    reason: Reason
    out: "array[int]"
    back: "array[int]"
    inputs: str | None


def read_left_out(directory: Path, run: str) -> LeftOut:
    """Return what is left out of a run, whose identity has this fingerprint; raises RunError for a damaged file."""
    entries = [entry for path in left_out_files(directory) for entry in _read(path, run)]
    entries.sort(key=lambda entry: entry[:3], reverse=True)
    found: dict[Reason, KeySet] = {"dropped": KeySet(), "not asked": KeySet()}
    settled: dict[Reason, KeySet] = {"dropped": KeySet(), "not asked": KeySet()}
    for entry in entries:
        for keys, is_out in ((entry.out, True), (entry.back, False)):
            for name in keys:
                if settled[entry.reason].add(name) and is_out:
                    found[entry.reason].add(name)
    dropped, not_asked, counted = found["dropped"], found["not asked"], KeySet()
    both = sum(name in dropped and name in not_asked and counted.add(name) for entry in entries for name in entry.out)
    inputs = next((entry.inputs for entry in entries if entry.inputs is not None), None)
    return LeftOut(dropped, not_asked, both, max((entry.number for entry in entries), default=0), inputs)


def _read(path: Path, run: str) -> Iterator[_Entry]:
    """Yield the entries of one file; of one that is not complete, whose process was killed, only the number counts."""
    waiting: _Entry | None = None
    try:
        with open_file(path) as file:
            for place, line in enumerate(read_lines(file, salt(_purpose(run)))):
                value = orjson.loads(line.data or b"")
                if waiting is None or waiting.number != value["number"]:
                    if waiting is not None:
                        yield _broken_off(waiting)
                    inputs = value["inputs"] if value["reason"] == "not asked" else None
                    waiting = _Entry(value["number"], path.name, place, value["reason"], array("Q"), array("Q"), inputs)
                waiting.out.extend(int(name, 16) for _, name in value["out"])
                waiting.back.extend(int(name, 16) for _, name in value["back"])
                if not value["more"]:
                    yield waiting
                    waiting = None
        if waiting is not None:
            yield _broken_off(waiting)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} has damaged lines, so nobody knows which rows were dropped; restore it, or remove it and drop "
            "them again with `cai drop`."
        ) from error


def _broken_off(entry: _Entry) -> _Entry:
    return entry._replace(out=array("Q"), back=array("Q"), inputs=None)


def add_entry(
    owned: Owned,
    run: str,
    series: int,
    number: int,
    reason: Reason,
    changes: Iterable[Change],
    said: Mapping[str, str],
    *,
    always: bool = False,
) -> Counter[bool]:
    """Put changes on record as entry `number`, durably; return how many rows were left out (True) and came back.

    No changes make no entry, unless `always`. `said` are further fields: the fingerprint of the `inputs`, or for people
    when, who and why. Raises StoreError.
    """
    changing, counts = iter(changes), Counter[bool]()
    following = list(islice(changing, ROWS_PER_LINE))
    if not following and not always:
        return counts
    path, *_ = owned.own_paths(names_of(left_out_path(owned.path, series)))
    with _appending(path, salt(_purpose(run))) as file:
        while True:
            batch, following = following, list(islice(changing, ROWS_PER_LINE))
            counts.update(change.out for change in batch)
            rows = {
                name: [(prompt.id, prompt_name(prompt)) for prompt, out in batch if out is is_out]
                for name, is_out in (("out", True), ("back", False))
            }
            file.append(orjson.dumps({"number": number, "reason": reason, **said, **rows, "more": bool(following)}))
            if not following:
                break
        file.sync()
    return counts


@contextmanager
def _appending(path: Path, start: int) -> Iterator[LineFile]:
    """Open a file of lines, one process at a time; a torn tail is cut off, and the rest was read and is whole."""
    file = LineFile(path, start)
    try:
        file.lock()
        mend(path, start, lambda _: True)
        yield file
    finally:
        file.close()


def _purpose(run: str) -> str:
    return f"what is left out of {run}"
