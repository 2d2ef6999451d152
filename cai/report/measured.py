"""What people said, and what the judge was found to be beside the run; where nobody measured it, the report says so."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from cai.report.document import Block, Heading
from cai.report.how_well import not_measured
from cai.report.linking import Linker


@dataclass(frozen=True, slots=True)
class Beside:
    """The blocks, and whether people labelled some of the rows."""

    blocks: Sequence[Block]
    validated: bool


def measured_beside(link: Linker) -> Beside:
    """Return what lies beside the rows that the linker is about: annotations, agreement, corrected rates, tests of the judge."""
    texts, quoted = link.texts, shlex.quote(link.directory)
    blocks: list[Block] = [
        Heading(texts("well.bench")),
        *not_measured(link, "well.no-bench", "cai judge bench DATA --judge MODEL"),
        Heading(texts("well.people")),
        *not_measured(link, "well.no-people", f"cai review {quoted}", f"cai review {quoted} --agreement"),
    ]
    return Beside(blocks, validated=False)
