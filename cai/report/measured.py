"""What people said, and what the judge was found to be beside the run; where nobody measured it, the report says so."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.annotation.agreement import Agreement, measure_agreement
from cai.annotation.index import open_items
from cai.annotation.places import find_place
from cai.annotation.store import AnnotationStore
from cai.core.addresses import DataSource
from cai.report.bench_blocks import bench_blocks
from cai.report.bench_facts import BenchFacts
from cai.report.document import Block, Cell, Heading, Paragraph, Table
from cai.report.how_well import not_measured
from cai.report.linking import Linker


@dataclass(frozen=True, slots=True)
class Beside:
    """The blocks; whether people labelled some of the rows; whether the judge has a bench."""

    blocks: Sequence[Block]
    validated: bool
    benched: bool


def measured_beside(
    link: Linker, directory: Path, judge: str, bench: BenchFacts | None, calibration: Sequence[Block]
) -> Beside:
    """Return what is known beside a directory's rows: a bench and a calibration of its judge, how far people agree.

    Raises RunError or InputError where annotations cannot be read, UsageError when the bench is another judge's.
    """
    texts, quoted = link.texts, shlex.quote(link.directory)
    blocks: list[Block] = [
        Heading(texts("well.bench")),
        *_bench(link, judge, bench),
        Heading(texts("well.calibrated")),
        *calibration,
        Heading(texts("well.people")),
    ]
    found = _agreement(directory)
    if found is None:
        blocks += not_measured(link, "well.no-people", f"cai review {quoted}", f"cai review {quoted} --agreement")
    else:
        blocks += _people(link, found)
    return Beside(blocks, validated=found is not None, benched=bench is not None)


def _bench(link: Linker, judge: str, bench: BenchFacts | None) -> list[Block]:
    if bench is None:
        made = "cai judge bench DATA --judge MODEL --out BENCH"
        return not_measured(link, "well.no-bench", made, f"{link.command()} --bench BENCH")
    return bench_blocks(link, bench, bench.of(judge, link.directory))


def _agreement(directory: Path) -> Agreement | None:
    """Return how far people agree in what they said of a run or an evaluation; None where nobody said anything."""
    place = find_place(DataSource.parse(str(directory)))
    if not place.folder.is_dir():
        return None
    stored = AnnotationStore(place).read()
    with open_items(place) as index:
        found = measure_agreement(stored, index.find)
    return found if found.annotators else None


def _people(link: Linker, found: Agreement) -> Iterator[Block]:
    texts = link.texts
    people = [[Cell(name), link.recorded(f"{count:,}", "annotations/")] for name, count in found.annotators.items()]
    yield Table(texts("well.annotators"), (texts("well.annotator"), texts("out.number")), people)
    rows = _cells(link, [row.cells() for row in found.rows], words=3)
    if rows:
        names = ("kind", "criterion", "between", "items", "percent", "kappa", "alpha", "ordinal")
        yield Table(texts("well.agreement"), [texts(f"well.agreement-head.{name}") for name in names], rows)
    rows = _cells(link, [one.cells() for one in found.leanings], words=2)
    if rows:
        head = [texts(f"well.leanings-head.{name}") for name in ("who", "prefers", "share", "count", "p")]
        yield Table(texts("well.leanings"), head, rows)
    yield Paragraph(texts("well.corrected"), "note")


def _cells(link: Linker, rows: Sequence[Sequence[str]], words: int) -> list[list[Cell]]:
    """Return rows whose first cells are words and whose others are numbers that annotations give."""
    return [
        [Cell(cell) if place < words else link.recorded(cell, "annotations/") for place, cell in enumerate(row)]
        for row in rows
    ]
