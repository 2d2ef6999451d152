"""Reading a run directory, without a lock and while another process may be writing to it.

Rows that are left out (`left_out.py`) are passed over unless they are asked for. Nothing is read around: where a file
is damaged, or rows are missing, a reader refuses in one sentence that says how they are made again.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from cai.core.errors import DamageError, RunError
from cai.core.identity import fingerprint, key
from cai.core.keyset import KeySet
from cai.core.records import Failure, Prompt, Row
from cai.rundir.failures import read_failures
from cai.rundir.journal import JournalReader
from cai.rundir.layout import failure_files, journal_numbers, journal_path, shard_numbers, shard_path
from cai.rundir.left_out import LeftOut, prompt_key, read_left_out
from cai.rundir.manifest import Manifest, read_manifest
from cai.rundir.origin import is_copy

if TYPE_CHECKING:
    from cai.rundir.shards import Shard

Which = Literal["kept", "left out", "all"]
"""Of the rows that a run has: those that count, those that readers pass over, or both."""

AGAIN = "the command that made this run, given again, sets what is damaged aside and makes the missing rows anew."


def open_shard(directory: Path, number: int, run: str) -> "Shard":
    """Open a shard of a run, whose identity has this fingerprint; raises as `Shard` does.

    Arrow is loaded only when there is one: the first request of a new run does not wait for it.
    """
    from cai.rundir.shards import Shard  # noqa: PLC0415

    return Shard(shard_path(directory, number), run, number)


class RunReader:
    """What a run directory holds: sealed shards, and the whole lines of journals that are not sealed yet."""

    def __init__(self, directory: Path) -> None:
        """Look at a run; raises RunError when `directory` is not one."""
        self.directory = directory
        self._run = fingerprint(dict(read_manifest(directory).identity))

    @property
    def manifest(self) -> Manifest:
        """What run.json says now."""
        return read_manifest(self.directory)

    @property
    def inputs(self) -> str:
        """What names the prompts that the rows answer: the input's fingerprint, and what was left out since."""
        inputs, number = self.manifest.inputs, self.left_out().number
        return fingerprint([inputs, number]) if number else inputs

    @property
    def run(self) -> str:
        """The fingerprint of the run's identity, which what lies in it is counted on from."""
        return self._run

    def left_out(self) -> LeftOut:
        """Return which rows are left out now; raises RunError when nobody knows."""
        return read_left_out(self.directory, self._run)

    def count(self) -> int:
        """Return how many rows `rows` yields now; run.json may lag behind. Raises as `rows` does."""
        left_out = self.left_out()
        return len(self._keys_of((lambda prompt: prompt_key(prompt) not in left_out) if len(left_out) else None))

    def __iter__(self) -> Iterator[Row]:
        """Do as `rows` does."""
        return self.rows()

    def rows(self, which: Which = "kept") -> Iterator[Row]:
        """Yield the finished rows by ordinal, each prompt's newest; memory does not grow with their number.

        In the working copy of a run at a URL it does, by 8 bytes a row: two machines may have made rows of one prompt
        at two places of an input that was changed meanwhile, of which the first counts. Rows that are finished after
        the first was asked for may be missing. Raises RunError when something is damaged or missing, before the first
        row if that can be seen then.
        """
        with self._sources() as sources:
            seen = KeySet() if is_copy(self.directory) and which != "all" else None
            for row in merge(sources, self._wanted(which)):
                if seen is None or seen.add(key(row.prompt.id)):
                    yield row

    def row(self, prompt_id: str, which: Which = "kept") -> Row | None:
        """Return the row of a prompt, or None when it has none (yet); raises as `rows` does."""
        wanted = self._wanted(which)
        with self._sources() as sources:
            rows = (source.row(prompt_id) for source in sources)
            return next((row for row in rows if row is not None and (wanted is None or wanted(row.prompt))), None)

    def _wanted(self, which: Which) -> Callable[[Prompt], bool] | None:
        """Return what tells whether a prompt's row is one of these, or None when all are."""
        left_out = self.left_out()
        if which == "all" or (which == "kept" and not len(left_out)):
            return None
        return lambda prompt: (prompt_key(prompt) in left_out) is (which == "left out")

    @contextmanager
    def _sources(self) -> "Iterator[list[Shard | JournalReader]]":
        """Open everything that holds rows; raises RunError when some of it is damaged or missing."""
        recorded = read_manifest(self.directory).rows  # before looking, because rows may be added meanwhile
        with ExitStack() as stack:
            sources, damaged = self._open_sources(stack)
            missing = 0 if is_copy(self.directory) else recorded - sum(map(len, sources))
            try:
                if damaged or missing > 0:
                    raise DamageError(self._damage(damaged, missing, recorded))
                yield sources
            except DamageError as error:
                raise RunError(f"{error}; {AGAIN}") from error

    def _open_sources(self, stack: ExitStack) -> "tuple[list[Shard | JournalReader], list[str]]":
        """Open all that can be, newest first, and return what is to be said of the rest."""
        # Journals are listed before shards: one that is sealed in between shows up as a shard, never as neither.
        journals = journal_numbers(self.directory)
        shards = set(shard_numbers(self.directory))
        readers: dict[int, Shard | JournalReader] = {}
        damaged: list[str] = []
        for number in journals:
            if number in shards:
                continue
            try:
                reader = stack.enter_context(JournalReader(journal_path(self.directory, number), self._run))
            except FileNotFoundError:
                shards.add(number)
                continue
            except OSError as error:
                raise RunError(f"{error.filename} cannot be read: {error.strerror}; mend that first.") from error
            readers[number] = reader
            if reader.damaged:
                damaged.append(f"{reader.path} has damaged lines: {reader.damaged:,}")
        for number in sorted(shards):
            try:
                readers[number] = open_shard(self.directory, number, self._run)
            except DamageError as error:
                damaged.append(str(error))
        return [readers[number] for number in sorted(readers, reverse=True)], damaged

    def _damage(self, damaged: list[str], missing: int, recorded: int) -> str:
        """Return what is to be said of a run that is not whole."""
        lost = f"{missing:,} of the {recorded:,} rows that run.json counts are missing" if missing > 0 else ""
        if not damaged:
            return f"{self.directory}: {lost}"
        more = f" and {len(damaged) - 1:,} more files" if len(damaged) > 1 else ""
        return f"{damaged[0]}{more}{f', and {lost}' if lost else ''}"

    def failures(self) -> Iterator[Failure]:
        """Yield the failures that count now, in the order they happened; a row supersedes its prompt's failures.

        Raises as `rows` does.
        """
        if any(path.stat().st_size for path in failure_files(self.directory)):
            inputs, finished = self.manifest.inputs, self._finished_keys()
            try:
                yield from read_failures(self.directory, self._run, inputs, finished)
            except DamageError as error:
                raise RunError(f"{error}; {AGAIN}") from error

    def failure_counts(self) -> Counter[tuple[str, str]]:
        """Return how many prompts failed, by stage and cause."""
        return Counter((failure.stage, failure.cause) for failure in self.failures())

    def _finished_keys(self) -> KeySet:
        """Return the keys of the prompts that are asked and have a row."""
        not_asked = self.left_out().not_asked
        return self._keys_of((lambda prompt: prompt_key(prompt) not in not_asked) if len(not_asked) else None)

    def _keys_of(self, is_asked: Callable[[Prompt], bool] | None) -> KeySet:
        keys = KeySet()
        with self._sources() as sources:
            for source in sources:
                keys.update(source.finished(is_asked)[0])
        return keys


