"""Which way annotators lean in comparisons: to what was shown first, to the longer answer, to a model.

Each is a share of the comparisons that somebody decided, with its interval and the sign test's p-value; one half is no
leaning. A longer answer, or a model's, may also be the better one: that a person prefers it more than others do tells
more than the share alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from unicodedata import normalize

from cai.annotation.agreement.result import Leaning
from cai.annotation.items import ReviewItem
from cai.annotation.kinds import ComparisonAnswer
from cai.annotation.reading import CountingAnnotations
from cai.annotation.records import Annotation
from cai.core.errors import InputError
from cai.core.shares import sign_test, wilson
from cai.data.columns import listed
from cai.data.finding import printable
from cai.data.formats import open_file
from cai.data.rows import BrokenRow, is_something

NAME = "name"
FIRST, LONGER = "what was shown first", "the longer"
EVERYBODY = "everybody"
_SIDES = {"a": 0, "b": 1}


def leanings(
    said: CountingAnnotations, items: Mapping[str, ReviewItem], groups: Mapping[str, Mapping[str, str]]
) -> Iterator[Leaning]:
    """Yield the leanings of everybody, of each annotator where there are several, and of each group."""
    counts: defaultdict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for annotation in said.counting:
        answer = annotation.answer
        if isinstance(answer, ComparisonAnswer) and answer.overall in _SIDES and annotation.item in items:
            won = _SIDES[answer.overall]
            for who in _called(annotation.annotator, said, groups):
                counts[who].update(_preferred(annotation, items[annotation.item], won))
    for who, found in counts.items():
        for sort in sorted({sort for sort, _ in found}):
            for_it, against = found[sort, True], found[sort, False]
            yield Leaning(who, sort, wilson(for_it, for_it + against), for_it + against, sign_test(for_it, against))


def read_groups(path: Path) -> dict[str, dict[str, str]]:
    """Return, by annotator, the columns of a table (CSV, JSON lines, Parquet …) that has their names in `name`.

    Raises InputError when it cannot be read, or has no names.
    """
    source = open_file(path, printable(path.name))
    if NAME not in source.columns:
        raise InputError(f"{path} has no column `{NAME}` that names the annotators; it has {listed(source.columns)}.")
    groups: dict[str, dict[str, str]] = {}
    for row in source.rows(list(source.columns)):
        if isinstance(row, BrokenRow):
            raise InputError(f"{row.place} cannot be read: {row.cause}.")
        told = {column: str(value) for column, value in row.values.items() if is_something(value)}
        if NAME in told:
            groups[normalize("NFC", told.pop(NAME).strip())] = told
    return groups


def _called(name: str, said: CountingAnnotations, groups: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield under which names a person's comparisons count."""
    yield EVERYBODY
    if len(said.annotators) > 1:
        yield name
    yield from (f"{column}={value}" for column, value in groups.get(name, {}).items())


def _preferred(annotation: Annotation, item: ReviewItem, won: int) -> Iterator[tuple[str, bool]]:
    """Yield the sorts of answers that could be told apart, and whether the one that won is of that sort."""
    if annotation.shown.order:
        yield FIRST, annotation.shown.order[0] == won
    lengths = [len(answer.text) for answer in item.answers]
    if lengths[0] != lengths[1]:
        yield LONGER, lengths[won] > lengths[1 - won]
    models = [answer.model for answer in item.answers]
    if models[0] and models[1] and models[0] != models[1]:
        yield f"{models[won]}'s", True
        yield f"{models[1 - won]}'s", False
