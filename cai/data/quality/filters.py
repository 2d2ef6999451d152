"""The table of quality filters."""

from cai.data.quality.answers import ANSWERS
from cai.data.quality.descriptor import QualityFilter
from cai.data.quality.pairs import PAIRS

FILTERS: dict[str, QualityFilter] = {one.name: one for one in (*ANSWERS, *PAIRS)}
"""By name, in the order in which they are asked."""
