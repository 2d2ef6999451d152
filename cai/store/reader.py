"""Reading a run directory, without a lock and while another process may be writing to it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cai.keyset import KeySet
from cai.records import Failure, Row
from cai.store.failures import read_failures
from cai.store.journal import JournalReader
from cai.store.layout import SERIES, failure_files, journal_numbers, journal_path, shard_numbers, shard_path
from cai.store.manifest import Manifest, read_manifest
from cai.store.merge import merge

if TYPE_CHECKING:
    from cai.store.shards import Shard


def open_shards(directory: Path, numbers: Sequence[int]) -> "list[Shard]":
    """Open the shards of these numbers; raises RunError when one is damaged.

    Arrow is loaded only when there is one: the first request of a new run does not wait for it.
    """
    if not numbers:
        return []
    from cai.store.shards import Shard  # noqa: PLC0415

    return [Shard(shard_path(directory, number)) for number in numbers]


class RunReader:
    """What a run directory holds: sealed shards, and the whole lines of journals that are not sealed yet."""

    def __init__(self, directory: Path) -> None:
        """Look at a run; raises RunError when `directory` is not one."""
        self.directory = directory
        read_manifest(directory)

    @property
    def manifest(self) -> Manifest:
        """What run.json says now."""
        return read_manifest(self.directory)

    def count(self) -> int:
        """Return how many prompts have a row now, from shards' footers and journals; run.json may lag behind."""
        numbers = [*shard_numbers(self.directory), *journal_numbers(self.directory)]
        if len({number // SERIES for number in numbers}) > 1:
            return len(self._finished_keys())  # several copies of a run at a URL may have done the same prompt
        with ExitStack() as stack:
            return sum(map(len, self._sources(stack)))

    def rows(self) -> Iterator[Row]:
        """Yield the finished rows by ordinal, each prompt's once; memory does not grow with their number.

        Rows that are finished after the first was asked for may be left out. Raises RunError when a shard is damaged.
        """
        with ExitStack() as stack:
            yield from merge(self._sources(stack))

    def row(self, prompt_id: str) -> Row | None:
        """Return the row of a prompt, or None when it has none (yet)."""
        with ExitStack() as stack:
            rows = (source.row(prompt_id) for source in self._sources(stack))
            return next((row for row in rows if row is not None), None)

    def _sources(self, stack: ExitStack) -> "list[Shard | JournalReader]":
        # Journals are listed before shards: one that is sealed in between shows up as a shard, never as neither.
        journals = journal_numbers(self.directory)
        shards = set(shard_numbers(self.directory))
        readers: list[Shard | JournalReader] = []
        for number in journals:
            if number in shards:
                continue
            try:
                readers.append(stack.enter_context(JournalReader(journal_path(self.directory, number))))
            except FileNotFoundError:
                shards.add(number)
        return [*open_shards(self.directory, sorted(shards)), *readers]

    def failures(self) -> Iterator[Failure]:
        """Yield the failures that count now, in the order they happened; a row supersedes its prompt's failures."""
        if any(path.stat().st_size for path in failure_files(self.directory)):
            yield from read_failures(self.directory, self._finished_keys())

    def failure_counts(self) -> Counter[tuple[str, str]]:
        """Return how many prompts failed, by stage and cause."""
        return Counter((failure.stage, failure.cause) for failure in self.failures())

    def _finished_keys(self) -> KeySet:
        keys = KeySet()
        with ExitStack() as stack:
            for source in self._sources(stack):
                keys.update(source.finished()[0])
        return keys
