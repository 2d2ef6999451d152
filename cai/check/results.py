"""What a check found: the table of measures, what filters found, and both as JSON and Markdown."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai.core.counts import counted
from cai.core.errors import UsageError
from cai.core.markdown import escaped, table
from cai.data.validation.descriptor import Measured

if TYPE_CHECKING:
    from cai.data.quality import LedgerEntry  # needs Arrow, which nobody waits for who only imports this

SHOWN = 20
"""FilterFindings of a filter that are kept in memory and shown; the ledger has all."""


class FilterFindings:
    """Counts what filters find, and keeps the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.first: defaultdict[str, list[LedgerEntry]] = defaultdict(list)

    def record(self, entry: "LedgerEntry") -> None:
        """Take in a finding."""
        self.counts[entry.filter, entry.outcome] += 1
        if len(self.first[entry.filter]) < SHOWN:
            self.first[entry.filter].append(entry)


@dataclass(frozen=True, slots=True)
class FilterCount:
    """How many items a filter would leave out, would clean, and only reports."""

    filter: str
    reason: str
    left_out: int
    cleaned: int
    reported: int


@dataclass(frozen=True, slots=True)
class DataCheck:
    """A dataset, checked: `rows` of it gave `examples` of a `kind`.

    `measured` is the table. Measures of words looked at `sampled` examples. `sets` are what prompts were compared with.
    `filters` says what the filters of `quality` find, `out` where the ledger is that lists all of it, None where none
    was asked for.
    """

    data: str
    kind: str
    rows: int
    examples: int
    sampled: int
    sets: tuple[str, ...]
    quality: str
    measured: tuple[Measured, ...]
    filters: tuple[FilterCount, ...]
    remarks: tuple[str, ...] = ()
    out: Path | None = None
    first: Mapping[str, Sequence["LedgerEntry"]] = field(default_factory=dict, repr=False)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is unusual, a sentence each."""
        return tuple(one.found.sentence for one in self.measured if one.found.sentence is not None)

    def measurement(self, name: str) -> Measured:
        """Return what a measure found; raises UsageError for one that there is not, or that does not apply."""
        for one in self.measured:
            if one.measure.name == name:
                return one
        raise UsageError(f"there is no measure {name!r} of {self.data}; there are {self._names}")

    def findings(self, name: str) -> "tuple[LedgerEntry, ...]":
        """Return the first findings of a filter, at most SHOWN; raises UsageError for a filter that there is not."""
        if name not in self.first:
            require_filter(name)
        return tuple(self.first.get(name, ()))

    @property
    def _names(self) -> str:
        return ", ".join(one.measure.name for one in self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the findings themselves, for other programs."""
        return {
            "data": self.data,
            "kind": self.kind,
            "rows": self.rows,
            "examples": self.examples,
            "sampled": self.sampled,
            "against": list(self.sets),
            "quality": self.quality,
            "remarks": list(self.remarks),
            "sentences": list(self.sentences),
            "measures": [one.as_json() for one in self.measured],
            "filters": [asdict(one) for one in self.filters],
        }

    def as_markdown(self) -> str:
        """Return the page that a paper or a data card can take over."""
        from cai.data.validation.table import as_markdown  # noqa: PLC0415  (see above)

        lines = [f"# Check of {escaped(self.data)}", "", escaped(self.summary), ""]
        if self.sentences:
            lines += ["## What is unusual", "", *(f"- {escaped(sentence)}." for sentence in self.sentences), ""]
        lines += as_markdown(self.measured)
        if self.filters:
            head = ("filter", "it found that", "would be left out", "would be cleaned", "reported")
            rows = [(one.filter, one.reason, one.left_out, one.cleaned, one.reported) for one in self.filters]
            lines += ["## Filters", "", *table(head, rows)]
        return "\n".join(lines).rstrip() + "\n"

    @property
    def summary(self) -> str:
        """What was checked, in a sentence."""
        words = f"words of {self.sampled:,} of them, drawn by lot" if self.sampled < self.examples else "words of all"
        examples, rows = counted(self.examples, "example"), counted(self.rows, "row")
        return f"{examples} ({self.kind}) of {rows}; {words}; filters: {self.quality}"


def require_filter(name: str) -> None:
    """Raise UsageError for a filter that there is not."""
    from cai.data.quality import FILTERS  # noqa: PLC0415
    from cai.data.validation.set_findings import SET_FILTERS  # noqa: PLC0415

    known = dict.fromkeys((*FILTERS, *SET_FILTERS))
    if name not in known:
        raise UsageError(f"there is no filter {name!r}; there are {', '.join(known)}")


def filter_counts(findings: FilterFindings, of_set: Mapping[str, int]) -> tuple[FilterCount, ...]:
    """Return what each filter found, those that found something: what gives no example first.

    `of_set` are the counts of the filters of the whole set, of which not all may have been recorded.
    """
    from cai.data.quality import FILTERS  # noqa: PLC0415
    from cai.data.validation.set_findings import SET_FILTERS  # noqa: PLC0415

    reasons = {name: entries[0].reason for name, entries in findings.first.items()}
    # An entry of a filter of the whole set goes on with what was found.
    reasons |= {name: one.reason for name, one in FILTERS.items()} | dict(SET_FILTERS)
    names = [name for name in dict.fromkeys((*FILTERS, *SET_FILTERS)) if name in findings.first]
    names = [*(name for name in findings.first if name not in names), *names]
    counts = findings.counts
    return tuple(
        FilterCount(
            name,
            reasons[name],
            counts[name, "left out"],
            counts[name, "cleaned"],
            of_set.get(name, counts[name, "reported"]),
        )
        for name in names
    )
