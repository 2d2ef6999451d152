"""The chains of a place, in the order of its data: of a run, an evaluation, or data that `cai.data.examples` reads.

A run may still be generating: what it gets is read behind what it had.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cai.annotation.places import AnnotatedPlace
from cai.annotation.sources.evaluations import COMPARISONS, RESPONSES, entries_of
from cai.core.errors import RunError
from cai.core.identity import key
from cai.core.keyset import KeySet
from cai.data.examples.opening import open_examples
from cai.data.examples.tables import Example
from cai.data.quality import read_ledger
from cai.evaluate.records import Answer, Decision, read_answer, read_decision
from cai.review.chains import Chain, chain_of_answers, chain_of_example, chain_of_failure, chain_of_row
from cai.rundir import Run
from cai.rundir.layout import LEDGER, journal_numbers, journal_path, shard_numbers, shard_path

ABOUT = ("tags", "chosen_model", "rejected_model", "completion_model")


def read_chains(place: AnnotatedPlace, shape: str | None = None) -> Iterator[Chain]:
    """Yield the chains of an evaluation or data; raises RunError or InputError when it cannot be read."""
    return _of_evaluation(place.path) if place.kind == "evaluation" else _of_data(place, shape)


class RunChains:
    """The chains of a run, each once, whenever its row came."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._given = KeySet()
        self._sizes: dict[Path, int] = {}

    def has_grown(self) -> bool:
        """Tell whether the run's files are others than when they were read last."""
        return self._looked() != self._sizes

    def new(self) -> Iterator[Chain]:
        """Yield the chains that were not given before; raises RunError when the run cannot be read."""
        self._sizes = self._looked()
        found = _found_by_filters(self._directory)
        for row in Run.read(self._directory).rows():
            if self._given.add(key(row.prompt.id)):
                yield chain_of_row(row, found.get(row.prompt.id, frozenset()))

    def _looked(self) -> dict[Path, int]:
        files = [journal_path(self._directory, number) for number in journal_numbers(self._directory)]
        files += [shard_path(self._directory, number) for number in shard_numbers(self._directory)]
        found = {}
        for path in files:
            with suppress(FileNotFoundError):  # sealed, this moment
                found[path] = path.stat().st_size
        return found


def _found_by_filters(directory: Path) -> dict[str, set[str]]:
    """Return which quality filters the last export wrote down of which prompt, if there was one."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    if (directory / LEDGER).exists():
        for entry in read_ledger(directory / LEDGER):
            found[entry.id].add(entry.filter)
    return found


def _of_evaluation(directory: Path) -> Iterator[Chain]:
    answers: defaultdict[str, dict[str, Answer]] = defaultdict(dict)
    decisions: defaultdict[str, dict[tuple[str, str], Decision]] = defaultdict(dict)
    try:
        for path in sorted((directory / RESPONSES).glob("*.jsonl")):
            for name, entry in entries_of(path).items():
                answers[name][path.stem] = read_answer(entry)
        for path in sorted((directory / COMPARISONS).glob("*.jsonl")):
            first, _, second = path.stem.partition("~")
            for name, entry in entries_of(path).items():
                decisions[name][first, second] = read_decision(entry)
    except (KeyError, TypeError) as error:
        raise RunError(f"{directory} was written by another version of cai; use that one to read it.") from error
    for name, found in sorted(answers.items(), key=lambda item: next(iter(item[1].values())).ordinal):
        yield chain_of_answers(found, decisions[name])


def _of_data(place: AnnotatedPlace, shape: str | None) -> Iterator[Chain]:
    for example in open_examples(place.source, shape=shape).examples(ABOUT):
        if isinstance(example, Example):
            yield chain_of_example(example.place, example.values, example.about)
        else:
            yield chain_of_failure(example.place, example.cause, example.raw)
