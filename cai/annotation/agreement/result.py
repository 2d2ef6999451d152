"""What is told of agreement: as text, as JSON, as a table for whoever draws one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cai.annotation.agreement.coefficients import IntervalEstimate
from cai.core.shares import Interval95, p_text

HEADER = ("kind", "by", "between", "items", "agree", "kappa", "nominal alpha", "ordinal alpha")
LEANING_HEADER = ("who", "prefers", "share", "of", "p")


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """How far votes on the same things agree, by one criterion.

    `between` says whose: `people` are all annotators, `people and judge` what people decided beside the judge, else two
    names. `items` were seen by both (of people: by two at least). `kappa` is of two alone, `ordinal` of values that
    have an order.
    """

    kind: str
    criterion: str
    between: str
    items: int
    percent: IntervalEstimate
    kappa: IntervalEstimate | None
    nominal: IntervalEstimate
    ordinal: IntervalEstimate | None

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table shows it."""
        shown = (self.percent, self.kappa, self.nominal, self.ordinal)
        share = _share(self.percent.value, self.percent.low, self.percent.high)
        return (
            self.kind,
            self.criterion,
            self.between,
            f"{self.items:,}",
            share,
            *("" if one is None else _number(one) for one in shown[1:]),
        )


@dataclass(frozen=True, slots=True)
class Leaning:
    """How often somebody preferred the answer of a sort in comparisons that they decided, `p` that it is chance.

    `prefers`: `what was shown first`, `the longer`, or a model's answer beside another's.
    """

    who: str
    prefers: str
    share: Interval95
    count: int
    p: float

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table shows it."""
        share = _share(self.share.value, self.share.low, self.share.high)
        return self.who, self.prefers, share, f"{self.count:,}", p_text(self.p)


@dataclass(frozen=True, slots=True)
class Agreement:
    """All of it: `annotators` with how many annotations each gave, `open` items that people disagree on, by kind.

    `settled` of the items have an adjudication. `remarks` are sentences on what does not count.
    """

    annotators: Mapping[str, int]
    rows: tuple[AgreementRow, ...]
    leanings: tuple[Leaning, ...]
    open: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settled: int = 0
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return all of it as what JSON can say; an estimate is [value, low, high]."""
        return asdict(self)

    def tables(self) -> tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]], ...]:
        """Return title, header and rows of each table that has rows."""
        found = (
            ("Agreement", HEADER, tuple(row.cells() for row in self.rows)),
            ("Leanings", LEANING_HEADER, tuple(row.cells() for row in self.leanings)),
        )
        return tuple(table for table in found if table[2])

    def sentences(self) -> tuple[str, ...]:
        """Return what is told beside the tables, a sentence each."""
        told = [", ".join(f"{name}: {count:,} annotations" for name, count in self.annotators.items()) or _NOTHING]
        if self.annotators and not self.rows:
            told.append("nobody saw what another one or a judge decided, so there is no agreement to tell")
        told += [
            f"{kind}: people disagree on {len(keys):,} items that nobody settled" for kind, keys in self.open.items()
        ]
        if self.settled:
            told.append(f"items that an adjudication settled: {self.settled:,}")
        return (*told, *self.remarks)

    def as_text(self) -> str:
        """Return all of it as plain text, with the tables in columns."""
        parts = []
        for title, header, rows in self.tables():
            widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
            lines = (_line(cells, widths) for cells in (header, *rows))
            parts.append("\n".join([title, *lines]))
        return "\n\n".join([*parts, "\n".join(self.sentences())]) + "\n"


_NOTHING = "nobody annotated anything yet"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _share(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" [{low:.0%}, {high:.0%}]"
    return f"{value:.0%}{ends}"


def _number(one: IntervalEstimate) -> str:
    if one.value is None:
        return "-"
    ends = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"{one.value:.2f}{ends}"
