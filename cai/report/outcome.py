"""A report that was written, for those who asked for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.report.plan import ReportPlan


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written to `out`: how many lists of rows its numbers are linked to, and its size in bytes.

    `comparison` are lines on what differs from the evaluation beside it; empty without one.
    """

    plan: ReportPlan
    links: int
    size: int
    comparison: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        """Where the file lies."""
        return self.plan.out

    def rows(self, name: str) -> Sequence[str]:
        """Return the ids of all rows that a number comes from, by the name that the report has for it.

        Raises UsageError when there is no such number.
        """
        from cai.report.run import rows_of  # noqa: PLC0415  (Arrow, which nobody waits for who only imports this)

        return rows_of(self.plan, name)

    def as_json(self) -> dict[str, Any]:
        """Return what was written as what JSON can say."""
        return {"out": str(self.out), "of": self.plan.kind, "links": self.links, "size": self.size} | (
            {"comparison": list(self.comparison)} if self.comparison else {}
        )
