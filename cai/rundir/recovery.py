"""Opening a run directory again after any end it may have had: what is finished, and where writing goes on.

What is damaged is set aside under its name and `.damaged`, never removed; the prompts of its rows are owed again.
"""

from dataclasses import dataclass
from pathlib import Path

from cai.core.errors import DamageError
from cai.core.keyset import KeySet
from cai.core.records import Usage
from cai.rundir.failures import mend_failures
from cai.rundir.files import refusal, remove, sync_folder
from cai.rundir.journal import Journal, JournalReader, mend_journal
from cai.rundir.layout import (
    DAMAGED,
    SERIES,
    damaged_shard_numbers,
    failures_path,
    journal_numbers,
    journal_path,
    shard_numbers,
    shard_path,
)
from cai.rundir.reader import open_shard


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a run directory holds; `unsealed` are its journals with rows, oldest first, `next_number` is free.

    `repairs` says, in a sentence each, what was damaged and where it is kept.
    """

    finished: KeySet
    usage: Usage
    unsealed: list[Journal]
    next_number: int
    repairs: list[str]


def recover(directory: Path, run: str, series: int) -> Recovered:
    """Take stock of a run directory: cut off torn tails, set aside what is damaged, remove journals that are sealed.

    `run` is the fingerprint of the run's identity; `series` is where this directory's own numbers are from; a shard of
    another series was fetched (`origin.py`). Raises RunError when a shard cannot be read, StoreError when the disk
    refuses.
    """
    finished, usage = KeySet(), Usage()
    repairs: list[str] = []
    sealed: set[int] = set()
    for number in shard_numbers(directory):
        try:
            keys, used = open_shard(directory, number, run).finished()
        except DamageError as error:
            repairs.append(f"{error}; it is kept as {_set_aside(shard_path(directory, number)).name}")
            continue
        sealed.add(number)
        finished.update(keys)
        usage += used
    unsealed = []
    journals = journal_numbers(directory)
    for number in journals:
        path = journal_path(directory, number)
        if number in sealed:
            remove(path)
            continue
        _tell(repairs, path, mend_journal(path, run))
        with JournalReader(path, run) as reader:
            if not len(reader):
                remove(path)
                continue
            keys, used = reader.finished()
            finished.update(keys)
            usage += used
            unsealed.append(Journal(directory, number, run, len(reader)))
    failures = failures_path(directory, series)
    _tell(repairs, failures, mend_failures(failures, run))
    taken = {*sealed, *damaged_shard_numbers(directory), *journals}
    return Recovered(finished, usage, unsealed, _next_number(taken, series), repairs)


def _next_number(taken: set[int], series: int) -> int:
    number = max((number for number in taken if number // SERIES == series), default=series * SERIES) + 1
    while number in taken:  # a series that is used up goes on in the next one's numbers
        number += 1
    return number


def _set_aside(path: Path) -> Path:
    """Rename a damaged file and return its new path; raises StoreError."""
    aside = path.with_name(path.name + DAMAGED)
    try:
        path.replace(aside)
        sync_folder(path.parent)
    except OSError as error:
        raise refusal(aside, error) from error
    return aside


def _tell(repairs: list[str], path: Path, lines: int) -> None:
    if lines:
        repairs.append(f"{path} had damaged lines: {lines:,}; they are kept in {path.name}{DAMAGED}")
