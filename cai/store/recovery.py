"""Opening a run directory again after any end it may have had: what is finished, and where writing goes on."""

from dataclasses import dataclass
from pathlib import Path

from cai.keyset import KeySet
from cai.records import Usage
from cai.store.files import remove
from cai.store.journal import Journal, JournalReader
from cai.store.layout import SERIES, journal_numbers, journal_path, shard_numbers
from cai.store.lines import cut
from cai.store.reader import open_shards
from cai.store.usage import NO_USAGE, add_usage


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a run directory holds; `unsealed` are its journals with rows, oldest first, `next_number` is free."""

    finished: KeySet
    usage: Usage
    unsealed: list[Journal]
    next_number: int


def recover(directory: Path, series: int) -> Recovered:
    """Take stock of a run directory: cut off torn tails, remove journals that are sealed or empty.

    `series` is where this directory's own numbers are from; a shard of another series was fetched (`origin.py`).
    Raises RunError when a shard is damaged, StoreError when the disk refuses.
    """
    finished, usage = KeySet(), NO_USAGE
    shards, journals = shard_numbers(directory), journal_numbers(directory)
    for shard in open_shards(directory, shards):
        keys, used = shard.finished()
        finished.update(keys)
        usage = add_usage(usage, used)
    unsealed = []
    for number in journals:
        path = journal_path(directory, number)
        with JournalReader(path) as reader:
            if number in shards or not len(reader):
                remove(path)
                continue
            keys, used = reader.finished()
            finished.update(keys)
            usage = add_usage(usage, used)
            cut(path, reader.size)
            unsealed.append(Journal(directory, number, len(reader)))
    taken = {*shards, *journals}
    next_number = max((number for number in taken if number // SERIES == series), default=series * SERIES) + 1
    while next_number in taken:  # a series that is used up goes on in the next one's numbers
        next_number += 1
    return Recovered(finished, usage, unsealed, next_number)
