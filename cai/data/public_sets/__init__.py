"""Public sets by name: `--prompts xstest:FILE` reads the file that the set's authors published, as it is.

`PUBLIC_SETS` lists them; one more is a descriptor (`descriptor.PublicSet`) in it, and, where its answers are scored in
a way of their own, a maker in `cai.evaluate.scoring`.
"""

from collections.abc import Mapping

from cai.data.public_sets.descriptor import PublicSet
from cai.data.public_sets.harmful import (
    ADVBENCH,
    DONOTANSWER,
    HARMBENCH,
    JAILBREAKBENCH,
    SORRYBENCH,
    STRONGREJECT,
    XSTEST,
)
from cai.data.public_sets.others import BBQ, HEALTHBENCH, REALTOXICITYPROMPTS, REWARDBENCH_2

PUBLIC_SETS: Mapping[str, PublicSet] = {
    one.name: one
    for one in (
        XSTEST,
        STRONGREJECT,
        HARMBENCH,
        JAILBREAKBENCH,
        ADVBENCH,
        SORRYBENCH,
        DONOTANSWER,
        REALTOXICITYPROMPTS,
        BBQ,
        HEALTHBENCH,
        REWARDBENCH_2,
    )
}


def as_markdown() -> str:
    """Return the table of the sets, as the documentation has it."""
    rows = [
        f"| `{one.name}` | {one.title} {one.version} | {' or '.join(_columns(one))} | {one.licence} | {one.citation} "
        f"| {one.elsewhere or one.scored} |"
        for one in PUBLIC_SETS.values()
    ]
    head = "| name | set and version | columns of its files | licence | citation | how it is scored |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _columns(one: PublicSet) -> list[str]:
    return [", ".join(f"`{name}`" for name in layout.needs) for layout in one.layouts]
