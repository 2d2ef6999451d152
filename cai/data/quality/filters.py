"""The table of quality filters."""

from cai.data.quality.answers import ANSWERS
from cai.data.quality.comparing import AGAINST_PROMPT, PAIRS
from cai.data.quality.descriptor import QualityFilter
from cai.data.quality.names import NAME
from cai.data.quality.personal import PERSONAL

CLOSERS = QualityFilter(
    "closers",
    "set",
    "many answers of the set end with the same sentence",
    lambda _read, _name: (),
    default="report",
    strict="report",
)
"""Only counted, over the whole set (`closers.py`): no one answer is at fault."""

NEAR_DUPLICATE = QualityFilter(
    "near-duplicate",
    "set",
    "it is nearly the same as an earlier row",
    lambda _read, _name: (),
    default="off",
    strict="drop",
)
"""Found by who makes the examples of a run (`cai.data.export.repeated`), in a pass over all of them."""

FILTERS: dict[str, QualityFilter] = {
    one.name: one for one in (*PERSONAL, NAME, *ANSWERS, *AGAINST_PROMPT, *PAIRS, CLOSERS, NEAR_DUPLICATE)
}
"""By name, in the order in which they are asked."""
