"""Answers of rows that are not finished: whoever opens a killed run again is given them, and asks for the rest.

They lie in files of lines beside the journal, `journal/answers-1.jsonl`, each with the prompt that it is for. Each
process that opens the run begins a file, and another when that is full. The oldest go when there is more than a file
holds: what they had is asked for again, which loses time and no row. A run that is done needs none. A damaged line is
an answer less.

Answers wait in memory for the second `sync` after them, and those of a row that is finished by then are never written:
of models that answer fast nearly none are. The run's background thread syncs twice a second, so that a process that is
killed loses what was answered in its last second, and no more. Any thread may call the methods, but for `sync` and
`close`, which are never called at the same time.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from cai.core.errors import StoreError
from cai.core.identity import key
from cai.core.paths import open_file
from cai.core.records import Usage
from cai.models.base import Choice, Completion
from cai.models.remembering import Answer, Asked, digest
from cai.rundir.files import refusal, remove
from cai.rundir.layout import JOURNAL
from cai.rundir.lines import LineFile, read_lines, salt
from cai.rundir.owned import Owned

BYTES = 64 * 2**20
"""A file that holds so much is full."""

_NAMED = re.compile(r"answers-(\d+)\.jsonl")
_TEXT, _CHOICE = "text", "choice"
_Waiting: TypeAlias = dict[str, list[tuple[Asked, Answer]]]
"""Answers by their rows."""


class AnswerFile:
    """The answers of one open run: those found when it was opened, and a file for those that come.

    `given_again` counts the answers that were found and given, and their tokens.
    """

    def __init__(self, owned: Owned, run: str, is_finished: Callable[[int], bool], *, ask_again: bool) -> None:
        """Read what rows are still owed have; with `ask_again` nothing, so that everything is asked anew.

        `run` is the fingerprint of the run's identity. Raises StoreError.
        """
        self.given_again = Usage()
        self._owned = owned
        self._salt = salt(f"answers of {run}")
        self._known: dict[bytes, dict[str, Any]] = {}
        self._files = _files(owned.path)
        if ask_again:
            self._remove_all()
        for path in self._files.values():
            self._read(path, is_finished)
        self._file: LineFile | None = None
        self._lock = threading.Lock()
        self._new: _Waiting = {}
        self._older: _Waiting = {}
        """What waits since the last sync, and since the one before."""

    def _read(self, path: Path, is_finished: Callable[[int], bool]) -> None:
        try:
            with open_file(path) as file:
                for line in read_lines(file, self._salt):
                    with suppress(orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                        entry = None if line.data is None else orjson.loads(line.data)
                        if entry is not None and not is_finished(int(entry["row"], 16)):
                            self._known[bytes.fromhex(entry["request"])] = entry
        except OSError as error:
            raise refusal(path, error) from error

    def find(self, asked: Asked) -> Answer | None:
        """Return the answer to a request, where a process before this one had it."""
        entry = None
        if self._known:
            with suppress(orjson.JSONEncodeError):  # half a character, which nobody kept
                entry = self._known.get(digest(asked))
        if entry is None:
            return None
        answer = _answer(entry)
        if answer is not None:
            self.given_again += Usage(1, answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens)
        return answer

    def keep(self, row: str, asked: Asked, answer: Answer) -> None:
        """Have an answer wait to be written."""
        with self._lock:
            self._new.setdefault(row, []).append((asked, answer))

    def forget(self, row: str) -> None:
        """Let go of what waits for a row, which is finished."""
        with self._lock:
            self._new.pop(row, None)
            self._older.pop(row, None)

    def sync(self) -> None:
        """Write what has waited since before the last call; raises StoreError when the disk refuses."""
        with self._lock:
            waiting, self._older, self._new = self._older, self._new, {}
        for row, answers in waiting.items():
            if self._file is None or self._file.size >= BYTES:
                self._file = self._begin()
            self._file.append(*_lines(row, answers))

    def _begin(self) -> LineFile:
        """Return the next file, and remove the oldest while there is more than fits one that is full."""
        if self._file is not None:
            self._file.close()
        while len(self._files) > 1 and sum(path.stat().st_size for path in self._files.values()) > BYTES:
            remove(self._files.pop(min(self._files)))
        number = max(self._files, default=0) + 1
        path = self._owned.path / JOURNAL / f"answers-{number}.jsonl"
        self._owned.own_paths((path,))
        self._files[number] = path
        return LineFile(path, self._salt)

    def _remove_all(self) -> None:
        for path in self._files.values():
            remove(path)
        self._files.clear()

    def close(self, *, done: bool) -> None:
        """Write what waits and close the file; of a run that is done nothing stays. Raises StoreError."""
        if not done:
            with suppress(StoreError):  # what cannot be written is asked again, which loses no row
                self.sync()
                self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None
        if done:
            self._remove_all()


def _files(directory: Path) -> dict[int, Path]:
    """Return the files of answers that are there by their numbers, ascending."""
    folder = directory / JOURNAL
    found = [(_NAMED.fullmatch(path.name), path) for path in folder.glob("answers-*.jsonl")]
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _lines(row: str, answers: list[tuple[Asked, Answer]]) -> Iterator[bytes]:
    """Yield the lines of a row's answers; one with half a character, which the row will be refused for, has none."""
    name = f"{key(row):x}"
    for asked, answer in answers:
        kind = _TEXT if isinstance(answer, Completion) else _CHOICE
        with suppress(orjson.JSONEncodeError):
            yield orjson.dumps({"row": name, "request": digest(asked).hex(), kind: answer})


def _answer(entry: dict[str, Any]) -> Answer | None:
    with suppress(TypeError, KeyError):
        if _TEXT in entry:
            return Completion(**entry[_TEXT])
        return Choice(**entry[_CHOICE] | {"probabilities": tuple(entry[_CHOICE]["probabilities"])})
    return None