class OrderedRows(Protocol):
    """Rows sorted by ordinal."""

    @property
    def first_ordinal(self) -> int | None:
        """The smallest ordinal, or None when there is no row."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows by ordinal."""


def merge(sources: Sequence[OrderedRows], wanted: Callable[[Prompt], bool] | None = None) -> Iterator[Row]:
    """Yield the wanted rows of all sources by ordinal, of a prompt's the first source's that holds one.

    Sources that do not overlap are read one after the other: what is in memory depends on how many overlap, not on how
    many there are.
    """
    waiting = [(first, place) for place, source in enumerate(sources) if (first := source.first_ordinal) is not None]
    heapq.heapify(waiting)
    front: list[tuple[int, str, int, Row, Iterator[Row]]] = []
    passed: list[Prompt] = []  # of one ordinal and id, because a prompt may have been changed in between and back
    while waiting or front:
        while waiting and (not front or waiting[0][0] <= front[0][0]):
            _, place = heapq.heappop(waiting)
            rows = sources[place].rows()
            _push(front, place, rows if wanted is None else _only(rows, wanted))
        if not front:  # nothing of the last ones was wanted
            return
        _, _, place, row, rows = heapq.heappop(front)
        if passed and (passed[0].ordinal, passed[0].id) != (row.prompt.ordinal, row.prompt.id):
            passed = []
        if row.prompt not in passed:
            passed.append(row.prompt)
            yield row
        _push(front, place, rows)


def _only(rows: Iterator[Row], wanted: Callable[[Prompt], bool]) -> Iterator[Row]:
    return (row for row in rows if wanted(row.prompt))


def _push(front: list[tuple[int, str, int, Row, Iterator[Row]]], place: int, rows: Iterator[Row]) -> None:
    """Put the next row of a source among the foremost ones, if it has one; `place` keeps rows from being compared."""
    row = next(rows, None)
    if row is not None:
        heapq.heappush(front, (row.prompt.ordinal, row.prompt.id, place, row, rows))
