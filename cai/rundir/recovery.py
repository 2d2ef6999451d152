"""Opening a run directory again after any end it may have had: mending what is there, and where writing goes on.

What is damaged is set aside under its name and `.damaged`, never removed; the prompts of its rows are owed again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cai.core.errors import DamageError
from cai.core.keyset import KeySet
from cai.core.records import Prompt, Usage
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
from cai.rundir.left_out import prompt_key
from cai.rundir.reader import open_shard

if TYPE_CHECKING:
    from cai.rundir.shards import Shard


@dataclass(frozen=True, slots=True)
class Recovered:
    """What writing goes on with: the journals that hold rows, oldest first, and a number that is free.

    `repairs` says, in a sentence each, what was damaged and where it is kept.
    """

    unsealed: list[Journal]
    next_number: int
    repairs: list[str]


def recover(directory: Path, run: str, series: int) -> Recovered:
    """Cut off torn tails in a run directory, set aside what is damaged, remove journals that are sealed.

    `run` is the fingerprint of the run's identity; `series` is where this directory's own numbers are from; a shard of
    another series was fetched (`origin.py`). Raises RunError when a shard cannot be read, StoreError when the disk
    refuses.
    """
    repairs: list[str] = []
    sealed: set[int] = set()
    for number in shard_numbers(directory):
        try:
            open_shard(directory, number, run)
            sealed.add(number)
        except DamageError as error:
            repairs.append(f"{error}; it is kept as {_set_aside(shard_path(directory, number)).name}")
    unsealed = []
    journals = journal_numbers(directory)
    for number in journals:
        path = journal_path(directory, number)
        if number in sealed:
            remove(path)
            continue
        _tell(repairs, path, mend_journal(path, run))
        with JournalReader(path, run) as reader:
            rows = len(reader)
        if rows:
            unsealed.append(Journal(directory, number, run, rows))
        else:
            remove(path)
    failures = failures_path(directory, series)
    _tell(repairs, failures, mend_failures(failures, run))
    taken = {*sealed, *damaged_shard_numbers(directory), *journals}
    return Recovered(unsealed, _next_number(taken, series), repairs)


def count_finished(sources: "Iterable[Shard | JournalReader]", not_asked: KeySet) -> tuple[KeySet, Usage, int]:
    """Return which prompts that are asked have a row, the tokens that all rows took, and how many are not asked."""
    finished, others, usage = KeySet(), KeySet(), Usage()

    def is_asked(prompt: Prompt) -> bool:
        name = prompt_key(prompt)
        if name not in not_asked:
            return True
        others.add(name)
        return False

    for source in sources:
        keys, used = source.finished(is_asked if len(not_asked) else None)
        finished.update(keys)
        usage += used
    return finished, usage, len(others)


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
